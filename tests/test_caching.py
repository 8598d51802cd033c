"""The cache before the ladder: freshness, staleness, one call for many, and what is never kept."""

import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import orjson
import pytest

from proxy.caching import MISSING_AGE, Caching, Keys, Stale
from proxy.call import Answer, Call, Failure, FailureKind, SourceFailed, Subject
from proxy.events import BreakerChanged, CacheLooked, Crashed, Event, TokenAcquired
from proxy.flights import Flights
from proxy.memory_store import MemoryStore
from proxy.store import Entry
from tests.clocks import FakeClock, settle
from tests.tables import a_call, a_route

KEPT = {"max_age": 60.0, "stale_while_revalidate": 300.0, "stale_if_error": 3600.0}
SEARCH = Entry(200, b"x" * 2000, '"e"', 0.0, 60.0)
AWAY = Failure("gateway", FailureKind.UNREACHABLE, "no connection")


@dataclass
class Gateway:
    """A gateway that counts, and answers with its count, fails, or waits to be let go."""

    calls: int = 0
    fails: bool = False
    status: int = 200
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    async def __call__(self, call: Call) -> Answer:
        """Answer, fail or wait."""
        self.calls += 1
        number = self.calls
        await self.gate.wait()
        if self.fails:
            raise SourceFailed(AWAY)
        return Answer(self.status, b'{"n":%d}' % number, "gateway")


@dataclass
class Bench:
    """A cache with all that is around it."""

    clock: FakeClock
    gateway: Gateway
    store: MemoryStore
    flights: Flights
    events: list[Event]
    cache: Caching

    async def ask(self, call: Call) -> Answer:
        """Ask the cache."""
        return await self.cache(call)

    @property
    def results(self) -> list[str]:
        """What the look-ups came to."""
        return [event.result for event in self.events if isinstance(event, CacheLooked)]


def video(**changes: object) -> Call:
    """A call of a route whose answers are kept."""
    keys = {**KEPT, "fallback": ("stale", "canned"), "canned": "x.json", **changes}
    return a_call(a_route(**keys), {"id": "1_abc"})


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """A cache in front of a ladder of gateway, stale and canned."""
    clock, gateway, events = FakeClock(), Gateway(), list[Event]()
    store = MemoryStore(1024 * 1024, clock)
    keys, flights = Keys("here"), Flights(clock, events.append)
    stale = Stale(store, keys, clock)

    async def ladder(call: Call) -> Answer:
        try:
            return await gateway(call)
        except SourceFailed:
            pass
        try:
            return await stale(call)
        except SourceFailed:
            return Answer(200, b"{}", "canned")

    cache = Caching(ladder, gateway, store, keys, flights, clock, lambda: 0.0, events.append)
    yield Bench(clock, gateway, store, flights, events, cache)
    await flights.aclose()


