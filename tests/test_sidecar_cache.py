"""What is kept, in a whole sidecar before the sandbox: fresh, stale, missing, and what is asked anew."""

import asyncio
from dataclasses import replace
from pathlib import Path

from proxy.sandbox_faults import Fault, Faults
from proxy.sidecar import Sidecar
from tests.clocks import until
from tests.running import watching

ASKED = "GET /api/videos/{id}"
VIDEO = ("GET", "/api/kaltura/video/1_e0000003")
ABSENT = ("GET", "/api/kaltura/video/1_absent")
LIVES = "routes: {video: {max_age: 60s, stale_while_revalidate: 5m, stale_if_error: 24h}}\n"
ONCE = "gateway: {dialect: newer, retry: {attempts: 1}}\n" + LIVES
FAILING = Faults(routes=Fault(status=500))
TIMEOUT = 10.0


async def age(sidecar: Sidecar, seconds: float) -> None:
    """Make all that is kept older."""
    store = sidecar.parts.store
    assert store is not None
    for key, entry in store.items():
        await store.set(key, replace(entry, stored_at=entry.stored_at - seconds), 1e6)


async def test_a_stale_answer_comes_at_once_and_a_new_one_after_it(tmp_path: Path) -> None:
    """Though the gateway hangs over the new one, nobody waits."""
    async with watching(tmp_path, ONCE) as (sandbox, sidecar, viewer):
        await viewer.ask(*VIDEO)
        await age(sidecar, 100)
        sandbox.gateway.faults = Faults(routes=Fault(latency=0.3))
        assert [(await viewer.ask(*VIDEO)).source for _ in range(3)] == ["stale"] * 3
        async with asyncio.timeout(TIMEOUT):
            while (await viewer.ask(*VIDEO)).source != "cache":
                pass
        assert sandbox.gateway.calls[ASKED] == 2


async def test_the_last_good_answer_stands_in_long_after_it_was_fresh(tmp_path: Path) -> None:
    """A gateway that fails is covered for stale_if_error, and from then on by what is canned."""
    async with watching(tmp_path, ONCE) as (sandbox, sidecar, viewer):
        good = await viewer.ask(*VIDEO)
        await age(sidecar, 20 * 3600)
        sandbox.gateway.faults = FAILING
        stale = await viewer.ask(*VIDEO)
        assert (stale.source, stale.json) == ("stale", good.json)
        await age(sidecar, 5 * 3600)
        assert (await viewer.ask(*VIDEO)).source == "canned"


async def test_a_gateway_that_fails_is_not_asked_at_every_request(tmp_path: Path) -> None:
    """After a failed renewal the old answer is given for a while without one."""
    async with watching(tmp_path, ONCE) as (sandbox, sidecar, viewer):
        await viewer.ask(*VIDEO)
        await age(sidecar, 100)
        sandbox.gateway.faults = FAILING
        assert (await viewer.ask(*VIDEO)).source == "stale"
        async with asyncio.timeout(TIMEOUT):
            await until(lambda: sandbox.gateway.calls[ASKED] == 2)
        # The failure has come back by the time that another call has gone to and fro.
        await viewer.ask("GET", "/api/kaltura/videos/search?query=other")
        assert {(await viewer.ask(*VIDEO)).source for _ in range(20)} == {"stale"}
        assert sandbox.gateway.calls[ASKED] == 2


async def test_a_missing_video_is_asked_for_once_in_a_while(tmp_path: Path) -> None:
    """Its 404 is kept, and says that it was."""
    async with watching(tmp_path, ONCE) as (sandbox, _, viewer):
        replies = [await viewer.ask(*ABSENT) for _ in range(3)]
        assert [(reply.status, reply.source) for reply in replies] == [
            (404, "gateway"),
            (404, "cache"),
            (404, "cache"),
        ]
        assert replies[-1].headers["Cache-Status"].startswith("activity-proxy; hit; ttl=")
        assert sandbox.gateway.calls[ASKED] == 1


async def test_shells_never_cost_a_known_video_its_title(tmp_path: Path) -> None:
    """After a 404 that was none, and with the gateway away, viewers have the real answer."""
    async with watching(tmp_path, ONCE) as (sandbox, sidecar, viewer):
        good = await viewer.ask(*VIDEO)
        await age(sidecar, 1000)
        sandbox.gateway.faults = Faults(routes=Fault(answer="shell"))
        assert (await viewer.ask(*VIDEO)).status == 404
        await sandbox.gateway.offline()
        store = sidecar.parts.store
        assert store is not None
        ((key, entry),) = store.items()
        await store.set(key, replace(entry, missing_until=entry.missing_until - 20), 1e6)
        after = await viewer.ask(*VIDEO)
        assert (after.source, after.json) == ("stale", good.json)


async def test_who_has_the_answer_already_is_spared_it(tmp_path: Path) -> None:
    """A client that shows the entity tag of what is kept gets 304 without a body; another tag gets all."""
    async with watching(tmp_path, ONCE) as (sandbox, _, viewer):
        tag = (await viewer.ask(*VIDEO)).headers["ETag"]
        seen = []
        for shown in (tag, f"W/{tag}", '"other"'):
            headers = {"If-None-Match": shown}
            async with viewer.session.get(viewer.base + VIDEO[1], headers=headers) as response:
                seen.append((response.status, bool(await response.read()), response.headers["ETag"] == tag))
        assert seen == [(304, False, True), (304, False, True), (200, True, True)]
        assert sandbox.gateway.calls[ASKED] == 1


async def test_all_spellings_of_one_list_are_one_entry(tmp_path: Path) -> None:
    """What is the default may be said or left out, and what no route knows splits nothing."""
    async with watching(tmp_path, ONCE) as (_, _, viewer):
        spellings = (
            "videos",
            "videos?page=1",
            "videos?pageSize=30&page=1",
            "videos?page=01&utm_source=x",
            "videos?x=%ff&page=abc",
        )
        replies = [await viewer.ask("GET", f"/api/kaltura/{spelling}") for spelling in spellings]
        assert [reply.source for reply in replies] == ["gateway", "cache", "cache", "cache", "cache"]
        other = await viewer.ask("GET", "/api/kaltura/videos?page=2")
        assert (other.source, other.json["page"]) == ("gateway", 2)
