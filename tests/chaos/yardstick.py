"""How much of the time the machine kept for others: what is slow then is not the sidecar."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

TICK = 0.01  # seconds
BUSY = 0.1
"""The share of the time from which on a machine is too busy to say how long anything takes."""


@dataclass
class Yardstick:
    """Sleeps and looks how much later it wakes up than it wanted, but for the work of this very process."""

    waited: float = 0.0

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            wall, own = time.monotonic(), time.process_time()
            await asyncio.sleep(TICK)
            late = time.monotonic() - wall - TICK - (time.process_time() - own)
            self.waited += max(0.0, late)

    def mark(self) -> tuple[float, float]:
        """Return the time, and how much of it was waited for."""
        return time.monotonic(), self.waited

    def excuse(self, since: tuple[float, float]) -> str | None:
        """Tell how busy the machine was with something else since a mark; None when it was not."""
        passed, waited = (now - then for now, then in zip(self.mark(), since, strict=True))
        if waited <= BUSY * passed:
            return None
        return f"other processes had {waited / passed:.0%} of the time"


def in_time(late: Sequence[str], excuses: Sequence[str | None]) -> None:
    """Hold what was late or slow against the sidecar, unless the machine had the time for others.

    The test is skipped then, with that for a reason: so this comes last, after what does not hang on time.
    """
    if not late:
        return
    known = [excuse for excuse in excuses if excuse is not None]
    if len(known) < len(excuses):
        raise AssertionError("; ".join(late))
    pytest.skip(f"all but the time was held; {known[0]}: {'; '.join(late)}")
