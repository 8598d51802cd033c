"""The observer that counts: events in, Prometheus metrics out.

Label values come from closed sets. Series that an alert watches exist at 0 before anything
happened, for `rate()` does not see the increment that makes a series.
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import permutations, product
from typing import Final, TypeVar, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics import MetricWrapperBase

from proxy.api_error import CODES
from proxy.call import FailureKind
from proxy.events import (
    AnsweredAtOnce,
    AttemptEnded,
    BreakerChanged,
    BreakerRejected,
    CacheLooked,
    CertificateChanged,
    ContractViolated,
    Event,
    FixedTokenRefused,
    KalturaAsked,
    Limited,
    LimitName,
    ListenerName,
    RequestEnded,
    RequestStarted,
    RetryScheduled,
    RetrySuppressed,
    SignInFailed,
    StoreTroubled,
    TlsName,
    TokenAcquired,
    TokenRequested,
    Wants,
)
from proxy.scrape import PREFIX, STATES, AtScrape, WatchedBreaker, WithoutCreated
from proxy.tally import Count, Counts, Levels, Timing, Timings

LIMITS: Final[tuple[LimitName, ...]] = get_args(LimitName)
MODES: Final = ("auto", "live", "offline")
OTHER: Final = "other"
_STATUSES: Final = {status: str(status) for status in range(100, 600)}
# RFC 9110 section 9, and PATCH (RFC 5789).
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE"})
# Edges stand at the default limits (slow call 2 s, attempt 3 s, total 8 s), so that the share of
# requests past one is exact.
BUCKETS: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 10.0,
)  # fmt: skip
_NEVER_ASKED: Final = frozenset({FailureKind.OFF, FailureKind.OVERLOADED, FailureKind.NOTHING_KEPT})
_ATTEMPT_OUTCOMES: Final = (
    "ok", "missing", "refused", "cancelled",
    *(kind for kind in FailureKind if kind not in {*_NEVER_ASKED, FailureKind.BREAKER_OPEN}),
)  # fmt: skip
_KALTURA_OUTCOMES: Final = (
    "ok", "missing", "cancelled", FailureKind.UNREACHABLE, FailureKind.TIMEOUT, FailureKind.STATUS,
    FailureKind.CONTRACT, FailureKind.UNAUTHORIZED,
)  # fmt: skip
_TOKEN_OUTCOMES: Final = (
    "login", "refresh",
    *(kind for kind in FailureKind if kind not in _NEVER_ASKED),
)  # fmt: skip

M = TypeVar("M", bound=MetricWrapperBase)


class _Held(dict[tuple[str, ...], M]):
    """A metric's children by label values: `labels()` costs eight times what a look-up does."""

    def __init__(self, metric: M) -> None:
        super().__init__()
        self._metric = metric

    def __missing__(self, key: tuple[str, ...]) -> M:
        child = self[key] = self._metric.labels(*key)
        return child


