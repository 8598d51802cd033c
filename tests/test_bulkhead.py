"""The bulkhead: how many calls are under way at once, who waits, and who is turned away."""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field, replace

import pytest

from proxy.bulkhead import PATIENCE, Bulkhead
from proxy.call import Answer, Call, FailureKind, SourceFailed, Subject
from proxy.gateway_settings import GatewaySettings
from proxy.login import GatewayLogin
from proxy.upstream import gateway_session
from tests.clocks import FakeClock, settle, until
from tests.gateway_fakes import Bench, Hang, gateway_clients, http
from tests.origins import PATIENCE as TEST_PATIENCE
from tests.origins import Reader, Writer, raw_origin, read_message
from tests.tables import a_call, a_route

LONG = 60.0
"""Patience of calls that a test lets in or cancels itself."""
CALL = a_call(a_route(), {"id": "1"})


@dataclass
class Doors:
    """A source whose calls each stay until their door is opened; it counts who is inside."""

    doors: dict[str, asyncio.Event] = field(default_factory=dict)
    entered: list[str] = field(default_factory=list)
    inside: int = 0
    most: int = 0

    async def __call__(self, call: Call) -> Answer:
        """Stay until the call's door opens."""
        self.entered.append(call.request_id)
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            await self.doors.setdefault(call.request_id, asyncio.Event()).wait()
        finally:
            self.inside -= 1
        return Answer(200, call.request_id.encode(), "gateway")

    def open(self, name: str) -> None:
        """Let a call end."""
        self.doors.setdefault(name, asyncio.Event()).set()


@dataclass
class World:
    """A bulkhead before doors."""

    limit: int
    patience: float = LONG
    clock: FakeClock = field(default_factory=FakeClock)
    doors: Doors = field(default_factory=Doors)

    def __post_init__(self) -> None:
        self.bulkhead = Bulkhead.of(self.doors, self.limit, self.clock, self.patience)

    async def ask(self, name: str, deadline: float = LONG) -> Answer:
        """Make a call."""
        return await self.bulkhead(replace(CALL, request_id=name, deadline=deadline))

    async def start(self, *names: str) -> list["asyncio.Task[Answer]"]:
        """Start calls, and let each come as far as it can."""
        tasks = [asyncio.create_task(self.ask(name)) for name in names]
        await settle()
        return tasks

    async def idle(self) -> bool:
        """Whether every place is to be had again, and none more than there were."""
        names = [f"idle-{number}" for number in range(self.limit + 1)]
        before = len(self.doors.entered)
        tasks = await self.start(*names)
        entered = self.doors.entered[before:]
        for name in names:
            self.doors.open(name)
        await asyncio.gather(*tasks, return_exceptions=True)  # the one too many may have been turned away
        return entered == names[: self.limit]


def kind(outcome: object) -> FailureKind:
    """Why a call was not answered."""
    assert isinstance(outcome, SourceFailed)
    return outcome.failure.kind


async def test_up_to_the_limit_calls_go_straight_through() -> None:
    """As many calls as there are places are under way at once, and get the source's own answer."""
    world = World(3)
    tasks = await world.start("a", "b", "c")
    assert world.doors.inside == 3
    for name in "abc":
        world.doors.open(name)
    assert [answer.body for answer in await asyncio.gather(*tasks)] == [b"a", b"b", b"c"]


async def test_one_more_waits_and_gets_the_next_place() -> None:
    """A call on top of the limit enters when another has ended, and not before."""
    world = World(2)
    tasks = await world.start("a", "b", "c")
    assert world.doors.entered == ["a", "b"]
    world.doors.open("b")
    await settle()
    assert world.doors.entered == ["a", "b", "c"]
    world.doors.open("a")
    world.doors.open("c")
    await asyncio.gather(*tasks)
    assert world.doors.most == 2
    assert await world.idle()


