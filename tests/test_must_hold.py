"""Bounds that hold whatever happens: calls that reach the gateway, and memory."""

import asyncio
import gc
import json
import os
import resource
import subprocess
import sys
from collections import Counter
from itertools import count
from pathlib import Path

import pytest
from aiohttp import ClientSession, ClientTimeout, TCPConnector

from proxy.caching import Caching, Keys, Stale
from proxy.call import Answer, Call, Failure, FailureKind, Source, SourceFailed, SourceName
from proxy.clock import SystemClock
from proxy.events import AttemptEnded, Event
from proxy.flights import Flights
from proxy.ladder import Ladder, Policy
from proxy.memory_store import MemoryStore
from proxy.sandbox_faults import Fault, Faults
from proxy.workshop import Observers
from tests.running import Viewer, watching
from tests.tables import a_call, routes

VIEWERS = 1000
SEARCHES = 300
MOST_CALLS = 60
AT_ONCE = 10
BURST = 80
DISTINCT = 24_000
MAX_SIZE = 8 * 2**20
MOST_GROWTH = 40.0  # MiB
CALL = "GET /api/videos/{id}"
SHORT = "gateway: {timeout: {connect: 200ms, attempt: 300ms, total: 2s}, breaker: {slow_call: 250ms}}\n"


async def test_a_thousand_viewers_of_one_video_cost_one_call(tmp_path: Path) -> None:
    """They all get the gateway's answer, for which it was asked once."""
    async with watching(tmp_path) as (sandbox, _, viewer):
        sandbox.gateway.faults = Faults(routes=Fault(latency=0.5))
        target = f"{viewer.base}/api/kaltura/video/1_e0000003"
        async with ClientSession(connector=TCPConnector(limit=0), timeout=ClientTimeout(total=60)) as session:

            async def ask() -> tuple[int, str | None, object]:
                async with session.get(target) as response:
                    source = response.headers.get("Activity-Proxy-Source")
                    return response.status, source, (await response.json())["title"]

            seen = Counter(await asyncio.gather(*(ask() for _ in range(VIEWERS))))
        assert {(status, title) for status, _, title in seen} == {(200, "Lecture 3: cats and networks")}
        assert {source for _, source, _ in seen} <= {"gateway", "cache"}
        assert sandbox.gateway.calls[CALL] == 1


@pytest.mark.parametrize(
    "fault",
    [Fault(status=500), Fault(answer="hang"), Fault(answer="reset"), Fault(answer="html"), None],
    ids=["500", "hang", "reset", "html", "offline"],
)
async def test_distinct_searches_do_not_wear_a_failing_gateway_out(
    fault: Fault | None, tmp_path: Path
) -> None:
    """Three hundred of them, ten at a time, reach it sixty times at most, and each is answered."""
    async with watching(tmp_path, SHORT) as (sandbox, sidecar, viewer):
        assert (await viewer.ask("GET", "/api/kaltura/videos/search?query=cats")).source == "gateway"
        attempts: list[Event] = []
        assert isinstance(sidecar.parts.observe, Observers)
        sidecar.parts.observe.listeners.append(attempts.append)
        if fault is None:
            await sandbox.gateway.offline()
        else:
            sandbox.gateway.faults = Faults(routes=fault)
        before = sandbox.gateway.calls["GET /api/videos/search"]
        numbers = count()

        async def searcher() -> set[tuple[int, str | None]]:
            seen = set()
            while (number := next(numbers)) < SEARCHES:
                reply = await viewer.ask("GET", f"/api/kaltura/videos/search?query=nothing{number}")
                seen.add((reply.status, reply.source))
            return seen

        seen = set.union(*await asyncio.gather(*(searcher() for _ in range(AT_ONCE))))
        assert seen == {(200, "canned")}
        assert sandbox.gateway.calls["GET /api/videos/search"] - before <= MOST_CALLS
        assert sum(isinstance(event, AttemptEnded) for event in attempts) <= MOST_CALLS


