"""Kept answers given at once: the same bytes as the listener's, and only where they are the right ones."""

import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from aiohttp import web

from proxy import ready as module
from proxy.caching import Caching, Keys
from proxy.call import Answer, Call, Source
from proxy.events import AnsweredAtOnce, RequestEnded
from proxy.flights import Flights
from proxy.giving import Giving
from proxy.headers import Clients
from proxy.memory_store import MemoryStore
from proxy.provenance import provenance
from proxy.ready import Ready
from proxy.reply import date
from proxy.request_id import RequestIds
from proxy.route import Route
from tests.clocks import FakeClock
from tests.gateway_fakes import Events
from tests.listener_fakes import Bench, Recorded, listening
from tests.origins import Message, client, read_message, request, until
from tests.tables import routes

VIDEO = b"/api/kaltura/video/1_cats"


@dataclass
class Shelf:
    """A listener with a cache and what is ready of it. `asked` are the calls that went the listener's way."""

    listener: Bench
    gateway: Recorded
    store: MemoryStore
    clock: FakeClock
    table: dict[str, Route]
    events: Events
    asked: list[Call] = field(default_factory=list)

    async def get(self, *fields: bytes, start: bytes = b"GET " + VIDEO, body: bytes = b"") -> Message:
        """Make a request."""
        return await self.listener.raw(start, *fields, body=body)

    async def at_once(self, *fields: bytes, start: bytes = b"GET " + VIDEO, body: bytes = b"") -> bool:
        """Make a request, and tell whether it was answered at once."""
        before = len(self.asked)
        assert (await self.get(*fields, start=start, body=body)).status == 200
        return len(self.asked) == before


@asynccontextmanager
async def shelf(
    admit: Callable[[str], Mapping[str, str] | None] | None = None,
) -> AsyncIterator[Shelf]:
    """Run the listener, after two requests for the video: one to get it, one to have it shown to `Ready`."""
    clock, events, gateway, table = FakeClock(), Events(), Recorded(), dict(routes("plan"))
    store, keys, asked = MemoryStore(1_000_000, clock), Keys("here"), list[Call]()
    flights = Flights(clock, events.append)
    cache: Source = Caching(gateway, gateway, store, keys, flights, clock, lambda: 0.0, events.append)

    async def answer(call: Call) -> Answer:
        asked.append(call)
        return await cache(call)

    def route(name: str) -> Route:
        return table[name]

    give = Giving(provenance, Clients(()), RequestIds(b"r" * 16), clock, events.append, admit)
    ready = Ready(store, keys.key, route, give)
    changes: dict[str, Any] = {"route": route, "clock": clock, "observe": events.append}
    if admit is not None:

        async def admitted(request: web.BaseRequest) -> Mapping[str, str] | None:
            return admit(request.remote or "")

        changes["admit"] = admitted
    async with listening(answer, at_once=ready, learn=ready.learn, **changes) as listener:
        it = Shelf(listener, gateway, store, clock, table, events, asked)
        for source in (b"gateway", b"cache"):
            assert (await it.get()).one("Activity-Proxy-Source") == source
        await until(lambda: len(events.of(RequestEnded)) == 2)
        events.clear()
        yield it
    await flights.aclose()


def but_for_its_id(message: Message) -> Message:
    """Return an answer without what differs between any two."""
    fields = [(name, value) for name, value in message.fields if name not in {b"X-Request-Id", b"Date"}]
    return Message(message.start, fields, message.body)


async def test_it_is_the_listeners_answer() -> None:
    """Status, fields in their order and body are those of the long way; the id is one of its own."""
    async with shelf() as it:
        long_way = await it.get(b'If-None-Match: "another"')
        assert len(it.asked) == 3
        at_once = [await it.get() for _ in range(2)]
        assert len(it.asked) == 3
    assert [but_for_its_id(message) for message in at_once] == [but_for_its_id(long_way)] * 2
    assert len({message.one("X-Request-Id") for message in (*at_once, long_way)}) == 3
    assert at_once[0].one("Date") is not None


async def test_it_is_told_like_any_other() -> None:
    """It is one event, which stands for all, and has all that the access line says."""
    async with shelf() as it:
        await it.get(b"X-Request-Id: mine")
    assert list(it.events) == [
        AnsweredAtOnce(
            listener="public",
            route="video",
            method="GET",
            status=200,
            source="cache",
            seconds=0.0,
            request_id="mine",
            target=VIDEO.decode(),
            client="127.0.0.1",
            bytes_sent=len(it.gateway.answer.body),
        ),
    ]
    assert type(it.events[0]) is AnsweredAtOnce