@pytest.mark.parametrize(("limit", "queue"), [(1, 1), (9, 1), (20, 2), (100, 10)])
async def test_the_queue_is_a_tenth_of_the_limit(limit: int, queue: int) -> None:
    """A tenth of the limit, at least one, may wait; the next is told at once that there are too many."""
    world = World(limit)
    tasks = await world.start(*(str(number) for number in range(limit + queue)))
    with pytest.raises(SourceFailed) as refusal:
        await world.ask("one too many")
    assert refusal.value.failure.kind is FailureKind.OVERLOADED
    assert (refusal.value.failure.source, refusal.value.failure.retry_after) == ("gateway", 1.0)
    assert world.doors.inside == limit
    assert not any(task.done() for task in tasks)
    for number in range(limit + queue):
        world.doors.open(str(number))
    await asyncio.gather(*tasks)
    assert await world.idle()


async def test_first_come_first_served() -> None:
    """Places are given in the order of asking, and nobody who comes later overtakes the queue."""
    world = World(30)
    tasks = await world.start(*(f"in-{number}" for number in range(30)), "x", "y", "z")
    world.doors.open("in-7")
    world.doors.open("in-3")
    tasks += await world.start("late")
    assert world.doors.entered[30:] == ["x", "y"]
    world.doors.open("in-5")
    world.doors.open("in-6")
    await settle()
    assert world.doors.entered[32:] == ["z", "late"]
    for name in world.doors.entered:
        world.doors.open(name)
    await asyncio.gather(*tasks)


async def test_nobody_waits_longer_than_patience() -> None:
    """When no place comes free in time, a waiting call is told so, and its place in the queue is free."""
    world = World(1, patience=0.01)
    (inside,) = await world.start("a")
    for name in ("b", "c"):
        async with asyncio.timeout(TEST_PATIENCE):
            with pytest.raises(SourceFailed) as refusal:
                await world.ask(name)
        assert refusal.value.failure.kind is FailureKind.OVERLOADED
    world.doors.open("a")
    await inside
    assert world.doors.entered == ["a"]


def test_a_viewer_does_not_notice_the_wait() -> None:
    """Left to itself a bulkhead lets nobody wait for longer than a tenth of a second."""
    assert Bulkhead.of(Doors(), 1, FakeClock()).patience == PATIENCE == 0.1


async def test_nobody_waits_past_the_deadline() -> None:
    """A call with less time than patience waits for that time only, and with none left not at all."""
    world = World(1)
    (inside,) = await world.start("a")
    async with asyncio.timeout(TEST_PATIENCE):
        with pytest.raises(SourceFailed):
            await world.ask("little time", deadline=world.clock.monotonic() + 0.01)
    world.clock.shift(5.0)
    late = asyncio.create_task(world.ask("no time", deadline=5.0))
    await settle()
    assert kind(late.exception()) is FailureKind.OVERLOADED
    world.doors.open("a")
    await inside


async def test_a_failing_source_gives_its_place_back() -> None:
    """A source's failure passes through, and the place is free again."""

    async def failing(_call: Call) -> Answer:
        raise ValueError("broken")

    bulkhead = Bulkhead.of(failing, 1, FakeClock())
    for _ in range(3):
        with pytest.raises(ValueError, match="broken"):
            await bulkhead(CALL)


async def test_a_call_that_is_given_up_inside_frees_its_place() -> None:
    """A client that leaves in the midst of its call lets the first who waits in."""
    world = World(1)
    first, second = await world.start("a", "b")
    first.cancel()
    await settle()
    assert world.doors.entered == ["a", "b"]
    world.doors.open("b")
    assert (await second).body == b"b"
    assert await world.idle()


async def test_a_call_that_is_given_up_waiting_leaves_the_queue() -> None:
    """A client that leaves while it waits takes no place, and makes room for another to wait."""
    world = World(1)
    first, second = await world.start("a", "b")
    second.cancel()
    await settle()
    (third,) = await world.start("c")
    assert not third.done()
    world.doors.open("a")
    world.doors.open("c")
    await asyncio.gather(first, third)
    assert world.doors.entered == ["a", "c"]
    assert await world.idle()


