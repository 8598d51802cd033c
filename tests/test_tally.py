"""What is counted at each request, against prometheus_client's own counters, gauges and histograms."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest

from proxy.tally import Counts, Levels, Timings

EDGES = (0.001, 0.25, 1.0, 10.0)
LABELS = tuple(product(("video", "pass"), ("GET", "POST"), ("200", "404"), ("cache", "error")))


def lines(registry: CollectorRegistry) -> list[str]:
    """Return what a scrape says, less when each series was made."""
    text = generate_latest(registry).decode()
    return [line for line in text.splitlines() if "_created" not in line]


@given(st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from((*EDGES, 0.0, 0.5, 11.0)))))
def test_a_scrape_says_what_the_librarys_own_metrics_say(
    requests: list[tuple[tuple[str, str, str, str], float]],
) -> None:
    """Names, types, labels, buckets, sums and counts are those of prometheus_client, whatever is counted."""
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    counts = Counts("x_requests", "Requests answered.", "route", "method", "status", "source")
    timings = Timings("x_seconds", "How long it took.", "route", "source", edges=EDGES)
    levels = Levels("x_in_flight", "Requests being answered.", "listener", ["public", "admin"])
    for collector in (counts, timings, levels):
        ours.register(collector)
    counter = Counter(
        "x_requests_total", "Requests answered.", ["route", "method", "status", "source"], registry=theirs
    )
    seconds = Histogram("x_seconds", "How long it took.", ["route", "source"], registry=theirs, buckets=EDGES)
    in_flight = Gauge("x_in_flight", "Requests being answered.", ["listener"], registry=theirs)
    in_flight.labels("public").set(3)
    in_flight.labels("admin").set(0)
    levels.levels["public"] += 3
    for labels, took in requests:
        counts.series[labels].value += 1
        timings.series[labels[0], labels[3]].observe(took)
        counter.labels(*labels).inc()
        seconds.labels(labels[0], labels[3]).observe(took)
    assert lines(ours) == lines(theirs)


def test_a_series_is_the_same_each_time_and_shown_at_once() -> None:
    """Looked up again, a series goes on where it was; a new one is there at 0."""
    registry = CollectorRegistry()
    counts = Counts("x_requests", "Requests answered.", "method")
    timings = Timings("x_seconds", "How long it took.", "method", edges=EDGES)
    for collector in (counts, timings):
        registry.register(collector)
    counts.series["GET",].value += 2
    assert counts.series["GET",].value == 2
    counts.series["POST",]
    assert timings.series["GET",] is timings.series["GET",]
    assert {
        'x_requests_total{method="GET"} 2.0',
        'x_requests_total{method="POST"} 0.0',
        'x_seconds_count{method="GET"} 0.0',
    } <= set(lines(registry))


def test_a_name_is_taken_once() -> None:
    """A registry refuses what would tell the same name twice, before anything is counted."""
    registry = CollectorRegistry()
    registry.register(Counts("x", "Once.", "method"))
    with pytest.raises(ValueError, match="Duplicated"):
        registry.register(Counts("x", "Twice.", "method"))
