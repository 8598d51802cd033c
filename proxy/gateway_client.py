"""The client of the gateway: one exchange on a connection of its own, and the whole answer or how it failed.

It has the connections that pass through has (`proxy.origin`), since the gateway is one fixed server too;
docs/decisions tells why they are not a session of aiohttp's. Nothing is repeated here, no redirect followed,
no cookie kept.
"""

import asyncio
import math
import re
import ssl
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple, Self

from aiohttp import ClientPayloadError, StreamReader, hdrs
from yarl import URL

from proxy import __version__
from proxy.attempts import AttemptFailed
from proxy.call import Failure, FailureKind
from proxy.errors import ActivityAway
from proxy.exchange import OriginConnection, OriginRequest
from proxy.origin import Origin
from proxy.wire import MAX_ANSWER

_HEAD_LIMIT: Final = 8190
"""Bytes that one line of an answer's head may have, as in aiohttp's own client."""
_TARGET: Final = re.compile(r"[!-~]+")
"""What may stand in a request line (RFC 9112 section 3): no white space, no line's end."""


class GatewayRequest:
    """A call on its way through the stages of an attempt, each of which adds its own.

    `target` is path and query below the base URL; `authorization` is the field's value; `allowed` is for the
    whole exchange, in seconds.
    """

    __slots__ = ("allowed", "authorization", "body", "method", "request_id", "target")

    def __init__(self, method: str, target: str, request_id: str, body: bytes | None = None) -> None:
        """Raises ValueError for a target that no request line can hold."""
        if _TARGET.fullmatch(target) is None:
            raise ValueError("the path holds what no request can")
        self.method = method
        self.target = target
        self.request_id = request_id
        self.body = body
        self.authorization = b""
        self.allowed = math.inf


class GatewayResponse(NamedTuple):
    """A whole answer, its body decoded. `method` is that of the request."""

    method: str
    status: int
    retry_after: str | None
    body: bytes

    def __repr__(self) -> str:
        """Tell nothing of what came: it may be a viewer's credential."""
        return f"{type(self).__name__}({self.method}, {self.status}, {len(self.body)} bytes)"


Send = Callable[[GatewayRequest], Awaitable[GatewayResponse]]
"""Makes an exchange, or what of it is still to be done. Raises `AttemptFailed`."""


class GatewayClient:
    """Calls the gateway at `base`, its URL without a trailing slash.

    Args:
        base: Where it is: scheme, host, port, and what comes before each call's path.
        connect_timeout: Seconds that making a connection may take.
        tls: What to make of its certificate; None for what the system trusts.
    """

    __slots__ = ("_limits", "_loop", "_origin", "_path", "_same")

    def __init__(self, base: str, *, connect_timeout: float, tls: ssl.SSLContext | None = None) -> None:
        url = URL(base, encoded=True)
        self._origin = Origin(
            url, connect_timeout=connect_timeout, head_limit=_HEAD_LIMIT, tls=tls, decoding=True
        )
        self._path = url.raw_path.rstrip("/")
        self._same = (
            f" HTTP/1.1\r\nHost: {self._origin.authority}\r\nUser-Agent: activity-proxy/{__version__}\r\n"
            "Accept: application/json\r\nAccept-Encoding: gzip, deflate\r\nX-Request-Id: "
        )
        self._limits = _Limits()
        self._loop = asyncio.get_running_loop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._limits.close()
        self._origin.close()

    @property
    def in_use(self) -> int:
        """How many exchanges are under way."""
        return len(self._origin.in_use)

    async def __call__(self, request: GatewayRequest) -> GatewayResponse:
        """Send the request and return the whole answer, within the time that the request allows.

        Raises:
            AttemptFailed: There is no answer, or not a whole one. It tells nothing of what was sent or came.
        """
        origin = self._origin
        ends = self._loop.time() + request.allowed
        kept = origin.at_hand()
        connection = kept or await self._connected(request.allowed)
        self._limits.begin(connection, ends)
        try:
            message, content, _ = await connection.ask(OriginRequest(self._written(request)))
            # What has come whole by now is no larger than what is taken in before anybody reads.
            body = content.read_nowait() if content.is_eof() else await _read(content)
        except (ActivityAway, ClientPayloadError) as error:
            if self._limits.is_over(connection):
                raise _late(sent=True) from None
            if kept is not None and isinstance(error, ActivityAway):
                origin.drop_idle()
            raise _broken(error) from None
        finally:
            over = self._limits.end(connection)
            origin.release(connection)
        if over:  # what ends with its connection only looks whole
            raise _late(sent=True)
        return GatewayResponse(request.method, message.code, message.headers.get(hdrs.RETRY_AFTER), body)

    async def _connected(self, allowed: float) -> OriginConnection:
        try:
            return await self._origin.open(allowed)
        except ActivityAway as error:
            if error.reason == "timeout":
                raise _late(sent=False) from None
            detail = "no connection"
            if error.reason == "tls":
                detail = f"no TLS connection: {error.detail}"
            raise _failed(FailureKind.UNREACHABLE, detail, sent=False) from None

    def _written(self, request: GatewayRequest) -> bytes:
        start = f"{request.method} {self._path}{request.target}"
        head = f"{start}{self._same}{request.request_id}\r\nAuthorization: ".encode()
        if request.body is None:
            # RFC 9110 section 8.6: some servers refuse a POST that does not say that there is nothing.
            end = b"\r\n\r\n" if request.method == "GET" else b"\r\nContent-Length: 0\r\n\r\n"
            return b"%b%b%b" % (head, request.authorization, end)
        fields = b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(request.body)
        return b"%b%b\r\n%b%b" % (head, request.authorization, fields, request.body)


