"""The slow start: how many calls at once a gateway gets that nothing shows to be well."""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field, replace

import pytest

from proxy.bulkhead import FIRST_CALLS, SlowStart
from proxy.call import Answer, Call, Failure, FailureKind, Source, SourceFailed
from tests.breakers import Bench as BreakerBench
from tests.clocks import FakeClock, settle
from tests.origins import PATIENCE as TEST_PATIENCE
from tests.tables import a_call, a_route

FIRST = 4
CALLS = {
    group: replace(a_call(a_route(group=group), {"id": "1"}), deadline=60.0) for group in ("catalog", "play")
}


@dataclass
class Gateway:
    """A source whose calls stay until they are let go; each is then a good answer, or none."""

    fails: bool = False
    inside: int = 0
    most: int = 0
    entered: int = 0
    good: Counter[str] = field(default_factory=Counter)
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    async def __call__(self, call: Call) -> Answer:
        """Stay until it is this call's turn."""
        self.entered += 1
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            await self.turns.acquire()
        finally:
            self.inside -= 1
        if self.fails:
            raise SourceFailed(Failure("gateway", FailureKind.STATUS, "500", 500))
        self.good[call.route.group] += 1
        return Answer(200, b"{}", "gateway")

    async def answer(self, times: int) -> None:
        """Let so many calls end."""
        for _ in range(times):
            self.turns.release()
        await settle()


@dataclass
class World:
    """A slow start before a gateway."""

    queue: int = 100
    gateway: Gateway = field(default_factory=Gateway)
    patience: float = 60.0

    def __post_init__(self) -> None:
        good = self.gateway.good.__getitem__
        slow = SlowStart.of(self.gateway, CALLS, FIRST, good, self.queue, FakeClock())
        for gate in slow.groups.values():
            gate.patience = self.patience
        self.start = slow

    async def ask(self, times: int, group: str = "catalog") -> list["asyncio.Task[Answer]"]:
        """Make so many calls at once, and let each come as far as it can."""
        tasks = [asyncio.ensure_future(self.start(CALLS[group])) for _ in range(times)]
        await settle()
        return tasks


async def ended(tasks: list["asyncio.Task[Answer]"]) -> Counter[str]:
    """Count how the calls ended."""
    async with asyncio.timeout(TEST_PATIENCE):
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    return Counter(end.failure.kind if isinstance(end, SourceFailed) else type(end).__name__ for end in ends)


async def test_a_gateway_that_nobody_knows_gets_few_calls_at_once() -> None:
    """The others wait as far as there is room, and those beyond go on down the ladder at once."""
    world = World(queue=3)
    tasks = await world.ask(10)
    assert world.gateway.entered == FIRST
    refused = [task for task in tasks if task.done()]
    assert await ended(refused) == {FailureKind.OVERLOADED: 3}
    await world.gateway.answer(10)
    assert await ended(tasks) == {"Answer": 7, FailureKind.OVERLOADED: 3}


async def test_who_waits_in_vain_goes_on_down_the_ladder() -> None:
    """A gateway that hangs holds up those whom it never saw for a moment only, and they say why."""
    world = World(patience=0.01)
    tasks = await world.ask(10)
    async with asyncio.timeout(TEST_PATIENCE):
        await asyncio.wait(tasks[FIRST:])
    error = tasks[-1].exception()
    assert isinstance(error, SourceFailed)
    assert "has not answered of late" in error.failure.detail
    assert world.gateway.entered == FIRST
    await world.gateway.answer(FIRST)
    assert (await ended(tasks))["Answer"] == FIRST


def test_nobody_waits_longer_than_in_the_bulkhead() -> None:
    """Left to itself a slow start holds nobody up for longer than a tenth of a second."""
    start = SlowStart.of(Gateway(), CALLS, FIRST, lambda _: 0, 1, FakeClock())
    assert {gate.patience for gate in start.groups.values()} == {0.1}


async def test_each_good_answer_lets_one_more_in() -> None:
    """A gateway that is well after an idle time serves a burst within a few of its answers' times."""
    world = World()
    tasks = await world.ask(100)
    under_way = []
    while world.gateway.inside:
        under_way.append(world.gateway.inside)
        await world.gateway.answer(world.gateway.inside)
    assert under_way == [4, 8, 16, 32, 40]
    assert await ended(tasks) == {"Answer": 100}


async def test_a_gateway_that_is_well_is_not_slowed_down() -> None:
    """With good answers enough of late all go straight through."""
    world = World(queue=0)
    world.gateway.good["catalog"] = 96
    tasks = await world.ask(100)
    assert world.gateway.entered == 100
    await world.gateway.answer(100)
    assert await ended(tasks) == {"Answer": 100}


