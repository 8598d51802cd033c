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

    __slots__ = ("_buckets", "_now", "_sum", "_width")

    def __init__(self, seconds: float, now: Callable[[], float]) -> None:
        self._buckets: deque[tuple[int, Totals]] = deque()
        self._sum = Totals()
        self._width = seconds / BUCKETS
        self._now = now

    def add(self, *, failed: bool, slow: bool) -> Totals:
        """Count one result, as of now, and return what counts with it."""
        index = self._index()
        buckets, totals = self._buckets, self._sum
        if not buckets or buckets[-1][0] != index:
            buckets.append((index, Totals()))
            self._forget(index)
        bucket = buckets[-1][1]
        bucket.calls += 1
        totals.calls += 1
        if failed:
            bucket.failures += 1
            totals.failures += 1
        if slow:
            bucket.slow += 1
            totals.slow += 1
        return totals

    def totals(self) -> Totals:
        """Return what still counts; the object goes on counting."""
        self._forget(self._index())
        return self._sum

    def clear(self) -> None:
        """Forget everything."""
        self._buckets.clear()
        self._sum = Totals()

    def _forget(self, index: int) -> None:
        """Take away what is over."""
        buckets = self._buckets
        while buckets and buckets[0][0] <= index - BUCKETS:
            over = buckets.popleft()[1]
            self._sum.calls -= over.calls
            self._sum.failures -= over.failures
            self._sum.slow -= over.slow

    def _index(self) -> int:
        return int(self._now() / self._width)
