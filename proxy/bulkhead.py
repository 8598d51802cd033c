"""The bulkhead before the gateway: so many calls at once, a short queue, and no more.

A gateway that becomes slow would else collect every viewer's call, and with them sockets and memory, until
nothing is left for anything else. Over the limit the ladder goes on at once with what stands in. The token
endpoint does not pass here: it has a call of its own whatever the viewers do.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field

from proxy.call import Answer, Call, Failure, FailureKind, Source, SourceFailed
from proxy.clock import Clock

PATIENCE = 0.1
"""Seconds that a call waits for a place at most."""
QUEUE_SHARE = 0.1
"""Calls that may wait, as a share of those that may run; one at least."""


@dataclass(slots=True)
class Bulkhead:
    """Lets at most `limit` calls at once through to `source`; places go in the order of asking."""

    source: Source
    limit: int
    clock: Clock
    patience: float = PATIENCE
    _taken: int = 0
    _queue: deque["asyncio.Future[None]"] = field(default_factory=deque)

    async def __call__(self, call: Call) -> Answer:
        """Return the source's answer. Raises `SourceFailed` when there is no place for the call."""
        await self._take(call)
        try:
            return await self.source(call)
        finally:
            self._give_back()

    async def _take(self, call: Call) -> None:
        if self._taken < self.limit:
            self._taken += 1
            return
        left = min(self.patience, call.deadline - self.clock.monotonic())
        if left <= 0 or len(self._queue) >= max(1, int(self.limit * QUEUE_SHARE)):
            raise _overloaded()
        place = asyncio.get_running_loop().create_future()
        self._queue.append(place)
        try:
            async with asyncio.timeout(left):
                await place
        except (TimeoutError, asyncio.CancelledError) as error:
            if place.done() and not place.cancelled():
                self._give_back()  # the place came at the very moment of giving up
            elif place in self._queue:
                self._queue.remove(place)
            if isinstance(error, TimeoutError):
                raise _overloaded() from None
            raise

    def _give_back(self) -> None:
        """Hand the place on to who waits longest; it stays taken."""
        while self._queue:
            place = self._queue.popleft()
            if not place.done():  # else it was given up, and its call has not run since
                place.set_result(None)
                return
        self._taken -= 1


def _overloaded() -> SourceFailed:
    detail = "as many calls as the gateway may have are under way"
    return SourceFailed(Failure("gateway", FailureKind.OVERLOADED, detail, retry_after=1.0))
