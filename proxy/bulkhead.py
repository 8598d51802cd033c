"""The bulkhead before the gateway: so many calls at once, a short queue, and no more.

A gateway that becomes slow would else collect every viewer's call, and with them sockets and memory, until
nothing is left for anything else. Over the limit the ladder goes on at once with what stands in. The token
endpoint does not pass here: it has a call of its own whatever the viewers do.

Before it comes the slow start. A circuit breaker knows nothing yet of a gateway that has just failed when
hundreds of viewers come in the same instant: until the first answers are there only some of them may ask, and
each good answer lets one more in, as in TCP (RFC 5681 section 3.1).
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

from proxy.call import Answer, Call, Failure, FailureKind, Source, SourceFailed, SourceName
from proxy.clock import Clock
from proxy.frozen import frozen

PATIENCE = 0.1
"""Seconds that a call waits for a place at most."""
QUEUE_SHARE = 0.1
"""Calls that may wait, as a share of those that may run; one at least."""
FIRST_CALLS = 4
"""How many times a breaker's `minimum_calls` a gateway is asked at once before its first good answer.

With the default settings that is 40. Nine more may follow as the first ones fail, for the tenth failure
opens the breaker, and ten retries: 59 calls are what a failing gateway costs, however many come at once.
"""


@dataclass(slots=True)
class Bulkhead:
    """Lets at most `limit` calls at once through to `source`; places go in the order of asking.

    `queue` is how many may wait, for `patience` seconds at most. The limit may change at any time, but is
    never under `least`, up to which it is not looked at. `detail` says what a call over it is told, `name` is
    the source's.
    """

    source: Source
    limit: Callable[[], int]
    queue: int
    clock: Clock
    patience: float = PATIENCE
    detail: str = "too many calls are under way"
    name: SourceName = "gateway"
    least: int = 0
    _taken: int = 0
    _waiting: deque["asyncio.Future[None]"] = field(default_factory=deque)

    @classmethod
    def of(
        cls,
        source: Source,
        limit: int,
        clock: Clock,
        patience: float = PATIENCE,
        name: SourceName = "gateway",
    ) -> Self:
        """Return a bulkhead whose limit stays, with the queue that goes with it."""
        whose = "Kaltura" if name == "kaltura" else f"the {name}"
        detail = f"as many calls as {whose} may have are under way"
        queue = max(1, int(limit * QUEUE_SHARE))
        return cls(source, lambda: limit, queue, clock, patience, detail, name, limit)

    async def __call__(self, call: Call) -> Answer:
        """Return the source's answer. Raises `SourceFailed` when there is no place for the call."""
        if self._waiting or (self._taken >= self.least and self._taken >= self.limit()):
            await self._place(call)
        else:
            self._taken += 1
        try:
            return await self.source(call)
        finally:
            self._give_back()

    async def _place(self, call: Call) -> None:
        """Wait for a place, which whoever gives one back hands over."""
        left = min(self.patience, call.deadline - self.clock.monotonic())
        if left <= 0 or len(self._waiting) >= self.queue:
            raise self._overloaded()
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            async with asyncio.timeout(left):
                await place
        except (TimeoutError, asyncio.CancelledError) as error:
            if place.done() and not place.cancelled():
                self._give_back()  # the place came at the very moment of giving up
            elif place in self._waiting:
                self._waiting.remove(place)
            if isinstance(error, TimeoutError):
                raise self._overloaded() from None
            raise

    def _give_back(self) -> None:
        """Free a place, and hand out those that are free to who waits longest."""
        self._taken -= 1
        while self._waiting and self._taken < self.limit():
            place = self._waiting.popleft()
            if not place.done():  # else it was given up, and its call has not run since
                self._taken += 1
                place.set_result(None)

    def _overloaded(self) -> SourceFailed:
        return SourceFailed(Failure(self.name, FailureKind.OVERLOADED, self.detail, retry_after=1.0))


@frozen
class SlowStart:
    """Lets few calls at once through while nothing of late shows that a gateway would bear more.

    It looks at each group of routes by itself, as the breakers do. Those over the limit wait for the first
    good answers, for as short a time as in the bulkhead behind.
    """

    groups: Mapping[str, Bulkhead]

    @classmethod
    def of(
        cls,
        source: Source,
        groups: Iterable[str],
        first: int,
        good: Callable[[str], int],
        most: int,
        clock: Clock,
    ) -> Self:
        """Return a slow start before `source`.

        Args:
            source: what is asked.
            groups: the groups of routes.
            first: calls at once of a group that had no good answer.
            good: how many good answers a group had of late.
            most: calls of a group that may wait: as many as may ever be under way.
            clock: for the deadlines.
        """

        def gate(group: str) -> Bulkhead:
            return Bulkhead(
                source,
                lambda: first + good(group),
                most,
                clock,
                detail="too many calls at once for a gateway that has not answered of late",
                least=first,
            )

        return cls({group: gate(group) for group in groups})

    def __call__(self, call: Call) -> Awaitable[Answer]:
        """Return the source's answer. Raises `SourceFailed` when there is no place for the call."""
        return self.groups[call.route.group](call)