@pytest.mark.parametrize(
    ("start", "fields", "body"),
    [
        (b"HEAD " + VIDEO, (), b""),
        (b"GET " + VIDEO, (b'If-None-Match: "x"',), b""),
        (b"GET " + VIDEO, (b"Via: 1.1 another",), b""),
        (b"GET " + VIDEO, (b"Expect: something",), b""),
        (b"GET " + VIDEO, (b"Connection: close",), b""),
        (b"GET " + VIDEO, (b"Content-Length: 2",), b"{}"),
        (b"GET " + VIDEO, (b"Transfer-Encoding: chunked",), b"0\r\n\r\n"),
        (b"GET " + VIDEO, (b"Connection: Upgrade", b"Upgrade: websocket"), b""),
        (b"GET " + VIDEO + b"?a=b", (), b""),
        (b"GET http://activity.example" + VIDEO, (), b""),
    ],
)
async def test_what_is_not_plain_goes_the_listeners_way(
    start: bytes, fields: tuple[bytes, ...], body: bytes
) -> None:
    """What a method, a condition, a loop, an expectation, a body or another spelling mean, it decides."""
    async with shelf() as it:
        assert not await it.at_once(*fields, start=start, body=body)


async def test_http_1_0_goes_the_listeners_way() -> None:
    """Its connection ends, or is told to stay."""
    async with shelf() as it, client(it.listener.port) as (reader, writer):
        writer.write(b"GET " + VIDEO + b" HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert (await read_message(reader)).one("Connection") == b"keep-alive"
        assert len(it.asked) == 3


async def test_what_became_stale_goes_the_listeners_way() -> None:
    """Fresh it counts down, and never below 0."""
    async with shelf() as it:
        for passed, ttl in ((0.0, 60), (0.5, 59), (0.4, 59), (59.0, 0)):
            it.clock.shift(passed)
            message = await it.get()
            assert message.one("Cache-Status") == b"activity-proxy; hit; ttl=%d" % ttl
        assert len(it.asked) == 2
        it.clock.shift(0.1)
        assert (await it.get()).one("Activity-Proxy-Source") == b"stale"


async def test_a_new_answer_takes_the_olds_place() -> None:
    """What is given is what the store has now."""
    async with shelf() as it:
        assert await it.at_once()
        (key, entry), *_ = it.store.items()
        await it.store.set(key, type(entry)(200, b"{}", '"new"', entry.stored_at, entry.max_age), 60.0)
        message = await it.get()
        assert (message.body, message.one("ETag"), len(it.asked)) == (b"{}", b'"new"', 2)


async def test_an_answer_that_was_fetched_again_counts_down_anew() -> None:
    """Its body may be the very same: it is as old as it is."""
    async with shelf() as it:
        assert await it.at_once()
        (key, entry), *_ = it.store.items()
        it.clock.shift(30)
        await it.store.set(key, replace(entry, stored_at=it.clock.time()), 60.0)
        assert (await it.get()).one("Cache-Status") == b"activity-proxy; hit; ttl=60"


async def test_a_clock_that_is_set_back_makes_no_answer_older() -> None:
    """What a head says of the age is as of now, whichever way the clock went."""
    async with shelf() as it:
        it.clock.shift(20.5)
        assert (await it.get()).one("Cache-Status") == b"activity-proxy; hit; ttl=39"
        it.clock.set_back(10)
        assert (await it.get()).one("Cache-Status") == b"activity-proxy; hit; ttl=49"
        assert len(it.asked) == 2


async def test_each_answer_has_the_date_of_its_second() -> None:
    """A head that is used again is dated anew."""
    async with shelf() as it:
        dates = []
        for _ in range(3):
            dates.append((await it.get()).one("Date"))
            it.clock.shift(0.6)
        assert dates == [date(it.clock.time() - ago) for ago in (1.8, 1.2, 0.6)]
        assert len({*dates}) == 2
        assert len(it.asked) == 2


async def test_what_was_purged_is_gone() -> None:
    """An operator who empties the cache sees no old answer any more."""
    async with shelf() as it:
        await it.store.purge()
        assert not await it.at_once()


async def test_a_kept_404_goes_the_listeners_way() -> None:
    """An error's body holds the request's id."""
    async with shelf() as it:
        (key, entry), *_ = it.store.items()
        await it.store.set(key, type(entry)(404, b"", '"x"', entry.stored_at, entry.max_age), 60.0)
        for _ in range(2):
            assert (await it.get()).status == 404
        assert len(it.asked) == 4


async def test_another_dialects_route_is_another_answer() -> None:
    """What was kept of a call that is not made any more is not given."""
    async with shelf() as it:
        it.table["video"] = it.table["video"].model_copy()
        assert not await it.at_once()
        assert await it.at_once()  # it was shown the new one


async def test_what_the_gateway_says_is_gone_goes_the_listeners_way() -> None:
    """The good answer that is kept beside a 404 is for a gateway that fails."""
    async with shelf() as it:
        (key, entry), *_ = it.store.items()
        await it.store.set(key, replace(entry, missing_until=it.clock.time() + 5), 60.0)
        assert (await it.get()).status == 404


async def test_a_client_that_asks_too_often_hears_of_it() -> None:
    """Being ready is no way round a limit, and what is given counts once."""
    asked = list[str]()

    def admit(address: str) -> Mapping[str, str] | None:
        asked.append(address)
        return None if len(asked) <= 4 else {"Retry-After": "1"}

    async with shelf(admit) as it:
        assert [(await it.get()).status for _ in range(3)] == [200, 200, 429]
        assert len(it.asked) == 2
    # The last one was asked for as what came before, when it was looked into, and by the listener.
    assert asked == ["127.0.0.1"] * 7


async def test_where_clients_are_limited_a_viewers_credential_is_looked_into() -> None:
    """Who is signed in has a rate of their own: the listener has to see who it is, but for that alone."""
    for admit, ready in ((None, True), (lambda _address: None, False)):
        async with shelf(admit) as it:
            for shown in (b"Cookie: a=b", b"Authorization: Bearer t"):
                assert await it.at_once(shown) is ready


async def test_used_answers_stay_in_a_full_store() -> None:
    """Being given at once counts as a use: what nobody asks for is pushed out first."""
    async with shelf() as it:
        (key, entry), *_ = it.store.items()
        await it.store.set("other", entry, 60.0)
        assert await it.at_once()
        assert it.store.items()[0][0] == key


async def test_what_the_store_drops_is_not_held_on_to() -> None:
    """The store alone bounds the memory that answers take."""
    async with shelf() as it:
        assert await it.at_once()
        (_, entry), *_ = it.store.items()
        await it.store.purge()
        assert sys.getrefcount(entry) == 2  # this function and the call


async def test_answers_keep_the_order_of_their_requests() -> None:
    """A ready one that was sent behind one that takes longer comes behind it."""
    async with shelf() as it, client(it.listener.port) as (reader, writer):
        it.gateway.answer = Answer(200, b'{"id":"other"}', "gateway")
        plain, slow = request(b"GET " + VIDEO), request(b"GET /api/kaltura/video/1_other")
        writer.write(plain + plain + slow + plain)
        bodies = [(await read_message(reader)).body for _ in range(4)]
        writer.write(plain)
        bodies.append((await read_message(reader)).body)
    assert bodies == [b'{"id":"1_cats"}'] * 2 + [b'{"id":"other"}'] + [b'{"id":"1_cats"}'] * 2


async def test_a_reader_that_does_not_read_gets_no_more() -> None:
    """Answers do not pile up for a client that takes none."""
    async with shelf() as it:
        (key, entry), *_ = it.store.items()
        large = type(entry)(200, b"x" * 200_000, '"large"', entry.stored_at, entry.max_age)
        await it.store.set(key, large, 60.0)
        async with client(it.listener.port) as (_, writer):
            for _ in range(100):
                writer.write(request(b"GET " + VIDEO))
            await until(lambda: len(it.asked) > 2)
            assert len(it.events.of(RequestEnded)) < 60


async def test_an_absolute_target_is_held_against_its_host_each_time() -> None:
    """What it stands for depends on a field, so it is never answered at once."""
    async with shelf() as it:
        start = b"GET http://activity.example" + VIDEO
        for _ in range(3):
            assert not await it.at_once(start=start)
        other = b"GET http://other.example" + VIDEO
        assert (await it.get(start=other)).status == 400


async def test_it_remembers_so_many_targets_and_no_long_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded however many spellings of a target clients think of."""
    monkeypatch.setattr(module, "TARGETS", 2)
    async with shelf() as it:
        for _ in range(2):  # so that its bytes are known, too
            assert await it.at_once()
        long = b"GET " + VIDEO + b"?" + b"a" * module.LONGEST
        assert not await it.at_once(start=long)
        assert not await it.at_once(start=long)
        for query in (b"?a", b"?b"):
            assert not await it.at_once(start=b"GET " + VIDEO + query)
            assert await it.at_once(start=b"GET " + VIDEO + query)
        assert not await it.at_once()
