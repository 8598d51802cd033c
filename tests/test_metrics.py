"""The observer that counts."""

from dataclasses import dataclass, field
from typing import Literal, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from proxy.api_error import CODES
from proxy.call import Failure, FailureKind
from proxy.events import (
    AnsweredAtOnce,
    AttemptEnded,
    BreakerChanged,
    BreakerRejected,
    BreakerState,
    CacheLooked,
    CertificateChanged,
    ContractViolated,
    DialectChosen,
    Event,
    KalturaAsked,
    Limited,
    LimitName,
    RequestEnded,
    RequestStarted,
    RetryScheduled,
    RetrySuppressed,
    SignInFailed,
    SourceFailedEvent,
    StoreTroubled,
    TlsName,
    TokenAcquired,
    TokenRequested,
)
from proxy.metrics import Metrics

# The interface that dashboards and alerts hang on: name (less its prefix), type, labels.
TABLE = {
    ("requests_total", "counter", ("method", "route", "source", "status")),
    ("request_seconds", "histogram", ("route", "source")),
    ("in_flight", "gauge", ("listener",)),
    ("limited_total", "counter", ("limit",)),
    ("certificate_stale", "gauge", ("tls",)),
    ("gateway_attempts_total", "counter", ("outcome", "route")),
    ("gateway_attempt_seconds", "histogram", ("route",)),
    ("retries_total", "counter", ("reason", "route")),
    ("retries_suppressed_total", "counter", ("reason",)),
    ("breaker_state", "gauge", ("breaker", "state")),
    ("breaker_transitions_total", "counter", ("breaker", "from_state", "to_state")),
    ("breaker_rejected_total", "counter", ("breaker",)),
    ("breaker_failure_ratio", "gauge", ("breaker",)),
    ("token_requests_total", "counter", ("outcome", "subject")),
    ("token_expiry_timestamp_seconds", "gauge", ()),
    ("sign_in_failures_total", "counter", ("code",)),
    ("cache_requests_total", "counter", ("result", "route")),
    ("cache_bytes", "gauge", ()),
    ("cache_entries", "gauge", ()),
    ("contract_violations_total", "counter", ("field", "route")),
    ("kaltura_attempts_total", "counter", ("outcome",)),
    ("storage_failures_total", "counter", ("kept",)),
    ("mode", "gauge", ("mode",)),
    ("build_info", "gauge", ("version",)),
}
FAILURE = Failure("gateway", FailureKind.TIMEOUT, "no answer in time")
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@dataclass
class FakeBreaker:
    """A breaker whose state the test sets, and which counts how often it is looked at."""

    current: BreakerState = "closed"
    failure_ratio: float = 0.0
    looks: int = field(default=0)

    @property
    def state(self) -> BreakerState:
        """The current state; a look alone may end the open time, as in a real breaker."""
        self.looks += 1
        return self.current


@pytest.fixture
def metrics() -> Metrics:
    """Metrics of a registry of their own."""
    return Metrics(CollectorRegistry(), mode="auto", version="1.2.3")


def ended(**changes: object) -> RequestEnded:
    """An answered request, changed as told."""
    values: dict[str, object] = {
        "listener": "public",
        "route": "video",
        "method": "GET",
        "status": 200,
        "source": "gateway",
        "seconds": 0.04,
        "request_id": "r-1",
        "target": "/api/kaltura/video/1_secret",
        "client": "203.0.113.9",
        "bytes_sent": 10,
    }
    return RequestEnded(**{**values, **changes})  # type: ignore[arg-type]  # values by name


def scrape(metrics: Metrics) -> Samples:
    """Every sample of the text format, by name and labels."""
    body, _ = metrics.exposition("text/plain")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """One sample's value, None when the series is not there."""
    return scrape(metrics).get((f"activity_proxy_{name}", frozenset(labels.items())))


def everything(metrics: Metrics) -> None:
    """Let each kind of event happen once."""
    metrics.watch_breakers({"gateway": FakeBreaker()})
    metrics.watch_cache(lambda: (4096, 7))
    metrics.expect_route("video", ["id"])
    events: tuple[Event, ...] = (
        RequestStarted("public"),
        ended(),
        Limited("rate"),
        AttemptEnded("video", "ok", 0.1),
        RetryScheduled("video", "timeout", 0.1),
        RetrySuppressed("video", "deadline"),
        ContractViolated("video", "id"),
        KalturaAsked("ok"),
        BreakerChanged("gateway", "closed", "open"),
        BreakerRejected("gateway"),
        CacheLooked("video", "hit"),
        TokenRequested("service", "login"),
        TokenAcquired("service", 1_795_398_789.0),
        SourceFailedEvent("video", FAILURE, "r-1"),
        DialectChosen("session", "newer", "no such route"),
    )
    for event in events:
        metrics(event)


