"""PromQL queries, held against what the sidecar really exports."""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import get_args, get_type_hints

import promql_parser as promql
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from proxy.call import Failure, FailureKind, SourceName
from proxy.events import (
    AnsweredAtOnce,
    AttemptEnded,
    BreakerChanged,
    BreakerRejected,
    BreakerState,
    CacheLooked,
    CertificateChanged,
    ContractViolated,
    Crashed,
    DialectChosen,
    Event,
    FixedTokenRefused,
    KalturaAsked,
    KalturaSessionFailed,
    LifeCycle,
    Limited,
    LimitName,
    Operated,
    Ready,
    RequestEnded,
    RequestStarted,
    RetryScheduled,
    RetrySuppressed,
    SignInFailed,
    SnapshotIgnored,
    SourceFailedEvent,
    StoreTroubled,
    TokenAcquired,
    TokenRequested,
)
from proxy.metrics import Metrics

# What Prometheus adds to each series, and the series that are its own.
TARGET = frozenset({"namespace", "job", "instance"})
OWN: Mapping[str, frozenset[str]] = {
    "up": TARGET,
    "ALERTS": TARGET | {"alertname", "alertstate", "severity"},
}
Labels = dict[str, set[str]]


class Closed:
    """A breaker that is closed."""

    state: BreakerState = "closed"
    failure_ratio = 0.0


def happenings() -> Iterator[Event]:
    """Every kind of event, with every value that a query may look for."""
    failure = Failure("gateway", FailureKind.TIMEOUT, "late")
    answers = product(("video", "pass"), (200, 404, 499, 502, 503), (*get_args(SourceName), "error"))
    for route, status, source in (*answers, ("metrics", 200, "admin")):
        yield RequestStarted("public")
        yield RequestEnded("public", route, "GET", status, source, 0.1, "r", "/", "c", 1)
    yield AnsweredAtOnce("public", "video", "GET", 200, "cache", 0.1, "r", "/", "c", 1)
    yield AttemptEnded("video", "ok", 0.1)
    yield LifeCycle("stopping", 1, 1)
    yield CertificateChanged("listen", "kept", "key does not fit the certificate")
    for limit in get_args(LimitName):
        yield Limited(limit)
    yield RetryScheduled("video", "timeout", 0.1)
    for reason in get_args(get_type_hints(RetrySuppressed)["reason"]):
        yield RetrySuppressed("video", reason)
    for result in get_args(get_type_hints(CacheLooked)["result"]):
        yield CacheLooked("video", result)
    yield ContractViolated("video", "id")
    yield BreakerChanged("catalog", "closed", "open")
    yield BreakerRejected("catalog")
    yield TokenRequested("service", "login")
    yield TokenAcquired("service", 1_795_398_789.0)
    yield FixedTokenRefused("service")
    yield KalturaAsked("ok")
    yield KalturaSessionFailed("timeout")
    yield StoreTroubled("slow")
    yield SignInFailed("discord_unreachable")
    yield SnapshotIgnored("damaged")
    yield SourceFailedEvent("video", failure, "r")
    yield DialectChosen("session", "newer", "no such route")
    yield Crashed("r", ValueError())
    yield Ready("1", "production", "auto", "127.0.0.1:1", "127.0.0.1:2")
    yield Operated("/cache/purge", {"purged": True}, "127.0.0.1", "r")


def exported() -> dict[str, Labels]:
    """Series' names, with their labels and the values that these have."""
    metrics = Metrics(CollectorRegistry(), mode="auto", version="1")
    metrics.watch_breakers({"catalog": Closed()})
    metrics.watch_kaltura({"kaltura": Closed()})
    metrics.watch_cache(lambda: (1, 1))
    metrics.expect_route("video", ["id"])
    for event in happenings():
        metrics(event)
    found: dict[str, Labels] = {}
    for family in text_string_to_metric_families(metrics.exposition("")[0].decode()):
        for sample in family.samples:
            labels = found.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
    return found


