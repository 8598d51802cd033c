"""What is counted at each request, against prometheus_client's own counters and histograms."""

from itertools import product

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest

from proxy.tally import Tally

EDGES = (0.001, 0.25, 1.0, 10.0)
LABELS = tuple(product(("video", "pass"), ("GET", "POST"), ("200", "404"), ("cache", "error")))


def lines(registry: CollectorRegistry) -> set[str]:
    """Return what a scrape says, less when each series was made."""
    text = generate_latest(registry).decode()
    return {line for line in text.splitlines() if "_created" not in line}


@given(st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from((*EDGES, 0.0, 0.5, 11.0)))))
def test_a_scrape_says_what_the_librarys_own_metrics_say(
    requests: list[tuple[tuple[str, str, str, str], float]],
) -> None:
    """Names, types, labels, buckets, sums and counts are those of prometheus_client, whatever is counted."""
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    tally = Tally("x", EDGES, ["public", "admin"])
    ours.register(tally)
    counter = Counter(
        "x_requests_total", "Requests answered.", ["route", "method", "status", "source"], registry=theirs
    )
    seconds = Histogram(
        "x_request_seconds",
        "From a request's arrival to its answer's end.",
        ["route", "source"],
        registry=theirs,
        buckets=EDGES,
    )
    in_flight = Gauge("x_in_flight", "Requests being answered.", ["listener"], registry=theirs)
    in_flight.labels("public").set(3)
    in_flight.labels("admin").set(0)
    tally.in_flight["public"] += 3
    for labels, took in requests:
        series = tally.series(*labels)
        series.count += 1
        series.timing.observe(took)
        counter.labels(*labels).inc()
        seconds.labels(labels[0], labels[3]).observe(took)
    assert lines(ours) == lines(theirs)


def test_a_series_is_the_same_each_time_and_shown_at_once() -> None:
    """Asked for again, a series goes on where it was; a new one is there at 0."""
    registry = CollectorRegistry()
    tally = Tally("x", EDGES, ["public"])
    registry.register(tally)
    first = tally.series("video", "GET", "200", "cache")
    first.count += 2
    assert tally.series("video", "GET", "200", "cache") is first
    assert tally.series("video", "POST", "200", "cache").timing is first.timing
    assert 'x_requests_total{method="POST",route="video",source="cache",status="200"} 0.0' in lines(registry)