def test_the_table_is_exported_to_the_letter(metrics: Metrics) -> None:
    """Names, types and labels are the interface's; only process and Python metrics join them."""
    everything(metrics)
    seen: set[tuple[str, str, tuple[str, ...]]] = set()
    body, _ = metrics.exposition("text/plain")
    for family in text_string_to_metric_families(body.decode()):
        if family.name.startswith(("process_", "python_")):
            continue
        assert family.name.startswith("activity_proxy_")
        labels = {
            tuple(sorted(label for label in sample.labels if label != "le")) for sample in family.samples
        }
        assert len(labels) == 1, family.name
        # The parser takes a counter's suffix off.
        name = family.name.removeprefix("activity_proxy_")
        seen.add((name + "_total" * (family.type == "counter"), family.type, labels.pop()))
    assert seen == TABLE


def test_exchanges_with_kaltura_show_from_the_start_where_it_is_on(metrics: Metrics) -> None:
    """Each outcome, at 0, and its breaker; where it is off there is none."""
    assert value(metrics, "kaltura_attempts_total", outcome="ok") is None
    metrics.watch_kaltura({"kaltura": FakeBreaker()})
    for event in (KalturaAsked("ok"), KalturaAsked("contract"), KalturaAsked("ok")):
        metrics(event)
    assert value(metrics, "kaltura_attempts_total", outcome="ok") == 2
    assert value(metrics, "kaltura_attempts_total", outcome="contract") == 1
    assert value(metrics, "kaltura_attempts_total", outcome="timeout") == 0
    assert value(metrics, "breaker_state", breaker="kaltura", state="closed") == 1


def test_process_and_python_metrics_are_there(metrics: Metrics) -> None:
    """Memory, processor time, open files and garbage collection come with the rest."""
    names = {name for name, _ in scrape(metrics)}
    assert names >= {"process_resident_memory_bytes", "process_open_fds", "python_info"}
    assert "python_gc_collections_total" in names


def test_the_cache_is_read_at_scrape_time(metrics: Metrics) -> None:
    """Bytes and entries are what the store says at each scrape, and absent where it does not know."""
    sizes: list[tuple[int, int] | None] = [(10, 1), (20, 2), None]
    metrics.watch_cache(lambda: sizes.pop(0))
    assert (value(metrics, "cache_bytes"), value(metrics, "cache_entries")) == (10, 2)
    assert value(metrics, "cache_bytes") is None


def test_two_registries_share_nothing() -> None:
    """What one observer counts does not show in another's registry."""
    one, two = (Metrics(CollectorRegistry(), mode="auto", version="1") for _ in range(2))
    one(BreakerRejected("gateway"))
    assert value(one, "breaker_rejected_total", breaker="gateway") == 1
    assert value(two, "breaker_rejected_total", breaker="gateway") is None


def test_requests_are_counted_and_timed(metrics: Metrics) -> None:
    """A request counts under its labels, its duration in the buckets from its size up."""
    for _ in range(2):
        metrics(ended(seconds=0.04))
    labels = {"route": "video", "method": "GET", "status": "200", "source": "gateway"}
    assert value(metrics, "requests_total", **labels) == 2
    timed = {"route": "video", "source": "gateway"}
    assert value(metrics, "request_seconds_count", **timed) == 2
    assert value(metrics, "request_seconds_sum", **timed) == pytest.approx(0.08)
    assert value(metrics, "request_seconds_bucket", **timed, le="0.025") == 0
    assert value(metrics, "request_seconds_bucket", **timed, le="0.05") == 2


@pytest.mark.parametrize("name", ["request_seconds", "gateway_attempt_seconds"])
def test_buckets_reach_from_a_millisecond_to_ten_seconds(metrics: Metrics, name: str) -> None:
    """The histograms span 1 ms to 10 s, with edges at the default limits."""
    everything(metrics)
    edges = [
        float(dict(labels)["le"])
        for series, labels in scrape(metrics)
        if series == f"activity_proxy_{name}_bucket"
    ]
    assert (edges[0], edges[-2:]) == (0.001, [10.0, float("inf")])
    assert set(edges) >= {2.0, 3.0, 8.0}


