"""What is said of an event in the log: a level, a message, its fields, and how often."""

import logging
from collections.abc import Mapping
from typing import Final

from proxy.call import FailureKind
from proxy.events import (
    BreakerChanged,
    CertificateChanged,
    ContractViolated,
    Crashed,
    DialectChosen,
    Event,
    FixedTokenRefused,
    KalturaSessionFailed,
    LifeCycle,
    Limited,
    Operated,
    Ready,
    RetryScheduled,
    RetrySuppressed,
    SignInFailed,
    SnapshotIgnored,
    SourceFailedEvent,
    StoreTroubled,
    TokenAcquired,
    TokenRequested,
)
from proxy.frozen import frozen
from proxy.log_format import failure_fields, iso, milliseconds

Fields = Mapping[str, object]

_WHOSE: Final[Mapping[str, str]] = {"gateway": "the gateway's", "kaltura": "Kaltura's"}
_USELESS: Final[Mapping[str, str]] = {
    "refused": "the gateway refuses the configured token; logging in instead",
    "expired": "the configured token is over; logging in instead",
}


@frozen
class Line:
    """What is to be said of an event. Of those with the same `limit`, one a while is written."""

    level: int
    message: str
    fields: Fields
    limit: tuple[str, ...] | None = None
    error: Exception | None = None


def line_of(event: Event) -> Line | None:
    """Return the line of an event; None for one that nobody wants to read of."""
    return _trouble(event) or _news(event)


def limit_of(event: SourceFailedEvent) -> tuple[str, ...]:
    """Return what lines of failed sources are kept back by."""
    return ("source", event.route, event.failure.source, event.failure.kind)


def _trouble(event: Event) -> Line | None:  # noqa: C901, PLR0911  (one for each event)
    match event:
        case SourceFailedEvent(route, failure, request_id):
            # A source that is off in this mode is as the operator wants it.
            level = logging.DEBUG if failure.kind is FailureKind.OFF else logging.WARNING
            fields = {"route": route, **failure_fields(failure), "request_id": request_id}
            return Line(level, "source failed", fields, limit_of(event))
        case ContractViolated(route, name, source):
            message = f"{_WHOSE[source]} answer is of no use"
            limit: tuple[str, ...] = ("contract", source, route, name)
            return Line(logging.WARNING, message, {"route": route, "field": name}, limit)
        case TokenRequested(subject, outcome) if outcome not in {"login", "refresh"}:
            fields = {"subject": subject, "outcome": outcome}
            return Line(logging.WARNING, "no gateway token", fields, ("token", subject, outcome))
        case KalturaSessionFailed(outcome):
            limit = ("kaltura", outcome)
            return Line(logging.WARNING, "no Kaltura session for reading", {"outcome": outcome}, limit)
        case FixedTokenRefused(subject, reason):
            return Line(logging.WARNING, _USELESS[reason], {"subject": subject})
        case BreakerChanged(breaker, from_state, to_state):
            level = logging.WARNING if to_state in {"open", "forced_open"} else logging.INFO
            fields = {"breaker": breaker, "from": from_state, "to": to_state}
            return Line(level, "breaker changed", fields)
        case StoreTroubled(trouble, kept):
            fields = {"trouble": trouble, "kept": kept}
            return Line(logging.WARNING, "the cache's storage fails", fields, ("store", kept, trouble))
        case SnapshotIgnored(reason):
            return Line(logging.WARNING, "no snapshot of the cache", {"reason": reason})
        case Limited(over):
            return Line(logging.WARNING, "a client went over a limit", {"limit": over}, ("limit", over))
        case Crashed(request_id, error):
            message = "the sidecar itself failed"
            return Line(logging.ERROR, message, {"request_id": request_id}, error=error)
    return None


def _news(event: Event) -> Line | None:  # noqa: C901, PLR0911  (one for each event)
    fields: Fields
    match event:
        case TokenAcquired(subject, expires_at):
            ends = None if expires_at is None else iso(expires_at)
            fields = {"subject": subject, "expires_at": ends}
            # Users come and go all the time.
            level = logging.INFO if subject == "service" else logging.DEBUG
            return Line(level, "token acquired", fields)
        case SignInFailed(code):
            return Line(logging.WARNING, "no api_token for a viewer", {"code": code}, ("sign in", code))
        case DialectChosen(route, dialect, why):
            fields = {"route": route, "dialect": dialect, "why": why}
            return Line(logging.INFO, "dialect chosen", fields)
        case CertificateChanged(name, "loaded", _):
            return Line(logging.INFO, "certificate loaded", {"tls": name})
        case CertificateChanged(name, _, reason):
            fields = {"tls": name, "reason": reason}
            return Line(logging.WARNING, "a new certificate is of no use; the old one stays", fields)
        case Operated(path, outcome, client, request_id):
            fields = {"action": path, **outcome, "client": client, "request_id": request_id}
            return Line(logging.INFO, "an operator acted", fields)
        case Ready():
            return Line(logging.INFO, "ready", event._asdict())
        case LifeCycle(phase, requests, websockets):
            return Line(logging.INFO, phase, {"requests": requests, "websockets": websockets})
        case RetryScheduled(route, reason, delay):
            fields = {"route": route, "reason": reason, "delay_ms": milliseconds(delay)}
            return Line(logging.DEBUG, "retry", fields)
        case RetrySuppressed(route, reason):
            return Line(logging.DEBUG, "no retry", {"route": route, "reason": reason})
    return None
