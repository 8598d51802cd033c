"""Counts of what happened in the last seconds, in a fixed amount of memory."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

BUCKETS = 10


@dataclass(slots=True)
class Totals:
    """How many results there were, and how many of them were failures or slow."""

    calls: int = 0
    failures: int = 0
    slow: int = 0

    @property
    def failure_ratio(self) -> float:
        """The share of failures, 0 when nothing was counted."""
        return self.failures / self.calls if self.calls else 0.0


class Window:
    """The results of the last `seconds`, kept as a tenth of that time each.

    A result counts for at least nine tenths of the window and never longer than the whole of it.
    `now` reads a clock, in seconds, that never runs backwards.
    """

    __slots__ = ("_buckets", "_now", "_width")

    def __init__(self, seconds: float, now: Callable[[], float]) -> None:
        self._buckets: deque[tuple[int, Totals]] = deque(maxlen=BUCKETS)
        self._width = seconds / BUCKETS
        self._now = now

    def add(self, *, failed: bool, slow: bool) -> None:
        """Count one result, as of now."""
        index = self._index()
        if not self._buckets or self._buckets[-1][0] != index:
            self._buckets.append((index, Totals()))
        bucket = self._buckets[-1][1]
        bucket.calls += 1
        bucket.failures += failed
        bucket.slow += slow

    def totals(self) -> Totals:
        """Add up what still counts."""
        oldest = self._index() - BUCKETS
        totals = Totals()
        for index, bucket in self._buckets:
            if index > oldest:
                totals.calls += bucket.calls
                totals.failures += bucket.failures
                totals.slow += bucket.slow
        return totals

    def clear(self) -> None:
        """Forget everything."""
        self._buckets.clear()

    def _index(self) -> int:
        return int(self._now() / self._width)
