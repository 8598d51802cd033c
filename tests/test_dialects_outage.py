"""When an outage in which no breaker opened makes `auto` ask again."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

from proxy.call import Failure, FailureKind, SourceName
from proxy.dialects import AutoDialect, Finding
from proxy.events import AttemptEnded, BreakerChanged, Event, SourceFailedEvent, TokenRequested
from tests.clocks import FakeClock, settle
from tests.gateway_fakes import Events
from tests.tables import routes

ANSWERED = AttemptEnded("videos", "ok", 0.1)


def failed(kind: FailureKind, status: int | None = None, source: SourceName = "gateway") -> Event:
    """A source that did not answer."""
    return SourceFailedEvent("videos", Failure(source, kind, "?", status), "r1")


AWAY = failed(FailureKind.UNREACHABLE)


class Bench:
    """An `auto` that has asked once, at 0 s, and counts how often it asks."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.times = 0
        self.auto = AutoDialect(routes("plan"), routes("newer"), self.ask, self.clock, Events().append)

    async def ask(self) -> Mapping[str, Finding]:
        """Find what fits the plan."""
        self.times += 1
        return {"session": Finding("plan", "?"), "videos": Finding("plan", "?")}

    async def told(self, *events: Event) -> int:
        """Tell it of events; return how often it has asked by now."""
        for event in events:
            self.auto.notice(event)
        await settle()
        return self.times


@asynccontextmanager
async def running() -> AsyncIterator[Bench]:
    """Run it."""
    it = Bench()
    task = asyncio.create_task(it.auto.run())
    await settle()
    assert it.times == 1
    yield it
    task.cancel()
    await it.auto.aclose()
    await asyncio.wait([task])
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize(
    "trouble",
    [
        AWAY,
        failed(FailureKind.TIMEOUT),
        failed(FailureKind.BREAKER_OPEN),
        failed(FailureKind.TOKEN),
        failed(FailureKind.STATUS, 500),
        failed(FailureKind.STATUS, 503),
        TokenRequested("service", "unreachable"),
        AttemptEnded("videos", "unreachable", 0.1),
    ],
)
@pytest.mark.parametrize("outcome", ["ok", "missing"])
async def test_the_first_answer_after_trouble_makes_it_ask(trouble: Event, outcome: str) -> None:
    """Whatever kept the gateway from answering, it is asked again once it answers, and only then."""
    async with running() as it:
        it.clock.shift(31.0)
        assert await it.told(trouble, trouble, trouble) == 1
        assert await it.told(AttemptEnded("videos", outcome, 0.1)) == 2
        await it.clock.advance(100.0)
        assert await it.told(ANSWERED) == 2


@pytest.mark.parametrize(
    "event",
    [
        ANSWERED,
        failed(FailureKind.STATUS, 404),
        failed(FailureKind.STATUS, 429),
        failed(FailureKind.NO_SUCH_ROUTE, 404),
        failed(FailureKind.OVERLOADED),
        failed(FailureKind.UNREACHABLE, source="activity"),
        TokenRequested("service", "login"),
        TokenRequested("service", "refresh"),
        AttemptEnded("videos", "timeout", 3.0),
    ],
)
async def test_what_is_no_outage_asks_nothing(event: Event) -> None:
    """Answers, refusals, and trouble elsewhere leave the choice alone."""
    async with running() as it:
        it.clock.shift(31.0)
        assert await it.told(event, ANSWERED) == 1


@pytest.mark.parametrize("outcome", ["refused", "cancelled", "timeout", "status"])
async def test_only_an_answer_ends_an_outage(outcome: str) -> None:
    """An exchange that gave nothing usable does not tell that the gateway is back."""
    async with running() as it:
        it.clock.shift(31.0)
        assert await it.told(AWAY, AttemptEnded("videos", outcome, 0.1)) == 1
        assert await it.told(ANSWERED) == 2


async def test_it_asks_once_in_half_a_minute() -> None:
    """An answer that comes earlier has its question when the half minute is over; many have one."""
    async with running() as it:
        await it.clock.advance(10.0)
        for _ in range(5):
            assert await it.told(AWAY, ANSWERED) == 1
        await it.clock.advance(19.9)
        assert it.times == 1
        await it.clock.advance(0.2)
        assert it.times == 2
        await it.clock.advance(100.0)
        assert it.times == 2


async def test_a_breaker_that_closed_is_enough() -> None:
    """The answer that closes a breaker makes it ask at once, and not once more."""
    async with running() as it:
        assert await it.told(AWAY, BreakerChanged("catalog", "half_open", "closed"), ANSWERED) == 2
        await it.clock.advance(100.0)
        assert it.times == 2


async def test_closing_stops_what_is_due_later() -> None:
    """A question that waits for its half minute leaves no task."""
    async with running() as it:
        await it.told(AWAY, ANSWERED)