class _Limits:
    """Cuts connections whose exchange takes too long, by one timer for all of them.

    A timer for each would cost as much as a tenth of an exchange: this one is set anew only for an exchange
    that ends sooner than all others, and when it has gone off.
    """

    __slots__ = ("_due", "_ends", "_loop", "_timer")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ends: dict[OriginConnection, float] = {}
        self._due = math.inf
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, connection: OriginConnection, ends: float) -> None:
        """Cut the connection at that time of the loop's."""
        self._ends[connection] = ends
        if ends < self._due:
            self._set(ends)

    def is_over(self, connection: OriginConnection) -> bool:
        """Tell whether it was cut."""
        return self._ends[connection] == -math.inf

    def end(self, connection: OriginConnection) -> bool:
        """Leave the connection alone from now on; tell whether it was cut."""
        return self._ends.pop(connection) == -math.inf

    def close(self) -> None:
        """Cut nothing any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _set(self, due: float) -> None:
        self.close()
        self._due, self._timer = due, self._loop.call_at(due, self._gone_off)

    def _gone_off(self) -> None:
        now, soonest = self._loop.time(), math.inf
        for connection, ends in self._ends.items():
            if ends > now:
                soonest = min(soonest, ends)
            elif ends != -math.inf:
                self._ends[connection] = -math.inf
                connection.abort()
        self._due, self._timer = math.inf, None
        if soonest != math.inf:
            self._set(soonest)


async def _read(content: StreamReader) -> bytes:
    body = bytearray()
    while chunk := await content.readany():
        body += chunk
        if len(body) > MAX_ANSWER or content.total_raw_bytes > MAX_ANSWER:
            raise _too_large()
    return bytes(body)


def _broken(error: ActivityAway | ClientPayloadError) -> AttemptFailed:
    if isinstance(error, ClientPayloadError):
        return _failed(FailureKind.CONTRACT, "the answer was cut short")
    if error.reason == "malformed":
        return _failed(FailureKind.CONTRACT, "the answer is no HTTP")
    return _failed(FailureKind.UNREACHABLE, "the connection broke", sent=error.sent)


def _late(*, sent: bool) -> AttemptFailed:
    return _failed(FailureKind.TIMEOUT, "no answer in time", sent=sent)


def _too_large() -> AttemptFailed:
    return _failed(FailureKind.CONTRACT, "the answer is too large")


def _failed(kind: FailureKind, detail: str, *, sent: bool = True) -> AttemptFailed:
    return AttemptFailed(Failure("gateway", kind, detail), sent=sent)
