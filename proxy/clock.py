"""Time as the stages see it, so that a test can own it."""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Two readings and a wait; everything that depends on time is handed one."""

    def monotonic(self) -> float:
        """Return seconds that never run backwards, for intervals and deadlines."""
        ...

    def time(self) -> float:
        """Return seconds since the epoch, for what people and other machines read."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait for that many seconds."""
        ...


class SystemClock:
    """The machine's own clock.

    It has the system's functions themselves: a request reads it some twenty times, and a method around each
    takes twice as long.
    """

    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)

    async def sleep(self, seconds: float) -> None:
        """Wait in the event loop."""
        await asyncio.sleep(seconds)