@pytest.mark.parametrize("order", ["left first", "given first"])
async def test_leaving_in_the_very_moment_of_being_let_in_loses_no_place(order: str) -> None:
    """Where a place and the wish to leave meet before the call runs again, the next one gets the place."""
    world = World(20)
    tasks = await world.start(*(f"in-{number}" for number in range(20)), "leaving", "next")
    leaving = tasks[20]
    if order == "given first":
        world.bulkhead._give_back()
        leaving.cancel()
    else:
        leaving.cancel()
        world.bulkhead._give_back()
    await settle()
    assert leaving.cancelled()
    assert world.doors.entered[20:] == ["next"]
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    # The place that was given back by hand above was none that a call had.
    assert world.bulkhead._taken == -1


@pytest.mark.parametrize("seed", range(12))
async def test_no_order_of_events_loses_or_invents_a_place(seed: int) -> None:
    """Calls start, end, wait and leave at random: never too many are inside, and no place is lost."""
    dice = random.Random(seed)  # noqa: S311  (a script, not a secret)
    limit = dice.randint(1, 25)
    world = World(limit, patience=dice.choice([LONG, 0.001, 0.0001]))
    tasks: dict[str, asyncio.Task[Answer]] = {}
    for number in range(400):
        match dice.choice(["start", "start", "start", "end", "leave", "turn"]):
            case "start":
                name = str(number)
                tasks[name] = asyncio.create_task(world.ask(name))
            case "end" if world.doors.entered:
                world.doors.open(dice.choice(world.doors.entered[-2 * limit :]))
            case "leave" if tasks:
                dice.choice(list(tasks.values())[-2 * limit :]).cancel()
            case _:
                await asyncio.sleep(dice.choice([0, 0, 0, 0.0002]))
        assert world.doors.inside <= limit
        assert len(world.bulkhead._waiting) <= max(1, limit // 10)
    for name in tasks:
        world.doors.open(name)
    async with asyncio.timeout(TEST_PATIENCE):
        outcomes = await asyncio.gather(*tasks.values(), return_exceptions=True)
    seen = Counter(type(outcome) for outcome in outcomes)
    assert set(seen) <= {Answer, SourceFailed, asyncio.CancelledError}
    assert seen[Answer] > 0
    assert seen[SourceFailed] > 0
    assert world.doors.most == limit
    assert await world.idle()


async def test_a_gateway_full_of_calls_keeps_no_token_from_them() -> None:
    """While every place is taken by calls that hang, the token endpoint is asked and answers."""
    hang = Hang()

    async def serve(reader: Reader, writer: Writer) -> None:
        origin.received.append(await read_message(reader))
        if origin.received[-1].target == b"/api/auth/token":
            writer.write(http(200, {"token": "t"}))
            await writer.drain()
            return
        await hang(reader, writer)

    limit = 120  # more than the hundred connections that a session has if it is not told otherwise
    async with (
        raw_origin(serve) as origin,
        gateway_clients() as clients,
        gateway_session(GatewaySettings()) as session,
    ):
        base = f"{origin.url.origin()}/api"
        clock = FakeClock()
        bulkhead = Bulkhead.of(Bench(base, clients, clock).gateway, limit, clock, LONG)
        route_call = a_call(a_route(group="catalog"), {"id": "1"})
        calls = [asyncio.create_task(bulkhead(route_call)) for _ in range(limit)]
        async with asyncio.timeout(TEST_PATIENCE):
            await until(lambda: len(origin.received) == limit)
            login = GatewayLogin(base, session, Subject("service", "1", "n"), TEST_PATIENCE, clock)
            assert (await login.login()).token == "t"
        assert not any(call.done() for call in calls)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
