"""How much of the time the machine kept for others: what is slow then is not the sidecar."""

import asyncio
import time
from dataclasses import dataclass

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

    def busy(self, since: tuple[float, float]) -> bool:
        """Tell whether the machine was busy with something else since a mark."""
        passed, waited = (now - then for now, then in zip(self.mark(), since, strict=True))
        return waited > BUSY * passed
