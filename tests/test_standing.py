"""Canned answers given at once while the breaker is open: as the listener would, and only while it would."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from proxy import standing as module
from proxy.ahead import AtOnce, Send, either
from proxy.call import Answer, Call, Failure, FailureKind
from proxy.events import AnsweredAtOnce, BreakerRejected, RequestEnded, SourceFailedEvent
from proxy.giving import Giving
from proxy.headers import Clients
from proxy.provenance import provenance
from proxy.request_id import RequestIds
from proxy.route import Route
from proxy.standing import LARGEST, LASTS, Standing
from tests.clocks import FakeClock
from tests.gateway_fakes import Events
from tests.listener_fakes import Bench, listening
from tests.origins import Message, until
from tests.running import watching
from tests.tables import routes

VIDEO = b"/api/kaltura/video/1_cats"
OPEN = Failure("gateway", FailureKind.BREAKER_OPEN, "the circuit breaker catalog is open", retry_after=7.0)
CANNED = Answer(200, b'{"id":"1_cats"}', "canned", failures=(OPEN,), cache="fwd=miss")


@dataclass
class Outage:
    """A listener whose ladder ends at `answer`; `asked` are the calls that went down it."""

    clock: FakeClock
    events: Events
    table: dict[str, Route]
    listener: Bench = field(init=False)
    standing: Standing = field(init=False)
    answer: Answer = CANNED
    kept_back: Failure | None = OPEN
    quiet: bool = True
    asked: list[Call] = field(default_factory=list)

    async def __call__(self, call: Call) -> Answer:
        """Go down the ladder."""
        self.asked.append(call)
        return self.answer

    async def get(self, *fields: bytes, start: bytes = b"GET " + VIDEO, body: bytes = b"") -> Message:
        """Make a request."""
        return await self.listener.raw(start, *fields, body=body)

    async def at_once(self, *fields: bytes, start: bytes = b"GET " + VIDEO, body: bytes = b"") -> bool:
        """Make a request, and tell whether it was answered at once."""
        before = len(self.asked)
        assert (await self.get(*fields, start=start, body=body)).status == 200
        return len(self.asked) == before


@asynccontextmanager
async def outage(
    admit: Callable[[str], Mapping[str, str] | None] | None = None,
) -> AsyncIterator[Outage]:
    """Run the listener while nothing can be fetched."""
    it = Outage(FakeClock(), Events(), dict(routes("plan")))

    def route(name: str) -> Route:
        return it.table[name]

    standing = it.standing = Standing(
        lambda _key: it.quiet,
        lambda _route: it.kept_back,
        lambda _route: it.kept_back is None,
        lambda _call: "key",
        route,
        Giving(provenance, Clients(()), RequestIds(b"s" * 16), it.clock, it.events.append, admit),
    )
    changes: dict[str, Any] = {"route": route, "clock": it.clock, "observe": it.events.append}
    async with listening(it, at_once=standing, learn=standing.learn, **changes) as it.listener:
        yield it


async def test_it_is_the_listeners_answer_with_an_id_of_its_own() -> None:
    """Status, fields in their order and body are those of the long way, told like any other."""
    async with outage() as it:
        first = await it.get()
        await until(lambda: bool(it.events.of(RequestEnded)))
        it.events.clear()
        again = await it.get(b"X-Request-Id: mine")
        assert len(it.asked) == 1
    own = {b"X-Request-Id", b"Date"}
    assert [pair for pair in again.fields if pair[0] not in own] == [
        pair for pair in first.fields if pair[0] not in own
    ]
    assert (again.start, again.body, again.one("X-Request-Id")) == (first.start, first.body, b"mine")
    assert again.one("Cache-Control") == b"no-store"
    assert list(it.events) == [
        SourceFailedEvent("video", OPEN, "mine"),
        AnsweredAtOnce(
            listener="public",
            route="video",
            method="GET",
            status=200,
            source="canned",
            seconds=0.0,
            request_id="mine",
            target=VIDEO.decode(),
            client="127.0.0.1",
            bytes_sent=len(CANNED.body),
            failures=(OPEN,),
        ),
    ]


@pytest.mark.parametrize(
    "answer",
    [
        replace(CANNED, source="gateway"),
        replace(CANNED, source="stale"),
        replace(CANNED, failures=()),
        replace(CANNED, failures=(replace(OPEN, kind=FailureKind.TIMEOUT),)),
        replace(CANNED, failures=(replace(OPEN, source="kaltura"),)),
        replace(CANNED, failures=(OPEN, replace(OPEN, source="kaltura"))),
        replace(CANNED, cache="fwd=miss; collapsed"),
        replace(CANNED, cache="fwd=stale"),
        replace(CANNED, body=b" " * (LARGEST + 1)),
    ],
)
async def test_what_did_not_come_of_the_breaker_alone_is_asked_for_again(answer: Answer) -> None:
    """Whatever else led to an answer may be over, or would have to be asked."""
    async with outage() as it:
        it.answer = answer
        for _ in range(2):
            assert not await it.at_once()


@pytest.mark.parametrize("change", ["quiet", "kept_back", "route", "late"])
async def test_it_ends_with_what_led_to_it(change: str) -> None:
    """Something is kept or under way, the breaker lets the call through, another table, or a second later."""
    async with outage() as it:
        await it.get()
        assert await it.at_once()
        if change == "quiet":
            it.quiet = False
        elif change == "kept_back":
            it.kept_back = None
        elif change == "route":
            it.table["video"] = it.table["video"].model_copy()
        else:
            it.clock.shift(LASTS)
        assert not await it.at_once()


@pytest.mark.parametrize(
    ("start", "fields", "body"),
    [
        (b"HEAD " + VIDEO, (), b""),
        (b"GET " + VIDEO, (b"Via: 1.1 another",), b""),
        (b"GET " + VIDEO, (b"Content-Length: 2",), b"{}"),
        (b"GET " + VIDEO + b"?a=b", (), b""),
    ],
)
async def test_what_is_not_plain_goes_the_listeners_way(
    start: bytes, fields: tuple[bytes, ...], body: bytes
) -> None:
    """As with kept answers; nor is anything learned of such a request."""
    async with outage() as it:
        assert not await it.at_once(*fields, start=start, body=body)
        assert not await it.at_once(*fields, start=start, body=body) or b"?" in start
        if b"?" not in start:
            assert not await it.at_once() or b"Via" in b"".join(fields)


async def test_a_client_that_asks_too_often_is_left_to_the_listener() -> None:
    """Standing in is no way round a limit."""
    async with outage(lambda _address: {"Retry-After": "1"}) as it:
        for _ in range(2):
            assert not await it.at_once()


async def test_a_client_that_may_be_limited_as_somebody_is_left_to_the_listener() -> None:
    """Only it finds out whose bucket that is."""
    async with outage(lambda _address: None) as it:
        assert not await it.at_once()
        assert await it.at_once()
        assert not await it.at_once(b"Cookie: a=b")


async def test_an_absolute_target_is_held_against_its_host_each_time() -> None:
    """What it stands for depends on a field, so it is never answered at once."""
    async with outage() as it:
        start = b"GET http://activity.example" + VIDEO
        for _ in range(3):
            assert not await it.at_once(start=start)
        other = b"GET http://other.example" + VIDEO
        assert (await it.get(start=other)).status == 400


async def test_it_remembers_so_many_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded; the oldest is forgotten."""
    monkeypatch.setattr(module, "TARGETS", 2)
    async with outage() as it:
        starts = [b"GET /api/kaltura/video/1_%d" % number for number in range(3)]
        for start in starts:
            assert not await it.at_once(start=start)
        assert [await it.at_once(start=start) for start in (*starts[1:], starts[0])] == [True, True, False]


