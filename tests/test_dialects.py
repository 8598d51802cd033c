"""Which route table is in force, and when the gateway is asked."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from proxy.dialects import AutoDialect, Finding, FixedDialect
from proxy.events import BreakerChanged, BreakerRejected, DialectChosen
from tests.clocks import FakeClock, settle
from tests.gateway_fakes import Events
from tests.tables import routes

PLAN, NEWER = routes("plan"), routes("newer")
EXISTS = Finding("plan", "the session call exists")
PAGES = Finding("plan", "the list honours paging")
NO_SESSION = Finding("newer", "the session call does not exist")
NO_PAGES = Finding("newer", "the list ignores paging")
OLD = {"session": NO_SESSION, "videos": NO_PAGES}
PLANNED = {"session": EXISTS, "videos": PAGES}


@dataclass
class Asked:
    """Gives the findings that it is told to, when it may."""

    findings: list[Mapping[str, Finding]]
    times: int = 0
    may: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self) -> Mapping[str, Finding]:
        """Count, wait, and give the next findings, the last ones ever after."""
        self.times += 1
        await self.may.wait()
        return self.findings.pop(0) if len(self.findings) > 1 else self.findings[0]


@dataclass
class Bench:
    """An `auto` with its clock, its question and what it told."""

    asked: Asked
    clock: FakeClock = field(default_factory=FakeClock)
    events: Events = field(default_factory=Events)
    auto: AutoDialect = field(init=False)

    def __post_init__(self) -> None:
        self.auto = AutoDialect(PLAN, NEWER, self.asked, self.clock, self.events.append)


def bench(*findings: Mapping[str, Finding]) -> Bench:
    """Return a bench whose gateway answers so, at once."""
    it = Bench(Asked(list(findings)))
    it.asked.may.set()
    return it


def test_a_fixed_dialect_never_changes() -> None:
    """A table that the operator named is the one in force, and nothing was chosen."""
    fixed = FixedDialect(NEWER)
    assert fixed.route("session") is NEWER["session"]
    assert fixed.chosen() == {}


def test_until_it_knows_it_follows_the_plan() -> None:
    """Before the first answer every route is the plan's."""
    it = bench(OLD)
    assert all(it.auto.route(name) is PLAN[name] for name in PLAN)
    assert it.auto.chosen() == {}


async def test_each_route_is_taken_from_the_table_that_fits() -> None:
    """What was found for one route says nothing of another, and what is not asked about stays the plan's."""
    it = bench({"session": NO_SESSION, "videos": PAGES})
    assert await it.auto.settle()
    assert it.auto.route("session") is NEWER["session"]
    assert it.auto.route("videos") is PLAN["videos"]
    assert it.auto.route("details") is PLAN["details"]
    assert it.auto.chosen() == {"session": NO_SESSION, "videos": PAGES}


async def test_a_choice_is_told_once() -> None:
    """What was chosen and why is told when it is new, not each time that it is found again."""
    it = bench(OLD, OLD, {"session": NO_SESSION, "videos": PAGES})
    for _ in range(3):
        await it.auto.settle()
    assert it.events == [
        DialectChosen("session", "newer", NO_SESSION.why),
        DialectChosen("videos", "newer", NO_PAGES.why),
        DialectChosen("videos", "plan", PAGES.why),
    ]


async def test_what_is_not_settled_stays_as_it_was() -> None:
    """A question without an answer changes nothing, and the questions count as unanswered."""
    it = bench(OLD, {"videos": PAGES}, {})
    assert await it.auto.settle()
    assert not await it.auto.settle()
    assert it.auto.route("session") is NEWER["session"]
    assert it.auto.route("videos") is PLAN["videos"]
    assert not await it.auto.settle()
    assert it.auto.route("session") is NEWER["session"]


async def test_all_who_ask_at_once_ask_once() -> None:
    """Questions are asked in a single flight."""
    it = Bench(Asked([OLD]))
    asking = [asyncio.create_task(it.auto.settle()) for _ in range(5)]
    await settle()
    it.asked.may.set()
    assert await asyncio.gather(*asking) == [True] * 5
    assert it.asked.times == 1


async def test_one_who_leaves_fails_nobody() -> None:
    """A call that is given up while it waits for the answer leaves the question and the others alone."""
    it = Bench(Asked([OLD]))
    leaving = asyncio.create_task(it.auto.settle())
    staying = asyncio.create_task(it.auto.settle())
    await settle()
    leaving.cancel()
    await settle()
    it.asked.may.set()
    assert await staying
    assert leaving.cancelled()


