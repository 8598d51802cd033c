"""What is counted at each request, as plain numbers that a scrape turns into metrics.

prometheus_client's own counters take a lock at each step, since any thread may count. Here the loop's
thread is the only one that counts and the only one that scrapes.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Final

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.utils import floatToGoString

Labels = tuple[str, ...]


class Timing:
    """How long something took, in seconds: a histogram's numbers, each bucket by itself.

    The last bucket has no edge.
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


class Series:
    """How often something happened, and how long that took; several may share a timing."""

    __slots__ = ("count", "timing")

    def __init__(self, timing: Timing) -> None:
        self.count = 0
        self.timing = timing


class Tally:
    """The requests of a listener's clients: a collector for prometheus_client's registry.

    `edges` are the upper bounds of the histogram's buckets, in seconds.
    """

    def __init__(self, prefix: str, edges: Sequence[float], listeners: Sequence[str]) -> None:
        self._prefix: Final = prefix
        self._edges: Final = edges
        self._series: dict[Labels, Series] = {}
        self._timings: dict[Labels, Timing] = {}
        self.in_flight: Final = dict.fromkeys(listeners, 0)

    def series(self, route: str, method: str, status: str, source: str) -> Series:
        """Return the series with these labels, shown from now on."""
        timing = self._timings.get((route, source))
        if timing is None:
            timing = self._timings[route, source] = Timing(self._edges)
        return self._series.setdefault((route, method, status, source), Series(timing))

    def describe(self) -> Iterator[Metric]:
        """Name the families, without samples."""
        yield from self._families()

    def collect(self) -> Iterator[Metric]:
        """Return all numbers as of now."""
        requests, seconds, in_flight = self._families()
        for labels, series in self._series.items():
            requests.add_metric(labels, series.count)
        for labels, timing in self._timings.items():
            buckets, below = [], 0
            for edge, count in zip((*self._edges, float("inf")), timing.counts, strict=True):
                below += count
                buckets.append((floatToGoString(edge), float(below)))  # type: ignore[no-untyped-call]
            seconds.add_metric(labels, buckets, timing.total)
        for listener, number in self.in_flight.items():
            in_flight.add_metric([listener], number)
        yield from (requests, seconds, in_flight)

    def _families(self) -> tuple[CounterMetricFamily, HistogramMetricFamily, GaugeMetricFamily]:
        return (
            CounterMetricFamily(
                f"{self._prefix}_requests",
                "Requests answered.",
                labels=["route", "method", "status", "source"],
            ),
            HistogramMetricFamily(
                f"{self._prefix}_request_seconds",
                "From a request's arrival to its answer's end.",
                labels=["route", "source"],
            ),
            GaugeMetricFamily(f"{self._prefix}_in_flight", "Requests being answered.", labels=["listener"]),
        )