def parts(expr: promql.Expr) -> list[promql.Expr]:
    """An expression and all that it is made of."""
    found: list[promql.Expr] = []
    promql.walk(expr, found.append)
    return found


def selectors(expr: promql.Expr) -> list[promql.VectorSelector]:
    """The series that an expression looks at."""
    return [part for part in parts(expr) if isinstance(part, promql.VectorSelector)]


def labels_of(selector: promql.VectorSelector, series: Mapping[str, Labels]) -> frozenset[str]:
    """The labels that a series has, once it was scraped."""
    name = selector.name or ""
    return OWN[name] if name in OWN else TARGET | series[name].keys()


def result(expr: promql.Expr, series: Mapping[str, Labels]) -> frozenset[str]:
    """The labels that an expression's result can have."""
    if isinstance(expr, promql.VectorSelector):
        return labels_of(expr, series)
    if isinstance(expr, promql.BinaryExpr):
        return result(expr.lhs, series) or result(expr.rhs, series)
    if isinstance(expr, promql.Call) and expr.func.name == "absent":
        return frozenset()
    inner = frozenset().union(*(result(part, series) for part in operands(expr)))
    if not isinstance(expr, promql.AggregateExpr):
        return inner
    if expr.modifier is None:
        return frozenset()
    named = frozenset(expr.modifier.labels)
    return inner & named if expr.modifier.type == promql.AggModifierType.By else inner - named


def operands(expr: promql.Expr) -> list[promql.Expr]:
    """What an expression, not a binary one, is made of directly."""
    if isinstance(expr, promql.Call):
        return expr.args
    if isinstance(expr, promql.MatrixSelector):
        return [expr.vector_selector]
    if isinstance(expr, promql.AggregateExpr | promql.ParenExpr | promql.UnaryExpr | promql.SubqueryExpr):
        return [expr.expr]
    return []


def misfits(query: str, series: Mapping[str, Labels]) -> Iterator[str]:
    """Say which names, labels and values of a query are not to be had."""
    expr = promql.parse(query)
    for selector in selectors(expr):
        name = selector.name or ""
        if name not in series and name not in OWN:
            yield f"no series {name}"
            continue
        for matcher in selector.matchers.matchers:
            if matcher.name not in labels_of(selector, series):
                yield f"{name} has no label {matcher.name}"
            elif name not in OWN and matcher.name not in TARGET:
                yield from unmatched(name, matcher, series[name][matcher.name])
    if any(selector.name not in {*series, *OWN} for selector in selectors(expr)):
        return
    for part in parts(expr):
        within = frozenset().union(*(labels_of(selector, series) for selector in selectors(part)))
        for label in grouped_by(part):
            if label not in within:
                yield f"nothing has the label {label} in {part.prettify()}"


def unmatched(name: str, matcher: promql.Matcher, values: Iterable[str]) -> Iterator[str]:
    """Say which values, wanted or not, there never are."""
    is_pattern = matcher.op in (promql.MatchOp.Re, promql.MatchOp.NotRe)
    for wanted in matcher.value.split("|") if is_pattern else [matcher.value]:
        pattern = wanted if is_pattern else re.escape(wanted)
        if not any(re.fullmatch(pattern, value) for value in values):
            yield f"{matcher.name} of {name} is never {wanted}"


def grouped_by(part: promql.Expr) -> Iterator[str]:
    """The labels by which an expression groups or matches."""
    if isinstance(part, promql.AggregateExpr) and part.modifier is not None:
        yield from part.modifier.labels
    if isinstance(part, promql.BinaryExpr) and part.modifier is not None:
        yield from part.modifier.matching.labels if part.modifier.matching is not None else ()
        yield from part.modifier.group_labels or ()


def known(recorded: Iterable[tuple[str, str]]) -> dict[str, Labels]:
    """What can be asked for: what is exported, and what rules record of it (by name and query)."""
    series = exported()
    for name, query in recorded:
        expr = promql.parse(query)
        series[name] = {
            label: set().union(*(series[s.name or ""].get(label, set()) for s in selectors(expr)))
            for label in result(expr, series)
        }
    return series
