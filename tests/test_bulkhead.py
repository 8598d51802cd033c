"""The bulkhead: so many at once, a short queue in order, and no place ever lost."""

import asyncio
import random
from dataclasses import dataclass, field, replace

import pytest

from proxy.bulkhead import Bulkhead
from proxy.call import Answer, Call, FailureKind, SourceFailed
from tests.clocks import FakeClock, settle
from tests.tables import a_call, a_route

CALL = replace(a_call(a_route(), {"id": "1_abc"}), deadline=1000.0)


@dataclass
class Slow:
    """A source that answers when it is let, and counts who is inside."""

    inside: int = 0
    most: int = 0
    order: list[str] = field(default_factory=list)
    gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    async def __call__(self, call: Call) -> Answer:
        """Wait at the gate."""
        self.inside += 1
        self.most = max(self.most, self.inside)
        self.order.append(call.request_id)
        try:
            await self.gate.acquire()
        finally:
            self.inside -= 1
        return Answer(200, b"{}", "gateway")


def asking(bulkhead: Bulkhead, *names: str) -> list["asyncio.Task[Answer]"]:
    """Begin calls of these names."""
    return [asyncio.create_task(bulkhead(replace(CALL, request_id=name))) for name in names]


async def test_more_than_may_run_wait_and_more_than_may_wait_are_refused() -> None:
    """Twenty may run and two wait; the next is told at once, without a call."""
    slow = Slow()
    bulkhead = Bulkhead(slow, 20, FakeClock(), patience=60.0)
    tasks = asking(bulkhead, *(str(n) for n in range(23)))
    await settle()
    assert slow.inside == 20
    with pytest.raises(SourceFailed) as refused:
        await tasks[22]
    assert refused.value.failure.kind is FailureKind.OVERLOADED
    assert refused.value.failure.retry_after == 1.0
    for _ in range(22):
        slow.gate.release()
    answers = await asyncio.gather(*tasks[:22])
    assert (len(answers), slow.most) == (22, 20)


async def test_places_go_in_the_order_of_asking() -> None:
    """Who waits longest is next."""
    slow = Slow()
    bulkhead = Bulkhead(slow, 20, FakeClock(), patience=60.0)
    tasks = asking(bulkhead, *(str(n) for n in range(20)), "first", "second")
    await settle()
    slow.gate.release()
    await settle()
    assert slow.order[-1] == "first"
    slow.gate.release()
    await settle()
    assert slow.order[-1] == "second"
    for _ in range(20):
        slow.gate.release()
    await asyncio.gather(*tasks)


async def test_waiting_ends_after_a_moment() -> None:
    """A place that does not come in time is given up, and the queue is free again."""
    slow = Slow()
    bulkhead = Bulkhead(slow, 1, FakeClock(), patience=0.01)
    running, waiting = asking(bulkhead, "running", "waiting")
    with pytest.raises(SourceFailed):
        await waiting
    slow.gate.release()
    await running
    slow.gate.release()
    assert (await bulkhead(CALL)).status == 200


async def test_a_call_whose_time_is_over_does_not_wait() -> None:
    """There is no use in a place after the deadline."""
    slow, clock = Slow(), FakeClock()
    bulkhead = Bulkhead(slow, 1, clock, patience=60.0)
    (running,) = asking(bulkhead, "running")
    await settle()
    clock.shift(CALL.deadline)
    with pytest.raises(SourceFailed):
        await bulkhead(CALL)
    slow.gate.release()
    await running


async def test_who_leaves_while_waiting_loses_no_place() -> None:
    """A waiter that is cancelled, even as its place comes, leaves it to the next."""
    slow = Slow()
    bulkhead = Bulkhead(slow, 1, FakeClock(), patience=60.0)
    running, waiting = asking(bulkhead, "running", "waiting")
    await settle()
    slow.gate.release()
    await asyncio.wait({running})  # the place is on its way to who waits
    waiting.cancel()
    await asyncio.wait({waiting})
    slow.gate.release()
    async with asyncio.timeout(5):
        assert (await bulkhead(CALL)).status == 200


@pytest.mark.parametrize("seed", range(20))
async def test_no_place_is_ever_lost(seed: int) -> None:
    """After any mix of answers, failures, cancellations and refusals, as many as ever may run."""
    dice = random.Random(seed)  # noqa: S311  (dice that a test can repeat)
    slow = Slow()
    bulkhead = Bulkhead(slow, 3, FakeClock(), patience=60.0)
    tasks: list[asyncio.Task[Answer]] = []
    for number in range(200):
        act = dice.random()
        if act < 0.5:
            tasks += asking(bulkhead, str(number))
        elif act < 0.75:
            slow.gate.release()
        elif tasks:
            dice.choice(tasks).cancel()
        for _ in range(dice.randrange(3)):
            await asyncio.sleep(0)
        assert slow.inside <= 3
    for _ in range(400):
        slow.gate.release()
    await asyncio.gather(*tasks, return_exceptions=True)
    slow.gate = asyncio.Semaphore(0)
    slow.most = 0
    last = asking(bulkhead, "a", "b", "c")
    await settle()
    assert slow.inside == 3
    for _ in range(3):
        slow.gate.release()
    await asyncio.gather(*last)
