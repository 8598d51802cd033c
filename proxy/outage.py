"""Which events are signs that the gateway is away or back; another release may be there then."""

from proxy.call import Failure, FailureKind
from proxy.events import AttemptEnded, BreakerChanged, Event, SourceFailedEvent, TokenRequested

SIGNS = (SourceFailedEvent, AttemptEnded, TokenRequested)
"""The kinds of events that `is_trouble` knows."""
_AWAY = frozenset({FailureKind.UNREACHABLE, FailureKind.TIMEOUT, FailureKind.BREAKER_OPEN, FailureKind.TOKEN})


KALTURA = "kaltura"
"""The breaker before Kaltura, which says nothing of the gateway."""


def is_back(event: Event) -> bool:
    """Tell whether an event says that the gateway may be asked again: a circuit breaker before it closed."""
    return isinstance(event, BreakerChanged) and event.to_state == "closed" and event.breaker != KALTURA


def is_trouble(event: Event) -> bool:
    """Tell whether an event says that the gateway did not answer, answered 5xx, or gave no token."""
    match event:
        case SourceFailedEvent(failure=Failure(source="gateway") as failure):
            return failure.kind in _AWAY or (failure.status or 0) >= 500
        case AttemptEnded(outcome=outcome):  # a stale answer hides a call that failed
            return outcome == FailureKind.UNREACHABLE
        case TokenRequested(outcome=outcome):
            return outcome not in {"login", "refresh"}
    return False