async def test_failures_let_nobody_in_but_those_in_their_place() -> None:
    """While none is good there are never more at once than at first."""
    world = World(gateway=Gateway(fails=True))
    tasks = await world.ask(50)
    await world.gateway.answer(50)
    assert await ended(tasks) == {FailureKind.STATUS: 50}
    assert world.gateway.most == FIRST


async def test_groups_do_not_vouch_for_each_other() -> None:
    """A group that is well says nothing of another, and one that hangs takes no places from it."""
    world = World(queue=0)
    world.gateway.good["catalog"] = 100
    hanging = await world.ask(20, "play")
    others = await world.ask(20)
    assert world.gateway.entered == FIRST + 20
    await world.gateway.answer(100)
    assert await ended(hanging) == {"Answer": FIRST, FailureKind.OVERLOADED: 20 - FIRST}
    assert await ended(others) == {"Answer": 20}


@pytest.mark.parametrize("waiting", [True, False])
async def test_a_call_that_is_given_up_gives_its_place_back(*, waiting: bool) -> None:
    """Whether it was at the gateway or waited: the next one comes in, and no place is lost."""
    world = World(gateway=Gateway(fails=True))
    tasks = await world.ask(FIRST + 3)
    for task in tasks[FIRST:] if waiting else tasks[:FIRST]:
        task.cancel()
    await settle()
    left = [task for task in tasks if not task.done()]
    assert world.gateway.inside == (FIRST if waiting else 3)
    left += await world.ask(FIRST - world.gateway.inside)
    assert world.gateway.inside == FIRST
    await world.gateway.answer(FIRST)
    assert await ended(left) == {FailureKind.STATUS: FIRST}


@pytest.mark.parametrize("seed", range(8))
async def test_no_order_of_events_loses_a_place_or_a_call(seed: int) -> None:
    """Calls begin, end and leave, and good answers are forgotten, at random: nobody is stuck."""
    dice = random.Random(seed)  # noqa: S311  (a script, not a secret)
    world = World(queue=dice.randint(1, 30), patience=dice.choice([60.0, 0.001]))
    tasks: list[asyncio.Task[Answer]] = []
    for _ in range(300):
        world.gateway.fails = dice.random() < 0.5
        match dice.choice(["begin", "begin", "end", "leave", "forget"]):
            case "begin":
                tasks += [
                    asyncio.ensure_future(world.start(CALLS["catalog"])) for _ in range(dice.randint(1, 5))
                ]
            case "end":
                world.gateway.turns.release()
            case "leave" if tasks:
                dice.choice(tasks[-20:]).cancel()
            case _:
                world.gateway.good.clear()
        await asyncio.sleep(dice.choice([0, 0, 0.0005]))
    world.gateway.fails = False
    for _ in tasks:
        world.gateway.turns.release()
    assert (await ended(tasks))["Answer"] > 0
    world.gateway.good.clear()
    world.gateway.turns = asyncio.Semaphore(0)
    last = await world.ask(FIRST + 1)
    assert world.gateway.inside == FIRST
    await world.gateway.answer(FIRST + 1)
    assert await ended(last) == {"Answer": FIRST + 1}


async def test_a_breaker_and_a_slow_start_bound_a_burst_between_them() -> None:
    """However many come in an instant, a failing gateway gets the first and those until the breaker opens."""
    bench = BreakerBench()
    made = 0

    async def failing(_call: Call) -> Answer:
        nonlocal made
        permit = bench.breaker.acquire()
        made += 1
        await asyncio.sleep(0)
        permit.failure(0.1)
        raise SourceFailed(Failure("gateway", FailureKind.STATUS, "500", 500))

    tasks = await burst(bench, failing, 300)
    await ended(tasks)
    assert bench.state() == "open"
    assert made <= FIRST_CALLS * bench.settings.minimum_calls + bench.settings.minimum_calls - 1 == 49


async def test_good_answers_count_as_long_as_the_breaker_looks_back() -> None:
    """After that a burst starts slowly again."""
    bench = BreakerBench()
    gateway = Gateway()
    bench.succeed(60)
    tasks = await burst(bench, gateway, 100)
    assert gateway.inside == 100
    bench.clock.shift(bench.settings.window + 1)
    later = await burst(bench, gateway, 100)
    assert gateway.inside == 100 + FIRST_CALLS * bench.settings.minimum_calls
    for task in (*tasks, *later):
        task.cancel()
    await asyncio.wait([*tasks, *later])


async def burst(bench: BreakerBench, source: Source, times: int) -> list["asyncio.Task[Answer]"]:
    """Make so many calls at once by a slow start that looks at the bench's breaker."""
    first = FIRST_CALLS * bench.settings.minimum_calls
    start = SlowStart.of(source, CALLS, first, lambda _: bench.breaker.good, 100, bench.clock)
    call = replace(CALLS["catalog"], deadline=bench.clock.monotonic() + 60.0)
    tasks = [asyncio.ensure_future(start(call)) for _ in range(times)]
    await settle()
    return tasks