async def test_it_forgets_what_has_had_its_time() -> None:
    """After an outage no answers lie about."""
    async with outage() as it:
        for number in range(3):
            await it.get(start=b"GET /api/kaltura/video/1_%d" % number)
            it.clock.shift(0.6 * LASTS)
        assert len(it.standing._known) == 2


async def test_the_second_is_asked_where_the_first_leaves_a_request_alone() -> None:
    """What is ready goes before what stands in."""
    asked: list[str] = []

    def one(name: str, answers: bool | None) -> AtOnce:
        def give(_send: Send) -> bool:
            asked.append(name)
            return bool(answers)

        return lambda _request, _peer: None if answers is None else give

    def answered(first: AtOnce, second: AtOnce) -> bool:
        nothing: Any = None
        give = either(first, second)(nothing, None)
        return give is not None and give(nothing)

    assert answered(one("a", True), one("b", True))
    assert answered(one("c", False), one("d", True))
    assert not answered(one("e", False), one("f", False))
    assert answered(one("g", None), one("h", True))
    assert not answered(one("i", False), one("j", None))
    assert not answered(one("k", None), one("l", None))
    assert asked == [*"acdefhi"]


async def test_a_request_that_the_breaker_lets_through_again_counts_once(tmp_path: Path) -> None:
    """Nothing is taken of a client's rate here that the listener takes as well."""
    async with watching(tmp_path, "limits: {rate: 1/h, burst: 3}") as (_, sidecar, viewer):
        breaker = sidecar.parts.breakers["catalog"]
        breaker.force_open()
        replies = [await viewer.ask("GET", "/api/kaltura/video/1_e0000003")]
        breaker.reset()
        replies += [await viewer.ask("GET", "/api/kaltura/video/1_e0000003") for _ in range(3)]
    assert [(reply.status, reply.source) for reply in replies] == [
        (200, "canned"),
        (200, "gateway"),
        (200, "cache"),
        (429, None),
    ]


async def test_what_is_given_again_tells_of_the_breaker_as_it_is(tmp_path: Path) -> None:
    """An answer from before an operator forced it open does not go on saying that it is just open."""
    async with watching(tmp_path) as (_, sidecar, viewer):
        breaker = sidecar.parts.breakers["catalog"]
        said: list[str] = []
        for forced in (False, True):
            breaker.force_open() if forced else breaker.hold_open(60.0)
            for _ in range(2):
                reply = await viewer.ask("GET", "/api/kaltura/video/1_e0000003")
                said.append(reply.headers["Proxy-Status"].rpartition("the circuit breaker ")[2])
    assert said == ['catalog is open"'] * 2 + ['catalog is forced open"'] * 2


async def test_a_sidecar_in_an_outage_answers_at_once(tmp_path: Path) -> None:
    """Each request is counted as kept back by the breaker, whichever way it was answered."""
    async with watching(tmp_path) as (_, sidecar, viewer):
        events = Events()
        sidecar.parts.observe.listeners.append(events.append)  # type: ignore[attr-defined]  # the shop's
        sidecar.parts.breakers["catalog"].force_open()
        sources = [(await viewer.ask("GET", "/api/kaltura/video/1_e0000003")).source for _ in range(5)]
        sidecar.parts.breakers["catalog"].reset()
        after = await viewer.ask("GET", "/api/kaltura/video/1_e0000003")
    assert sources == ["canned"] * 5
    assert len(events.of(BreakerRejected)) == 5
    assert [event.failure.kind for event in events.of(SourceFailedEvent)] == [FailureKind.BREAKER_OPEN] * 5
    assert after.source == "gateway"
