"""A clock that the tests own."""

import asyncio
import heapq
from collections.abc import Callable
from itertools import count


class FakeClock:
    """A `proxy.clock.Clock` that moves only when told to.

    `advance` lets each sleeper go in the order of its hour and gives it the loop until it sleeps again.
    """

    def __init__(self, epoch: float = 1_795_395_189.0) -> None:
        self._now = 0.0
        self._epoch = epoch
        self._order = count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self.slept: list[float] = []

    def monotonic(self) -> float:
        """Seconds since this clock was made."""
        return self._now

    def time(self) -> float:
        """Seconds since the epoch."""
        return self._epoch + self._now

    async def sleep(self, seconds: float) -> None:
        """Wait until `advance` has passed that many seconds."""
        self.slept.append(seconds)
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        waiter = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._order), waiter))
        await waiter

    def set_back(self, seconds: float) -> None:
        """Have the wall clock say that it is earlier, as when it is set right."""
        self._epoch -= seconds

    def shift(self, seconds: float) -> None:
        """Move time on without letting anyone run, for code that only reads the clock."""
        self._now += seconds

    async def advance(self, seconds: float) -> None:
        """Move time on and let those whose hour has come run."""
        until = self._now + seconds
        await settle()
        while self._sleepers and self._sleepers[0][0] <= until:
            self._now, _, waiter = heapq.heappop(self._sleepers)
            if not waiter.done():
                waiter.set_result(None)
            await settle()
        self._now = until
        await settle()


async def settle(rounds: int = 20) -> None:
    """Let every task that can run do so."""
    for _ in range(rounds):
        await asyncio.sleep(0)


async def until(true: Callable[[], bool]) -> None:
    """Let the loop turn until something is so; the test's own time limit is the only one."""
    while not true():  # noqa: ASYNC110  (there is no event to wait for)
        await asyncio.sleep(0.001)