async def test_it_asks_until_it_knows() -> None:
    """From its start it asks again with longer and longer pauses, and stops when both are answered."""
    it = bench(*[{}] * 6, {"videos": PAGES}, PLANNED)
    running = asyncio.create_task(it.auto.run())
    await it.clock.advance(1000)
    assert it.clock.slept == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert it.asked.times == 8
    running.cancel()
    await settle()


async def test_it_asks_again_after_an_outage() -> None:
    """A breaker that closed makes the questions due, and the answers may be others; no other event does."""
    it = bench(PLANNED, OLD)
    running = asyncio.create_task(it.auto.run())
    await settle()
    it.auto.notice(BreakerRejected("catalog"))
    it.auto.notice(BreakerChanged("catalog", "closed", "open"))
    it.auto.notice(BreakerChanged("catalog", "open", "half_open"))
    it.auto.notice(BreakerChanged("kaltura", "half_open", "closed"))
    await settle()
    assert it.asked.times == 1
    it.auto.notice(BreakerChanged("catalog", "half_open", "closed"))
    await settle()
    assert it.asked.times == 2
    assert it.auto.route("session") is NEWER["session"]
    await it.clock.advance(1000)
    assert it.asked.times == 2
    running.cancel()
    await settle()


async def test_an_outage_in_between_begins_with_short_pauses() -> None:
    """After a breaker closed the pauses start over."""
    it = bench({}, {}, PLANNED, {}, PLANNED)
    running = asyncio.create_task(it.auto.run())
    await it.clock.advance(10)
    it.auto.notice(BreakerChanged("catalog", "half_open", "closed"))
    await it.clock.advance(10)
    assert it.clock.slept == [1.0, 2.0, 1.0]
    running.cancel()
    await settle()


async def test_a_route_that_does_not_exist_is_reconsidered() -> None:
    """When a call turns out not to exist the gateway is asked, and the route now in force is returned."""
    it = bench(OLD)
    assert await it.auto.reconsider(PLAN["session"]) is NEWER["session"]
    assert it.asked.times == 1


async def test_a_route_that_is_in_force_no_more_needs_no_question() -> None:
    """A call that was under way when the table changed gets the route that is in force by now."""
    it = bench(OLD)
    await it.auto.settle()
    assert await it.auto.reconsider(PLAN["session"]) is NEWER["session"]
    assert it.asked.times == 1


@pytest.mark.parametrize("findings", [PLANNED, {}])
async def test_it_is_reconsidered_at_most_twice_a_minute(findings: Mapping[str, Finding]) -> None:
    """A route that exists nowhere does not double the calls, whether the questions had answers or not."""
    it = bench(findings)
    for _ in range(5):
        assert await it.auto.reconsider(PLAN["session"]) is PLAN["session"]
    assert it.asked.times == 1
    it.clock.shift(29.9)
    await it.auto.reconsider(PLAN["session"])
    assert it.asked.times == 1
    it.clock.shift(0.2)
    await it.auto.reconsider(PLAN["session"])
    assert it.asked.times == 2


@pytest.mark.parametrize("name", ["details", "video", "search", "play"])
async def test_a_route_without_a_choice_is_not_reconsidered(name: str) -> None:
    """A missing call that `auto` could not take from elsewhere costs no question, and delays none."""
    it = bench(OLD)
    assert await it.auto.reconsider(PLAN[name]) is PLAN[name]
    assert it.asked.times == 0
    assert await it.auto.reconsider(PLAN["session"]) is NEWER["session"]


async def test_a_question_that_failed_at_first_may_be_asked_for_a_call() -> None:
    """The gateway that was away at the start is asked as soon as a call finds it without a route."""
    it = bench({}, OLD)
    await it.auto.settle()
    assert await it.auto.reconsider(PLAN["session"]) is NEWER["session"]


async def test_whoever_comes_during_a_question_waits_for_it() -> None:
    """Calls that find the route missing at the same time all get the new one, for one question."""
    it = Bench(Asked([OLD]))
    asking = [asyncio.create_task(it.auto.reconsider(PLAN["session"])) for _ in range(3)]
    await settle()
    it.asked.may.set()
    assert await asyncio.gather(*asking) == [NEWER["session"]] * 3
    assert it.asked.times == 1


async def test_closing_leaves_no_task() -> None:
    """A question on its way is stopped; without one there is nothing to stop."""
    it = Bench(Asked([OLD]))
    await it.auto.aclose()
    asking = asyncio.create_task(it.auto.settle())
    await settle()
    assert len(asyncio.all_tasks()) == 3
    await it.auto.aclose()
    await asyncio.wait([asking])
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await it.auto.aclose()
