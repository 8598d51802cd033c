"""One rewritten call on its way through the stages, and the answer that comes back.

Everything that answers a call has the signature `Source`, so that the ladder, the sources and the fakes
of the tests compose.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import field
from enum import StrEnum
from typing import Literal

from proxy.frozen import frozen
from proxy.headers import Field, Hop
from proxy.route import Route

SourceName = Literal["gateway", "cache", "stale", "kaltura", "activity", "canned"]
Value = str | int

JSON = "application/json; charset=utf-8"


class FailureKind(StrEnum):
    """Why a source did not answer: the closed set that metrics, logs and `Proxy-Status` speak in."""

    UNREACHABLE = "unreachable"  # no connection, or it broke before an answer came
    TIMEOUT = "timeout"  # the attempt or the whole call ran out of time
    STATUS = "status"  # an answer whose status says that the upstream failed
    CONTRACT = "contract"  # a 2xx that is not what the route requires
    NO_SUCH_ROUTE = "no_such_route"  # 404 or 405 without a JSON error: the call does not exist there
    UNAUTHORIZED = "unauthorized"  # the token was refused, and so was its successor
    TOKEN = "token"  # nosec B105 # noqa: S105  (no token is to be had; the word is a label)
    BREAKER_OPEN = "breaker_open"  # the circuit breaker kept the call back
    OVERLOADED = "overloaded"  # too many calls are under way already
    NOTHING_KEPT = "nothing_kept"  # there is no earlier answer to give
    OFF = "off"  # the source is not to be used in this mode or environment


@frozen
class Failure:
    """One source's failure.

    `detail` is safe to show a client: it never holds a URL, a token or a body. `status` is the status that
    the upstream sent, if any. `retry_after` is in seconds.
    """

    source: SourceName
    kind: FailureKind
    detail: str
    status: int | None = None
    retry_after: float | None = None


class SourceFailed(Exception):
    """A source could not answer; the ladder goes on with the next one."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.detail)
        self.failure = failure


@frozen
class Subject:
    """On whose behalf a call is made: what the gateway's login wants to know of them."""

    kind: Literal["service", "user"]
    discord_id: str
    username: str
    roles: tuple[str, ...] = ()


@frozen
class ClientRequest:
    """The client's own request, for a source that passes it on as it came.

    `target` is the raw request target (path and query, percent-escapes untouched, `/.proxy` removed);
    `fields` are the header fields as they came over the wire, `hop` tells of the connection.
    """

    method: str
    target: str
    hop: Hop
    fields: tuple[Field, ...] = field(repr=False)
    body: bytes = field(repr=False)


@frozen
class Call:
    """A validated call of one route.

    `values` holds the route's inputs by name. `deadline` is a reading of `Clock.monotonic()`.
    """

    route: Route
    values: Mapping[str, Value]
    subject: Subject
    request: ClientRequest
    request_id: str
    deadline: float


@frozen
class Problem:
    """What an error says to the client; who asked is added when it is sent, so that many can share one."""

    error: str
    message: str
    code: str


@frozen
class Answer:
    """What goes back to the client: status, body as it is sent, and who gave it.

    An answer with a `problem` is an error, and has no body of its own. `failures` are those of the sources
    that were asked before, in order. `etag` is there where a client may ask whether its copy is still good;
    `cache` is what `Cache-Status` says (RFC 9211), without the cache's name.
    """

    status: int
    body: bytes = field(repr=False)
    source: SourceName | None
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()
    failures: tuple[Failure, ...] = ()
    problem: Problem | None = None
    etag: str | None = None
    cache: str = "fwd=bypass"

    def forwarded(self, cache: str, etag: str | None = None) -> "Answer":
        """Return it with what `Cache-Status` says of it, and its entity tag where it is kept."""
        # Most answers come through here: `dataclasses.replace` takes three times as long.
        return Answer(
            self.status,
            self.body,
            self.source,
            self.content_type,
            self.headers,
            self.failures,
            self.problem,
            etag,
            cache,
        )


def missing(call: Call) -> Problem:
    """Return what is said of a thing that does not exist."""
    named = next(iter(call.values.values()), "")
    return Problem("Video not found", f"There is no video {named}", "not_found")


Source = Callable[[Call], Awaitable[Answer]]
"""Answers a call, or raises `SourceFailed`."""