@pytest.mark.parametrize("method", ["get", "PROPFIND", "X" * 5000, ""])
def test_an_unknown_method_is_other(metrics: Metrics, method: str) -> None:
    """A client cannot make series by inventing methods."""
    metrics(ended(method=method))
    assert [
        dict(labels)["method"] for name, labels in scrape(metrics) if name == "activity_proxy_requests_total"
    ] == ["other"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_a_known_method_is_itself(metrics: Metrics, method: str) -> None:
    """The standard methods are told apart."""
    metrics(ended(method=method))
    labels = {"route": "video", "method": method, "status": "200", "source": "gateway"}
    assert value(metrics, "requests_total", **labels) == 1


def test_a_status_outside_http_is_other(metrics: Metrics) -> None:
    """An upstream's status that HTTP does not know makes no series of its own."""
    for status in (99, 600, 999):
        metrics(ended(status=status))
    labels = {"route": "video", "method": "GET", "status": "other", "source": "gateway"}
    assert value(metrics, "requests_total", **labels) == 3


def test_in_flight_rises_and_falls(metrics: Metrics) -> None:
    """A request is in flight at its listener from start to end; both listeners show at 0."""
    assert value(metrics, "in_flight", listener="public") == 0
    assert value(metrics, "in_flight", listener="admin") == 0
    metrics(RequestStarted("public"))
    metrics(RequestStarted("public"))
    metrics(ended())
    assert value(metrics, "in_flight", listener="public") == 1
    assert value(metrics, "in_flight", listener="admin") == 0


@pytest.mark.parametrize(("source", "result"), [("cache", "hit"), ("canned", "miss")])
def test_what_is_answered_at_once_counts_as_all_of_its_steps(
    source: str, result: Literal["hit", "miss"]
) -> None:
    """The exposition is that of a request that began, looked into the cache and ended."""
    one, other = (Metrics(CollectorRegistry(), mode="auto", version="1") for _ in range(2))
    end = ended(source=source)
    for event in (RequestStarted("public"), CacheLooked("video", result), end):
        one(event)
    other(AnsweredAtOnce(*end))
    ours = [
        {k: v for k, v in scrape(each).items() if k[0].startswith("activity_proxy")} for each in (one, other)
    ]
    assert ours[0] == ours[1]
    assert value(other, "cache_requests_total", route="video", result=result) == 1
    assert value(other, "in_flight", listener="public") == 0


def test_clients_over_a_limit_count_by_limit(metrics: Metrics) -> None:
    """Every limit shows at 0 from the start, so that the first client over it is seen."""
    for limit in get_args(LimitName):
        assert value(metrics, "limited_total", limit=limit) == 0
    metrics(Limited("slow_reader"))
    assert value(metrics, "limited_total", limit="slow_reader") == 1
    assert value(metrics, "limited_total", limit="rate") == 0


def test_sign_ins_without_a_token_count_by_what_the_viewer_is_told(metrics: Metrics) -> None:
    """Every code shows at 0 from the start: an outage of Discord's is seen at its first viewer."""
    for code in CODES:
        assert value(metrics, "sign_in_failures_total", code=code) == 0
    metrics(SignInFailed("discord_timeout"))
    assert value(metrics, "sign_in_failures_total", code="discord_timeout") == 1


def test_failures_of_a_storage_count_by_what_it_keeps(metrics: Metrics) -> None:
    """Both series show at 0 from the start: a Redis that goes away is seen at its first failure."""
    for kept in ("answers", "sessions"):
        assert value(metrics, "storage_failures_total", kept=kept) == 0
    metrics(StoreTroubled("away", "sessions"))
    assert value(metrics, "storage_failures_total", kept="sessions") == 1
    assert value(metrics, "storage_failures_total", kept="answers") == 0


def test_a_certificate_is_stale_until_one_is_loaded(metrics: Metrics) -> None:
    """Every section shows at 0 from the start; 1 says that the files must be looked at."""
    for name in get_args(TlsName):
        assert value(metrics, "certificate_stale", tls=name) == 0
    metrics(CertificateChanged("listen", "kept", "key is encrypted"))
    assert value(metrics, "certificate_stale", tls="listen") == 1
    assert value(metrics, "certificate_stale", tls="admin") == 0
    metrics(CertificateChanged("listen", "loaded"))
    assert value(metrics, "certificate_stale", tls="listen") == 0


def test_attempts_retries_and_violations(metrics: Metrics) -> None:
    """Each counts under its own labels."""
    metrics.expect_route("video", ["id"])
    metrics(AttemptEnded("video", FailureKind.TIMEOUT, 3.0))
    metrics(RetryScheduled("video", FailureKind.TIMEOUT, 0.1))
    metrics(RetrySuppressed("video", "unsafe"))
    metrics(ContractViolated("video", "id"))
    assert value(metrics, "gateway_attempts_total", route="video", outcome="timeout") == 1
    assert value(metrics, "gateway_attempts_total", route="video", outcome="ok") == 0
    assert value(metrics, "gateway_attempt_seconds_sum", route="video") == 3
    assert value(metrics, "retries_total", route="video", reason="timeout") == 1
    assert value(metrics, "retries_suppressed_total", reason="unsafe") == 1
    assert value(metrics, "retries_suppressed_total", reason="deadline") == 0
    assert value(metrics, "contract_violations_total", route="video", field="id") == 1
    assert value(metrics, "contract_violations_total", route="video", field="body") == 0


def test_breakers_are_read_at_the_scrape(metrics: Metrics) -> None:
    """State and ratio are what the breaker says now, with each state a series, one of them 1."""
    breaker = FakeBreaker()
    metrics.watch_breakers({"gateway": breaker})
    for state in get_args(BreakerState):
        breaker.current, breaker.failure_ratio, breaker.looks = state, 0.75, 0
        samples = scrape(metrics)
        shown = {
            dict(labels)["state"]: number
            for (name, labels), number in samples.items()
            if name == "activity_proxy_breaker_state"
        }
        assert shown == {s: float(s == state) for s in get_args(BreakerState)}
        assert breaker.looks == 1, "two looks can see two states"
    assert value(metrics, "breaker_failure_ratio", breaker="gateway") == 0.75


def test_breakers_can_be_added(metrics: Metrics) -> None:
    """A second call adds breakers and keeps the first."""
    metrics.watch_breakers({"gateway": FakeBreaker("open")})
    metrics.watch_breakers({"sessions": FakeBreaker("half_open")})
    assert value(metrics, "breaker_state", breaker="gateway", state="open") == 1
    assert value(metrics, "breaker_state", breaker="sessions", state="half_open") == 1


def test_breaker_counters_exist_before_anything_happened(metrics: Metrics) -> None:
    """Each transition and the rejections of a breaker start at 0, then count."""
    metrics.watch_breakers({"gateway": FakeBreaker()})
    change = {"breaker": "gateway", "from_state": "closed", "to_state": "open"}
    assert value(metrics, "breaker_transitions_total", **change) == 0
    assert value(metrics, "breaker_rejected_total", breaker="gateway") == 0
    metrics(BreakerChanged("gateway", "closed", "open"))
    metrics(BreakerRejected("gateway"))
    assert value(metrics, "breaker_transitions_total", **change) == 1
    assert value(metrics, "breaker_rejected_total", breaker="gateway") == 1


def test_tokens(metrics: Metrics) -> None:
    """Token requests start at 0 for each subject and outcome, then count."""
    assert value(metrics, "token_requests_total", subject="user", outcome="unreachable") == 0
    metrics(TokenRequested("service", "login"))
    assert value(metrics, "token_requests_total", subject="service", outcome="login") == 1
    assert value(metrics, "token_requests_total", subject="user", outcome="login") == 0


def test_token_expiry_is_the_services_and_absent_until_known(metrics: Metrics) -> None:
    """No expiry is no sample, and a user's token does not pass for the service's."""
    name = "token_expiry_timestamp_seconds"
    assert value(metrics, name) is None
    metrics(TokenAcquired("service", 1_795_398_789.0))
    metrics(TokenAcquired("user", 1.0))
    assert value(metrics, name) == 1_795_398_789.0
    metrics(TokenAcquired("service", None))
    assert value(metrics, name) is None


def test_mode_and_build() -> None:
    """The mode in force is 1 and the others 0; the version is a label."""
    metrics = Metrics(CollectorRegistry(), mode="offline", version="1.2.3")
    assert value(metrics, "mode", mode="offline") == 1
    assert value(metrics, "mode", mode="auto") == 0
    assert value(metrics, "mode", mode="live") == 0
    assert value(metrics, "build_info", version="1.2.3") == 1


def test_nothing_of_a_request_becomes_a_label(metrics: Metrics) -> None:
    """Paths, ids, clients and request ids show nowhere in the exposition."""
    everything(metrics)
    body, _ = metrics.exposition("")
    for private in (b"1_secret", b"203.0.113.9", b"r-1"):
        assert private not in body


def test_openmetrics_when_asked(metrics: Metrics) -> None:
    """Prometheus' own Accept header gets OpenMetrics, whole and readable."""
    everything(metrics)
    accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3"
    body, content_type = metrics.exposition(accept)
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert body.endswith(b"# EOF\n")
    assert b"# TYPE activity_proxy_requests counter" in body
    assert b"_created" not in body


def test_text_otherwise(metrics: Metrics) -> None:
    """Without a wish the answer is the text format 0.0.4, without creation times."""
    everything(metrics)
    body, content_type = metrics.exposition("")
    assert content_type.startswith("text/plain; version=0.0.4")
    assert b"_created" not in body


@given(st.sampled_from(["application/openmetrics-text", "text/plain", "*/*"]), st.text())
def test_no_accept_header_breaks_a_scrape(kind: str, version: str) -> None:
    """Whatever version an Accept header names, metrics come back."""
    metrics = Metrics(CollectorRegistry(), mode="auto", version="1")
    body, _ = metrics.exposition(f"{kind};version={version}")
    assert b"activity_proxy_build_info" in body