async def test_what_was_not_stored_does_not_claim_to_be(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that the store has no room for, or does not take, says only that it was got anew."""

    async def away(key: str, entry: Entry, keep: float) -> bool:
        return False

    monkeypatch.setattr(bench.store, "set", away)
    first, second = await bench.ask(video()), await bench.ask(video())
    assert (first.cache, second.cache) == ("fwd=miss", "fwd=miss")
    assert first.etag is not None
    assert bench.gateway.calls == 2


async def test_an_answer_is_given_again_while_it_is_fresh(bench: Bench) -> None:
    """The second asks nobody, says so, and carries the same entity tag."""
    first, second = await bench.ask(video()), await bench.ask(video())
    assert (first.source, second.source) == ("gateway", "cache")
    assert first.body == second.body
    assert first.etag == second.etag is not None
    assert (first.cache, second.cache) == ("fwd=miss; stored", "hit; ttl=60")
    assert (bench.gateway.calls, bench.results) == (1, ["miss", "hit"])


async def test_a_users_call_is_never_kept_or_shared(bench: Bench) -> None:
    """Even on a route whose answers are kept: each call goes its own way, and nothing is left of it."""
    user = replace(video(), subject=Subject("user", "80351110224678912", "Alice"))
    bench.gateway.gate.clear()
    asking = [asyncio.create_task(bench.ask(user)) for _ in range(2)]
    await settle()
    bench.gateway.gate.set()
    assert len({(await task).body for task in asking}) == 2
    assert bench.store.size() == (0, 0)
    await bench.ask(video())
    assert (await bench.ask(user)).source == "gateway"
    assert bench.gateway.calls == 4


async def test_a_stale_answer_is_given_while_a_new_one_is_got(bench: Bench) -> None:
    """Past its age the old answer comes at once, and the next viewer has the new one."""
    await bench.ask(video())
    bench.clock.shift(61)
    old = await bench.ask(video())
    assert (old.source, old.body, old.cache) == ("stale", b'{"n":1}', "hit; ttl=-1")
    await settle()
    new = await bench.ask(video())
    assert (new.source, new.body) == ("cache", b'{"n":2}')
    assert bench.results == ["miss", "stale", "hit"]


async def test_one_new_answer_is_got_at_a_time(bench: Bench) -> None:
    """However many viewers see the stale one, the gateway is asked once."""
    await bench.ask(video())
    bench.clock.shift(61)
    bench.gateway.gate.clear()
    for _ in range(5):
        assert (await bench.ask(video())).source == "stale"
    await settle()
    assert bench.gateway.calls == 2
    bench.gateway.gate.set()


async def test_after_a_failure_the_gateway_is_left_alone_for_a_while(bench: Bench) -> None:
    """A failed renewal is followed by a pause that doubles, not by another at every request."""
    await bench.ask(video())
    bench.clock.shift(61)
    bench.gateway.fails = True
    asked = []
    for _ in range(60):
        assert (await bench.ask(video())).source == "stale"
        await settle()
        asked.append(bench.gateway.calls)
        bench.clock.shift(0.25)
    assert asked[0] == 2
    assert asked[-1] == 2 + 3  # after 1 s, 3 s and 7 s
    bench.gateway.fails = False
    bench.clock.shift(60)
    await bench.ask(video())
    await settle()
    assert (await bench.ask(video())).source == "cache"


async def test_the_last_good_answer_stands_in_for_a_gateway_that_fails(bench: Bench) -> None:
    """Beyond stale_while_revalidate the gateway is asked first; failing, it is not asked each time."""
    await bench.ask(video())
    bench.clock.shift(1000)
    bench.gateway.fails = True
    replies = [await bench.ask(video()) for _ in range(3)]
    assert [reply.source for reply in replies] == ["stale"] * 3
    assert bench.gateway.calls == 2
    bench.clock.shift(3600)
    assert (await bench.ask(video())).source == "canned"


async def test_a_route_without_stale_on_its_ladder_gives_none(bench: Bench) -> None:
    """While a key pauses, only a route that says `stale` gets the old answer."""
    await bench.ask(video())
    bench.clock.shift(1000)
    bench.gateway.fails = True
    call = video(fallback=("canned",))
    await bench.ask(call)
    calls = bench.gateway.calls
    await bench.ask(call)
    assert bench.gateway.calls == calls + 1


async def test_many_who_ask_for_the_same_wait_for_one_call(bench: Bench) -> None:
    """A thousand viewers of one key cost the gateway one call, and each has the answer."""
    bench.gateway.gate.clear()
    asking = [asyncio.create_task(bench.ask(video())) for _ in range(1000)]
    await settle()
    bench.gateway.gate.set()
    answers = await asyncio.gather(*asking)
    assert bench.gateway.calls == 1
    assert {answer.body for answer in answers} == {b'{"n":1}'}
    assert sorted(set(bench.results)) == ["coalesced", "miss"]
    assert bench.results.count("miss") == 1
    assert {answer.cache for answer in answers} == {"fwd=miss; stored", "fwd=miss; collapsed"}


async def test_a_viewer_who_leaves_fails_nobody(bench: Bench) -> None:
    """The call goes on for the others when the viewer who began it is gone."""
    bench.gateway.gate.clear()
    first, second = (asyncio.create_task(bench.ask(video())) for _ in range(2))
    await settle()
    first.cancel()
    await asyncio.wait({first})
    bench.gateway.gate.set()
    assert (await second).body == b'{"n":1}'
    assert bench.gateway.calls == 1


async def test_a_call_that_everyone_left_is_still_kept(bench: Bench) -> None:
    """What was under way when the only viewer left serves the next one."""
    bench.gateway.gate.clear()
    asking = asyncio.create_task(bench.ask(video()))
    await settle()
    asking.cancel()
    await asyncio.wait({asking})
    bench.gateway.gate.set()
    await settle()
    assert (await bench.ask(video())).source == "cache"


async def test_what_came_while_the_store_was_asked_is_not_asked_for_again(bench: Bench) -> None:
    """A look-up that took longer than another viewer's whole call finds what that one brought."""
    gate, asked = asyncio.Event(), 0

    class Slow(MemoryStore):
        async def get(self, key: str) -> Entry | None:
            nonlocal asked
            asked += 1
            found = await super().get(key)
            if asked == 1:
                await gate.wait()
            return found

    bench.cache = replace(bench.cache, store=Slow(1024 * 1024, bench.clock))
    late = asyncio.create_task(bench.ask(video()))
    await settle()
    await bench.ask(video())
    gate.set()
    assert ((await late).source, bench.gateway.calls, bench.results) == ("cache", 1, ["miss", "hit"])


async def test_a_viewer_who_leaves_as_the_answer_comes_fails_nobody(bench: Bench) -> None:
    """Nobody is told twice, and nobody waits on, when an answer comes for one who has just left."""
    bench.gateway.gate.clear()
    first, second = (asyncio.create_task(bench.ask(video())) for _ in range(2))
    await settle()
    bench.gateway.gate.set()
    first.cancel()
    assert (await second).cache == "fwd=miss; collapsed"
    assert first.cancelled()
    assert bench.events == [CacheLooked("thing", "coalesced")]


async def test_errors_and_stand_ins_are_never_kept(bench: Bench) -> None:
    """A canned answer is not given again when the gateway is back."""
    bench.gateway.fails = True
    assert (await bench.ask(video())).source == "canned"
    bench.gateway.fails = False
    assert (await bench.ask(video())).source == "gateway"


@pytest.mark.parametrize("status", [400, 413, 502])
async def test_only_a_200_and_a_404_are_kept(bench: Bench, status: int) -> None:
    """A caller's mistake is told again each time."""
    bench.gateway.status = status
    for _ in range(2):
        answer = await bench.ask(video())
        assert (answer.status, answer.source, answer.etag) == (status, "gateway", None)


async def test_a_404_is_kept_for_a_short_time_and_never_stale(bench: Bench) -> None:
    """Ten seconds, then the gateway is asked again; the text names the video that was asked for."""
    bench.gateway.status = 404
    await bench.ask(video())
    kept = await bench.ask(video())
    assert (kept.status, kept.source) == (404, "cache")
    assert kept.problem is not None
    assert "1_abc" in kept.problem.message
    bench.clock.shift(MISSING_AGE + 1)
    bench.gateway.fails = True
    assert (await bench.ask(video())).source == "canned"


async def test_the_last_good_answer_survives_a_404(bench: Bench) -> None:
    """A gateway that fails by saying that there is nothing does not cost viewers the real answer."""
    await bench.ask(video())
    bench.clock.shift(1000)
    bench.gateway.status = 404
    assert (await bench.ask(video())).status == 404
    bench.clock.shift(MISSING_AGE + 1)
    bench.gateway.fails = True
    stale = await bench.ask(video())
    assert (stale.source, stale.body) == ("stale", b'{"n":1}')


@pytest.mark.parametrize("later", [2, 400])
async def test_a_404_and_the_good_answer_before_it_are_lost_together_or_not_at_all(
    bench: Bench, later: int
) -> None:
    """While a video is asked for, its last good answer outlives whatever fills the memory meanwhile."""
    store = MemoryStore(20_000, bench.clock)
    cache = replace(bench.cache, store=store)
    stale = Stale(store, cache.keys, bench.clock)
    await cache(video())
    bench.clock.shift(KEPT["max_age"] + later)
    bench.gateway.status = 404
    for number in range(100):
        await cache(video())
        await settle()
        await store.set(f"search:{number}", replace(SEARCH, stored_at=bench.clock.time()), 3600.0)
        bench.clock.shift(0.5)
    assert store.items()[-1][0] != "search:0", "too little to push anything out"
    assert bench.gateway.calls > 5
    assert (await cache(video())).status == 404
    assert (await stale(video())).body == b'{"n":1}'


async def test_a_good_answer_ends_a_404(bench: Bench) -> None:
    """What is there again is given from the cache as if it had never been away."""
    await bench.ask(video())
    bench.clock.shift(1000)
    bench.gateway.status = 404
    assert (await bench.ask(video())).status == 404
    assert (await bench.ask(video())).cache == f"hit; ttl={int(MISSING_AGE)}"
    bench.clock.shift(MISSING_AGE)
    bench.gateway.status = 200
    assert (await bench.ask(video())).body == b'{"n":3}'
    assert (await bench.ask(video())).source == "cache"
    assert bench.results == ["miss", "miss", "hit", "miss", "hit"]


async def test_after_a_404_the_good_answer_is_for_a_failing_gateway_only(bench: Bench) -> None:
    """Within stale_while_revalidate too the gateway is asked, and not passed over for what it took back."""
    await bench.ask(video())
    bench.clock.shift(61)
    bench.gateway.status = 404
    assert (await bench.ask(video())).source == "stale"
    await settle()
    bench.clock.shift(MISSING_AGE)
    assert (await bench.ask(video())).status == 404
    assert bench.gateway.calls == 3


async def test_a_clock_that_was_set_back_does_not_prolong_a_404(bench: Bench) -> None:
    """Its life is ten seconds at most, whatever the clock says."""
    await bench.ask(video())
    bench.clock.shift(1000)
    bench.gateway.status = 404
    await bench.ask(video())
    bench.clock.shift(-500)
    await bench.ask(video())
    assert bench.gateway.calls == 3


async def test_a_good_answer_that_is_too_old_is_not_kept_beside_a_404(bench: Bench) -> None:
    """Past stale_if_error it is of no use to anyone."""
    await bench.store.set(bench.cache.keys.key(video()), replace(SEARCH, stored_at=1.0), 10_000.0)
    bench.gateway.status = 404
    await bench.ask(video())
    (entry,) = [entry for _, entry in bench.store.items()]
    assert (entry.status, entry.body) == (404, b"")


@pytest.mark.parametrize("renewal", [False, True])
async def test_what_began_before_a_purge_is_not_kept_after_it(bench: Bench, *, renewal: bool) -> None:
    """Who waits for it gets it, who comes later asks anew, and neither finds it in the store."""
    if renewal:
        await bench.ask(video())
        bench.clock.shift(61)
    bench.gateway.gate.clear()
    before = asyncio.create_task(bench.ask(video()))
    await settle()
    began = bench.gateway.calls
    with bench.flights.disowned():
        await bench.store.purge()
    after = asyncio.create_task(bench.ask(video()))
    await settle()
    assert bench.gateway.calls == began + 1
    bench.gateway.gate.set()
    await before
    assert (await after).body == (await bench.ask(video())).body == b'{"n":%d}' % (began + 1)
    assert renewal or (before.result().cache, before.result().body) == ("fwd=miss", b'{"n":1}')


async def test_a_404_that_began_before_a_purge_brings_nothing_back(bench: Bench) -> None:
    """Neither it nor the good answer that it would have kept beside it."""
    await bench.ask(video())
    bench.clock.shift(1000)
    bench.gateway.status = 404
    bench.gateway.gate.clear()
    before = asyncio.create_task(bench.ask(video()))
    await settle()
    with bench.flights.disowned():
        await bench.store.purge()
    bench.gateway.gate.set()
    assert (await before).status == 404
    assert bench.store.items() == []


@pytest.mark.parametrize("begun", ["before", "during"])
@pytest.mark.parametrize("ended", ["during", "after"])
async def test_a_look_up_that_met_a_purge_brings_nothing_back(bench: Bench, begun: str, ended: str) -> None:
    """What was looked up before a purge was done is not written back by a 404 of the renewal it leads to."""
    await bench.ask(video())
    old = await bench.store.get(bench.cache.keys.key(video()))
    bench.clock.shift(61.0)
    bench.gateway.status = 404
    gate, asked = asyncio.Event(), 0

    class Slow(MemoryStore):
        async def get(self, key: str) -> Entry | None:
            nonlocal asked
            asked += 1
            if asked > 1:
                return await super().get(key)
            await gate.wait()
            return old

    bench.cache = replace(bench.cache, store=(store := Slow(1024 * 1024, bench.clock)))
    asking = asyncio.create_task(bench.ask(video())) if begun == "before" else None
    await settle()
    with bench.flights.disowned():
        asking = asking or asyncio.create_task(bench.ask(video()))
        await settle()
        await store.purge()
        if ended == "during":
            gate.set()
            await asking
            await settle()
    gate.set()
    await asking
    await settle()
    assert all(entry.status == 404 for _, entry in store.items())


async def test_closing_stops_what_a_purge_let_go(bench: Bench) -> None:
    """A call that is no key's own any more is not left behind either."""
    bench.gateway.gate.clear()
    asking = asyncio.create_task(bench.ask(video()))
    await settle()
    with bench.flights.disowned():
        pass
    await bench.flights.aclose()
    await asyncio.wait({asking})
    assert asking.cancelled()


async def test_who_joins_a_renewal_that_fails_gets_what_stands_in(bench: Bench) -> None:
    """When the stale answer may no longer be given and its renewal fails, the ladder goes on."""
    await bench.ask(video())
    bench.clock.shift(359)
    bench.gateway.gate.clear()
    bench.gateway.fails = True
    assert (await bench.ask(video())).source == "stale"
    bench.clock.shift(2)
    joining = asyncio.create_task(bench.ask(video()))
    await settle()
    bench.gateway.gate.set()
    assert (await joining).source == "stale"


async def test_who_asks_as_a_renewal_fails_and_nothing_is_kept_gets_what_stands_in(bench: Bench) -> None:
    """A flight that has just landed is not joined again, however many ask in that very moment."""
    await bench.ask(video())
    bench.clock.shift(61)
    bench.gateway.gate.clear()
    bench.gateway.fails = True
    await bench.ask(video())
    await settle()
    await bench.store.purge()

    async def late() -> Answer:
        await bench.gateway.gate.wait()
        return await bench.ask(video())

    asking = [asyncio.create_task(late()) for _ in range(3)]
    asking.append(asyncio.create_task(bench.ask(video())))
    await settle()
    bench.gateway.gate.set()
    assert {answer.source for answer in await asyncio.gather(*asking)} == {"canned"}


async def test_the_activity_servers_own_answer_is_nobody_elses(bench: Bench) -> None:
    """What was asked for with one viewer's cookies is not given to another who asks at the same time."""
    gate = asyncio.Event()

    async def ladder(call: Call) -> Answer:
        await gate.wait()
        return Answer(200, call.request_id.encode(), "activity")

    cache = replace(bench.cache, answer=ladder)
    asking = [asyncio.create_task(cache(replace(video(), request_id=name))) for name in ("alice", "bob")]
    await settle()
    gate.set()
    assert [answer.body for answer in await asyncio.gather(*asking)] == [b"alice", b"bob"]


async def test_a_stale_answer_of_the_ladder_says_how_old_it_is(bench: Bench) -> None:
    """It was not got anew and not stored, and does not claim to be."""
    await bench.ask(video())
    bench.clock.shift(1000)
    bench.gateway.fails = True
    assert (await bench.ask(video())).cache == "hit; ttl=-940"


@pytest.mark.parametrize(
    "event", [BreakerChanged("catalog", "half_open", "closed"), TokenAcquired("service", None)]
)
async def test_a_gateway_that_is_back_is_asked_at_once(bench: Bench, event: Event) -> None:
    """Pauses that an outage left behind end with it."""
    bench.flights.failed("a")
    bench.flights.notice(BreakerChanged("catalog", "closed", "open"))
    bench.flights.notice(BreakerChanged("kaltura", "half_open", "closed"))  # it is not the gateway's
    assert bench.flights.pausing("a")
    bench.flights.notice(event)
    assert not bench.flights.pausing("a")


async def test_a_route_without_an_age_is_never_kept(bench: Bench) -> None:
    """A user's answer passes the cache by, and is looked for nowhere."""
    call = video(max_age=None, stale_while_revalidate=None, stale_if_error=None, fallback=("canned",))
    for number in (1, 2):
        assert (await bench.ask(call)).body == b'{"n":%d}' % number
    assert bench.results == []


async def test_lives_end_at_different_times(bench: Bench) -> None:
    """Up to a tenth is cut off a life, so that what came together is not renewed together."""
    cache = replace(bench.cache, random=lambda: 0.999)
    await cache(video())
    answer = await cache(video())
    assert answer.cache == "hit; ttl=54"


async def test_a_clock_that_was_set_back_makes_nothing_older_or_fresh_for_ever(bench: Bench) -> None:
    """An entry from the future counts as new, and ends like one."""
    await bench.ask(video())
    bench.clock.shift(-1000)
    assert (await bench.ask(video())).source == "cache"


def keyed(values: dict[str, str | int], scope: str = "here", **changes: object) -> str:
    """The key of a call with these values."""
    return Keys(scope).key(a_call(a_route(**{**KEPT, **changes}), values))


def test_a_key_is_made_of_the_routes_own_values() -> None:
    """Order does not count, every value does, and no value can pass for two."""
    taken = {name: {"from": "query", "default": ""} for name in ("b", "a")}
    changes: dict[str, Any] = {"match": "GET /things", "call": "GET /v1/things?a={a}&b={b}", "input": taken}
    assert keyed({"a": "1", "b": "2"}, **changes) == keyed({"b": "2", "a": "1"}, **changes)
    assert keyed({"a": "1", "b": "2", "c": "3"}, **changes) == keyed({"a": "1", "b": "2"}, **changes)
    values = [("1", ""), ("2", ""), ("1&b=2", ""), ("1", "2"), ("", "1")]
    assert len({keyed({"a": a, "b": b}, **changes) for a, b in values}) == len(values)


def test_a_key_changes_with_what_decides_the_answer() -> None:
    """Another gateway, another call or another mapping is another entry, also in a shared Redis."""
    keys = {
        keyed({"id": "x"}),
        keyed({"id": "x"}, scope="there"),
        keyed({"id": "x"}, call="GET /other/{id}"),
        keyed({"id": "x"}, reply="other"),
    }
    assert len(keys) == 4


async def test_a_defect_in_the_background_is_told(bench: Bench) -> None:
    """A renewal that crashes is in the log, and the viewer still has the stale answer."""
    await bench.ask(video())
    bench.clock.shift(61)

    async def broken(_call: Call) -> Answer:
        raise RuntimeError("broken")

    cache = replace(bench.cache, gateway=broken)
    assert (await cache(video())).source == "stale"
    await settle()
    assert [event for event in bench.events if isinstance(event, Crashed)]


async def test_closing_stops_what_is_under_way(bench: Bench) -> None:
    """No task is left, and who waited is told by cancellation."""
    bench.gateway.gate.clear()
    asking = asyncio.create_task(bench.ask(video()))
    await settle()
    await bench.flights.aclose()
    await asyncio.wait({asking})
    assert asking.cancelled()
    await bench.flights.aclose()


async def test_failures_of_a_bounded_number_of_keys_are_remembered(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest is forgotten first, so that distinct searches do not fill the memory."""
    monkeypatch.setattr("proxy.flights.MAX_PAUSES", 2)
    for key in ("a", "b", "c"):
        bench.flights.failed(key)
    pausing: list[Literal[True, False]] = [bench.flights.pausing(key) for key in ("a", "b", "c")]
    assert pausing == [False, True, True]


async def test_what_is_kept_takes_no_more_memory_than_is_counted(bench: Bench) -> None:
    """A writer's roomy buffer is not kept with the answer, or the bound of the store would mean nothing."""

    async def gateway(_: Call) -> Answer:
        return Answer(200, orjson.dumps({"title": "x" * 1000}), "gateway")

    cache = replace(bench.cache, answer=gateway)
    calls = [replace(video(), values={"id": f"1_{number}"}) for number in range(200)]
    await cache(video())
    tracemalloc.start()
    try:
        for call in calls:
            await cache(call)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    counted, entries = bench.store.size()
    assert entries == 201
    assert taken < 1.5 * counted