@pytest.mark.parametrize("known", [True, False], ids=["well before", "never asked"])
@pytest.mark.parametrize(
    "fault",
    [Fault(status=500), Fault(answer="hang"), Fault(answer="reset"), Fault(answer="html"), None],
    ids=["500", "hang", "reset", "html", "offline"],
)
async def test_distinct_searches_in_one_instant_do_not_either(
    fault: Fault | None, tmp_path: Path, *, known: bool
) -> None:
    """Three hundred at once, before a breaker can know, reach it sixty times at most; each is answered."""
    async with watching(tmp_path, SHORT) as (sandbox, sidecar, viewer):
        if known:
            assert (await viewer.ask("GET", "/api/kaltura/videos/search?query=cats")).source == "gateway"
        attempts: list[Event] = []
        assert isinstance(sidecar.parts.observe, Observers)
        sidecar.parts.observe.listeners.append(attempts.append)
        if fault is None:
            await sandbox.gateway.offline()
        else:
            sandbox.gateway.faults = Faults(routes=fault)
        before = sandbox.gateway.calls["GET /api/videos/search"]
        async with ClientSession(connector=TCPConnector(limit=0)) as session:
            crowd = Viewer(session, viewer.base)
            asked = (f"/api/kaltura/videos/search?query=nothing{number}" for number in range(SEARCHES))
            replies = await asyncio.gather(*(crowd.ask("GET", target) for target in asked))
        assert {(reply.status, reply.source) for reply in replies} == {(200, "canned")}
        assert sandbox.gateway.calls["GET /api/videos/search"] - before <= MOST_CALLS
        assert sum(isinstance(event, AttemptEnded) for event in attempts) <= MOST_CALLS


async def test_a_burst_is_served_by_a_gateway_that_answered_well_of_late(tmp_path: Path) -> None:
    """What is there for a gateway that nobody knows does not hold up one that is well."""
    text = "gateway: {timeout: {attempt: 5s}, breaker: {slow_call: 4s}}\n"
    async with (
        watching(tmp_path, text) as (sandbox, _, viewer),
        ClientSession(connector=TCPConnector(limit=0)) as session,
    ):
        for number in range(BURST):
            await viewer.ask("GET", f"/api/kaltura/videos/search?query=well+{number}")
        sandbox.gateway.faults = Faults(routes=Fault(latency=0.5))
        crowd = Viewer(session, viewer.base)
        asked = (f"/api/kaltura/videos/search?query=burst+{number}" for number in range(BURST))
        replies = await asyncio.gather(*(crowd.ask("GET", target) for target in asked))
        assert {reply.source for reply in replies} == {"gateway"}


def test_distinct_searches_do_not_fill_the_memory() -> None:
    """Whether they are answered or fail, a process of its own grows by little more than the cache's bound."""
    ran = subprocess.run(  # noqa: S603  (this very file)
        [sys.executable, "-m", "tests.test_must_hold", str(MAX_SIZE)],
        cwd=Path(__file__).parent.parent,
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    measured = json.loads(ran.stdout)
    assert measured["called"] >= 2 * DISTINCT, "each search was to be a new one"
    assert measured["grown"] < MOST_GROWTH


async def grow(max_size: int) -> dict[str, float]:
    """Search for so many things, first with a gateway that answers and then with one that is away."""
    clock = SystemClock()
    route = routes("newer")["search"]
    called = 0
    away = False

    async def gateway(call: Call) -> Answer:
        nonlocal called
        called += 1
        if away:
            raise SourceFailed(Failure("gateway", FailureKind.UNREACHABLE, "no connection"))
        return Answer(200, os.urandom(2000).hex().encode(), "gateway")

    async def canned(call: Call) -> Answer:
        return Answer(200, b"{}", "canned")

    store, keys = MemoryStore(max_size, clock), Keys("here")
    flights = Flights(clock, lambda _: None)
    sources: dict[SourceName, Source] = {
        "gateway": gateway,
        "stale": Stale(store, keys, clock),
        "canned": canned,
    }
    ladder = Ladder(sources, Policy("auto", production=False, named=frozenset()), lambda _: None)
    caching = Caching(ladder, gateway, store, keys, flights, clock, lambda: 0.5, lambda _: None)

    async def search(number: int) -> None:
        await caching(a_call(route, {"query": f"what nobody wanted yet {number}", "page": 1, "pageSize": 30}))

    for number in range(1, 201):  # what is needed but once
        await search(-number)
    before, called = resident(), 0
    for number in range(DISTINCT):
        await search(number)
    away = True
    for number in range(DISTINCT):
        await search(DISTINCT + number)
    grown = resident() - before
    await flights.aclose()
    return {"grown": grown, "called": called}


def resident() -> float:
    """The process's resident memory in MiB, after what is garbage has gone."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


if __name__ == "__main__":
    print(json.dumps(asyncio.run(grow(int(sys.argv[1])))))  # noqa: T201  (to the process that asked)
