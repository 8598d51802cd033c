"""What the stages tell the world: facts as they happen, which observers turn into metrics and logs.

Every label in here comes from a closed set. No event holds a path, an id, a user or a token, but for the
access line's `target`, which only the log reads.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from proxy.api_error import ApiErrorCode
from proxy.call import Failure
from proxy.frozen import frozen

BreakerState = Literal["closed", "open", "half_open", "forced_open"]
SubjectKind = Literal["service", "user"]
ListenerName = Literal["public", "admin"]
TlsName = Literal["activity", "admin", "cache", "discord", "gateway", "kaltura", "listen"]
LimitName = Literal[
    "body",
    "body_time",
    "connections",
    "header",
    "header_time",
    "headers",
    "rate",
    "slow_reader",
    "target",
]


@frozen
class RequestStarted:
    """A request came in at a listener."""

    listener: ListenerName


class RequestEnded(NamedTuple):  # which is made in a third of the time that a frozen dataclass takes
    """The last byte of an answer was sent, or the client left (`status` 499).

    `route` is a route's name, `pass`, or `none` for what was refused before. `source` is the source's name,
    `error` for an error of our own, `none` for what needs none, or `activity` for what passed through.
    `seconds` is from the request's arrival to the answer's end.
    """

    listener: ListenerName
    route: str
    method: str
    status: int
    source: str
    seconds: float
    request_id: str
    target: str
    client: str
    bytes_sent: int
    failures: tuple[Failure, ...] = ()


class AnsweredAtOnce(RequestEnded):
    """A request was answered within the call that brought its last byte: nobody saw it begin.

    It stands for its beginning too, and for the look into the cache: a hit if that is the source, else a
    miss.
    """

    __slots__ = ()


@frozen
class Limited:
    """A client was turned away, or cut off, because it went over a limit.

    `body_time`, `header_time`: it took too long to send; `slow_reader`: it did not take what it was sent.
    """

    limit: LimitName


@frozen
class SourceFailedEvent:
    """A source of the ladder did not answer, and the next one was asked."""

    route: str
    failure: Failure
    request_id: str


@frozen
class AttemptEnded:
    """One exchange with the gateway ended.

    `outcome` is `ok`, `missing`, `refused`, `cancelled` (the client left), or a failure's kind.
    """

    route: str
    outcome: str
    seconds: float


@frozen
class RetryScheduled:
    """An attempt failed and another will be made after `delay` seconds."""

    route: str
    reason: str
    delay: float


@frozen
class RetrySuppressed:
    """An attempt failed and no other is made, though attempts are left.

    `reason` is `deadline` (it could not finish in time), `unsafe` (the call must not be repeated),
    `budget` (there were too many retries of late) or `breaker_open`.
    """

    route: str
    reason: Literal["deadline", "unsafe", "budget", "breaker_open"]


@frozen
class ContractViolated:
    """An upstream answered what the route cannot use. `field` is a declared field, or `body`."""

    route: str
    field: str
    source: Literal["gateway", "kaltura"] = "gateway"


@frozen
class BreakerChanged:
    """A circuit breaker went from one state to another."""

    breaker: str
    from_state: BreakerState
    to_state: BreakerState


@frozen
class BreakerRejected:
    """A circuit breaker kept a call back."""

    breaker: str


@frozen
class CacheLooked:
    """The cache was asked for a route's answer."""

    route: str
    result: Literal["hit", "stale", "miss", "coalesced"]


@frozen
class StoreTroubled:
    """A storage failed; requests went on without it."""

    trouble: str
    kept: Literal["answers", "sessions"] = "answers"


@frozen
class SignInFailed:
    """A viewer got Discord's tokens and no gateway token; `code` is what they are told."""

    code: ApiErrorCode


@frozen
class SnapshotIgnored:
    """The snapshot of the last run was not read, or one could not be written, and why."""

    reason: str


@frozen
class TokenRequested:
    """The token endpoint was asked. `outcome` is `login`, `refresh`, or a `FailureKind` for a failure."""

    subject: SubjectKind
    outcome: str


@frozen
class TokenAcquired:
    """There is a new token, which ends at `expires_at` (epoch seconds; None: it does not say)."""

    subject: SubjectKind
    expires_at: float | None


@frozen
class FixedTokenRefused:
    """The token of the configuration is of no use, and one is got by logging in instead."""

    subject: SubjectKind
    reason: Literal["refused", "expired"] = "refused"


class KalturaAsked(NamedTuple):
    """One exchange with Kaltura ended.

    `outcome` is `ok`, `missing`, `cancelled` (nobody waits any more), or a failure's kind.
    """

    outcome: str


@frozen
class KalturaSessionFailed:
    """Kaltura gave no session for reading. `outcome` is a `FailureKind`."""

    outcome: str


@frozen
class DialectChosen:
    """`auto` settled which route table a route is taken from, and why."""

    route: str
    dialect: str
    why: str


@frozen
class CertificateChanged:
    """The files of a TLS section have changed.

    `outcome` is `loaded` (new handshakes have what is new) or `kept` (it cannot be used, for that `reason`,
    and what was there stays).
    """

    name: TlsName
    outcome: Literal["loaded", "kept"]
    reason: str = ""


class Ready(NamedTuple):
    """The sidecar takes requests from now on: of which version it is, how it runs and where it listens."""

    version: str
    environment: str
    mode: str
    public: str
    admin: str


@frozen
class LifeCycle:
    """The sidecar begins to stop, with so many requests and WebSockets open, or has stopped."""

    phase: Literal["stopping", "stopped"]
    requests: int = 0
    websockets: int = 0


class Operated(NamedTuple):
    """An operator did something at the admin listener.

    `path` is that of the action, one of those there are; `outcome` what the answer says is so now. Who it was
    nobody knows, but for the address that it came from.
    """

    path: str
    outcome: Mapping[str, object]
    client: str
    request_id: str


@frozen
class Crashed:
    """The sidecar itself failed at a request: a defect, whose traceback belongs in the log."""

    request_id: str
    error: Exception


Event = (
    RequestStarted
    | RequestEnded
    | AnsweredAtOnce
    | Limited
    | SourceFailedEvent
    | AttemptEnded
    | RetryScheduled
    | RetrySuppressed
    | ContractViolated
    | BreakerChanged
    | BreakerRejected
    | CacheLooked
    | StoreTroubled
    | SignInFailed
    | SnapshotIgnored
    | TokenRequested
    | TokenAcquired
    | FixedTokenRefused
    | KalturaAsked
    | KalturaSessionFailed
    | DialectChosen
    | CertificateChanged
    | Crashed
    | LifeCycle
    | Operated
    | Ready
)

Observe = Callable[[Event], None]
"""Takes an event; never raises, never waits."""

Wants = Mapping[type, Callable[[Any], None]]
"""What an observer does with each kind of event that it wants to hear of."""
