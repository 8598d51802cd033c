"""What is read when it is asked for, and how a scrape leaves out what serves nobody."""

from collections.abc import Callable, Iterator
from typing import Final, Protocol, get_args

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from proxy.events import BreakerState
from proxy.frozen import frozen

PREFIX: Final = "activity_proxy"
STATES: Final[tuple[BreakerState, ...]] = get_args(BreakerState)


class WatchedBreaker(Protocol):
    """What a scrape reads of a circuit breaker."""

    @property
    def state(self) -> BreakerState:
        """The state that the breaker is in now."""
        ...

    @property
    def failure_ratio(self) -> float:
        """Failures among the calls of the window, 0 to 1."""
        ...


class AtScrape:
    """What is read when it is asked for, since a gauge set by events goes stale between them."""

    def __init__(self) -> None:
        self.breakers: dict[str, WatchedBreaker] = {}
        self.token_expiry: float | None = None
        self.cache_size: Callable[[], tuple[int, int] | None] = lambda: None

    def describe(self) -> Iterator[Metric]:
        """Name the families, without samples."""
        yield from self._families()

    def collect(self) -> Iterator[Metric]:
        """Read each breaker's state once, so that exactly one of its series is 1."""
        states, ratios, expiry, size, entries = self._families()
        for name, breaker in self.breakers.items():
            now = breaker.state
            for state in STATES:
                states.add_metric([name, state], float(state == now))
            ratios.add_metric([name], breaker.failure_ratio)
        # No sample until an expiry is known: a 0 would look like a token that ended in 1970.
        if self.token_expiry is not None:
            expiry.add_metric([], self.token_expiry)
        found = self.cache_size()
        if found is not None:
            size.add_metric([], float(found[0]))
            entries.add_metric([], float(found[1]))
        yield from (states, ratios, expiry, size, entries)

    @staticmethod
    def _families() -> tuple[GaugeMetricFamily, ...]:
        return (
            GaugeMetricFamily(
                f"{PREFIX}_breaker_state",
                "1 for the state that the circuit breaker is in, 0 for the others.",
                labels=["breaker", "state"],
            ),
            GaugeMetricFamily(
                f"{PREFIX}_breaker_failure_ratio",
                "Failures among the calls of the breaker's window.",
                labels=["breaker"],
            ),
            GaugeMetricFamily(
                f"{PREFIX}_token_expiry_timestamp_seconds",
                "When the service's gateway token ends; absent while that is not known.",
                labels=[],
            ),
            GaugeMetricFamily(f"{PREFIX}_cache_bytes", "Memory that kept answers take.", labels=[]),
            GaugeMetricFamily(f"{PREFIX}_cache_entries", "Answers that are kept.", labels=[]),
        )


@frozen
class WithoutCreated:
    """A registry less its `_created` series, which would double the counters and serve no query."""

    registry: Collector

    def collect(self) -> Iterator[Metric]:
        """Drop the samples; the metrics are made anew at each collection."""
        for metric in self.registry.collect():
            metric.samples = [s for s in metric.samples if not s.name.endswith("_created")]
            yield metric
