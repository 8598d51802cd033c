"""What is counted at each request, as plain numbers that a scrape turns into metrics.

prometheus_client's own counters take a lock at each step, since any thread may count. Here the loop's
thread is the only one that counts and the only one that scrapes.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Final, TypeVar

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.utils import floatToGoString

Labels = tuple[str, ...]
S = TypeVar("S")


class Count:
    """How often something happened."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0


class Timing:
    """How long something took, in seconds: a histogram's numbers, each bucket by itself.

    `edges` are the upper bounds of the buckets; the last bucket has none.
    """

    __slots__ = ("counts", "edges", "total")

    def __init__(self, edges: Sequence[float]) -> None:
        self.edges = edges
        self.counts = [0] * (len(edges) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Count one."""
        self.total += seconds
        self.counts[bisect_left(self.edges, seconds)] += 1


class _Series(dict[Labels, S]):
    """Series by label values, each there, and shown, from when it is first looked up."""

    def __init__(self, make: Callable[[], S]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, labels: Labels) -> S:
        made = self[labels] = self._make()
        return made


class Counts:
    """A counter: a collector for prometheus_client's registry. `name` is without `_total`."""

    def __init__(self, name: str, text: str, *labels: str) -> None:
        self._described: Final = name, text
        self._labels: Final = labels
        self.series: Final = _Series(Count)

    def describe(self) -> Iterator[Metric]:
        """Name the family, without samples."""
        yield CounterMetricFamily(*self._described, labels=self._labels)

    def collect(self) -> Iterator[Metric]:
        """Return all numbers as of now."""
        family = CounterMetricFamily(*self._described, labels=self._labels)
        for labels, count in self.series.items():
            family.add_metric(labels, count.value)
        yield family


class Levels:
    """A gauge with one label: a collector for prometheus_client's registry. Those of `values` are shown."""

    def __init__(self, name: str, text: str, label: str, values: Sequence[str]) -> None:
        self._described: Final = name, text
        self._labels: Final = [label]
        self.levels: Final = dict.fromkeys(values, 0)

    def describe(self) -> Iterator[Metric]:
        """Name the family, without samples."""
        yield GaugeMetricFamily(*self._described, labels=self._labels)

    def collect(self) -> Iterator[Metric]:
        """Return all numbers as of now."""
        family = GaugeMetricFamily(*self._described, labels=self._labels)
        for value, level in self.levels.items():
            family.add_metric([value], level)
        yield family


class Timings:
    """A histogram: a collector for prometheus_client's registry.

    `edges` are the upper bounds of its buckets, in seconds.
    """

    def __init__(self, name: str, text: str, *labels: str, edges: Sequence[float]) -> None:
        self._described: Final = name, text
        self._labels: Final = labels
        self._edges: Final = [*map(floatToGoString, (*edges, float("inf")))]
        self.series: Final = _Series(lambda: Timing(edges))

    def describe(self) -> Iterator[Metric]:
        """Name the family, without samples."""
        yield HistogramMetricFamily(*self._described, labels=self._labels)

    def collect(self) -> Iterator[Metric]:
        """Return all numbers as of now."""
        family = HistogramMetricFamily(*self._described, labels=self._labels)
        for labels, timing in self.series.items():
            below = map(float, accumulate(timing.counts))
            family.add_metric(labels, [*zip(self._edges, below, strict=True)], timing.total)
        yield family