class Metrics:
    """Turns events into metrics of the registry that it is given.

    `mode` is the mode that the sidecar runs in, `version` its own.
    """

    def __init__(self, registry: CollectorRegistry, *, mode: str, version: str) -> None:
        self._registry = WithoutCreated(registry)
        self._at_scrape = AtScrape()
        registry.register(self._at_scrape)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)

        def counter(name: str, text: str, *labels: str) -> _Held[Counter]:
            return _Held(Counter(f"{PREFIX}_{name}", text, labels, registry=registry))

        def gauge(name: str, text: str, *labels: str) -> _Held[Gauge]:
            return _Held(Gauge(f"{PREFIX}_{name}", text, labels, registry=registry))

        def counts(name: str, text: str, *labels: str) -> dict[tuple[str, ...], Count]:
            made = Counts(f"{PREFIX}_{name}", text, *labels)
            registry.register(made)
            return made.series

        def seconds(name: str, text: str, *labels: str) -> dict[tuple[str, ...], Timing]:
            made = Timings(f"{PREFIX}_{name}", text, *labels, edges=BUCKETS)
            registry.register(made)
            return made.series

        self._requests = counts("requests", "Requests answered.", "route", "method", "status", "source")
        self._request_seconds = seconds(
            "request_seconds", "From a request's arrival to its answer's end.", "route", "source"
        )
        in_flight = Levels(
            f"{PREFIX}_in_flight", "Requests being answered.", "listener", get_args(ListenerName)
        )
        registry.register(in_flight)
        self._in_flight = in_flight.levels
        self._kinds: dict[tuple[object, ...], tuple[Count, Timing]] = {}
        self._stale = gauge(
            "certificate_stale", "1 while what the files of a TLS section hold is of no use.", "tls"
        )
        self._limited = counter("limited_total", "Clients turned away or cut off, by limit.", "limit")
        self._attempts = counts("gateway_attempts", "Exchanges with the gateway.", "route", "outcome")
        self._attempt_seconds = seconds(
            "gateway_attempt_seconds", "Duration of an exchange with the gateway.", "route"
        )
        self._retries = counter("retries_total", "Attempts that were followed by another.", "route", "reason")
        self._suppressed = counter(
            "retries_suppressed_total", "Retries that were not made though allowed.", "reason"
        )
        self._transitions = counter(
            "breaker_transitions_total",
            "State changes of circuit breakers.",
            "breaker",
            "from_state",
            "to_state",
        )
        self._rejected = counts("breaker_rejected", "Calls kept back by a circuit breaker.", "breaker")
        self._cache = counts("cache_requests", "Look-ups in the cache.", "route", "result")
        self._tokens = counter("token_requests_total", "Requests for a gateway token.", "subject", "outcome")
        self._sign_in_failures = counter(
            "sign_in_failures_total", "Viewers who got Discord's tokens and no api_token.", "code"
        )
        self._violations = counter(
            "contract_violations_total",
            "Answers of no use of the gateway or Kaltura, by field.",
            "route",
            "field",
        )
        self._asked = counter("kaltura_attempts_total", "Exchanges with Kaltura.", "outcome")
        self._storage_failures = counter(
            "storage_failures_total", "Failures of what keeps answers or sessions.", "kept"
        )
        modes = gauge("mode", "1 for the mode that the sidecar runs in.", "mode")
        for name in (*MODES, mode):
            modes[name,].set(float(name == mode))
        gauge("build_info", "1, labelled with the version.", "version")[version,].set(1.0)
        self._begin()
        self.wants: Final[Wants] = {
            RequestStarted: self._started,
            RequestEnded: self._ended,
            AnsweredAtOnce: self._answered_at_once,
            CacheLooked: self._looked,
            AttemptEnded: self._attempted,
            TokenAcquired: self._acquired,
            Limited: lambda event: self._limited[event.limit,].inc(),
            CertificateChanged: lambda event: self._stale[event.name,].set(float(event.outcome == "kept")),
            RetryScheduled: lambda event: self._retries[event.route, event.reason].inc(),
            RetrySuppressed: lambda event: self._suppressed[event.reason,].inc(),
            ContractViolated: lambda event: self._violations[event.route, event.field].inc(),
            KalturaAsked: lambda event: self._asked[event.outcome,].inc(),
            BreakerChanged: lambda event: self._transitions[
                event.breaker, event.from_state, event.to_state
            ].inc(),
            BreakerRejected: self._kept_back,
            TokenRequested: lambda event: self._tokens[event.subject, event.outcome].inc(),
            StoreTroubled: lambda event: self._storage_failures[event.kept,].inc(),
            SignInFailed: lambda event: self._sign_in_failures[event.code,].inc(),
            FixedTokenRefused: lambda event: self._tokens[event.subject, FailureKind.UNAUTHORIZED].inc(),
        }

    def _begin(self) -> None:
        """Show what happens seldom from the start."""
        for name in get_args(TlsName):
            self._stale[name,].set(0.0)
        for kept in ("answers", "sessions"):
            self._storage_failures[kept,].inc(0.0)
        for limit in LIMITS:
            self._limited[limit,].inc(0.0)
        for code in CODES:
            self._sign_in_failures[code,].inc(0.0)
        for reason in ("deadline", "unsafe", "budget", "breaker_open"):
            self._suppressed[reason,].inc(0.0)
        for key in product(("service", "user"), _TOKEN_OUTCOMES):
            self._tokens[key].inc(0.0)

    def expect_route(self, route: str, fields: Iterable[str]) -> None:
        """Show a gateway route's series from now on.

        `fields` are those whose absence violates its contract; `body` is added.
        """
        for outcome in _ATTEMPT_OUTCOMES:
            self._attempts[route, outcome]  # which makes it
        for field in (*fields, "body"):
            self._violations[route, field].inc(0.0)

    def watch_kaltura(self, breakers: Mapping[str, WatchedBreaker]) -> None:
        """Show Kaltura's breaker too, and the series of exchanges with it."""
        self.watch_breakers(breakers)
        for outcome in _KALTURA_OUTCOMES:
            self._asked[outcome,].inc(0.0)

    def watch_cache(self, size: Callable[[], tuple[int, int] | None]) -> None:
        """Show the cache's bytes and entries; each scrape asks for them. None: they are not known."""
        self._at_scrape.cache_size = size

    def watch_breakers(self, breakers: Mapping[str, WatchedBreaker]) -> None:
        """Show these breakers by name, beside those shown already; each scrape reads them."""
        self._at_scrape.breakers.update(breakers)
        for name in breakers:
            self._rejected[name,]  # which makes it
            for from_state, to_state in permutations(STATES, 2):
                self._transitions[name, from_state, to_state].inc(0.0)

    def __call__(self, event: Event) -> None:
        """Count an event, if its kind is counted. Never raises, never waits."""
        count = self.wants.get(type(event))
        if count is not None:
            count(event)

    def _started(self, event: RequestStarted) -> None:
        self._in_flight[event.listener] += 1

    def _ended(self, event: RequestEnded) -> None:
        count, timing = self._kinds.get(event[1:5]) or self._kind(event)
        count.value += 1
        timing.observe(event.seconds)
        self._in_flight[event.listener] -= 1

    def _answered_at_once(self, event: AnsweredAtOnce) -> None:
        count, timing = self._kinds.get(event[1:5]) or self._kind(event)
        count.value += 1
        timing.observe(event.seconds)
        self._cache[event.route, "hit" if event.source == "cache" else "miss"].value += 1

    def _kind(self, event: RequestEnded) -> tuple[Count, Timing]:
        """Return the series of requests like this one, and remember them, if such are not without end."""
        method = event.method if event.method in METHODS else OTHER
        status = _STATUSES.get(event.status, OTHER)
        kind = (
            self._requests[event.route, method, status, event.source],
            self._request_seconds[event.route, event.source],
        )
        if OTHER not in (method, status):
            self._kinds[event[1:5]] = kind
        return kind

    def _looked(self, event: CacheLooked) -> None:
        self._cache[event.route, event.result].value += 1

    def _attempted(self, event: AttemptEnded) -> None:
        self._attempts[event.route, event.outcome].value += 1
        self._attempt_seconds[event.route,].observe(event.seconds)

    def _kept_back(self, event: BreakerRejected) -> None:
        self._rejected[event.breaker,].value += 1

    def _acquired(self, event: TokenAcquired) -> None:
        if event.subject == "service":
            self._at_scrape.token_expiry = event.expires_at

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """Return all metrics and their content type, in the format that `Accept` asks for.

        Prometheus' text format 0.0.4, or OpenMetrics; a header that cannot be read gets the former.
        """
        try:
            encode, content_type = choose_encoder(accept)
        except TypeError:  # a version that is no number cannot be compared with one
            encode, content_type = choose_encoder("")
        return encode(self._registry), content_type
