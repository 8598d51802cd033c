"""Plain requests that pass through, begun and ended within the calls that bring their bytes.

Most of what passes through asks for something small, of a server beside us that answers at once. Such a
request is sent on within the call that brings it, if a connection to the Activity server is at hand, and its
answer is sent within the call that brings that, if it is whole by then. No task, no future, no request
object, and nothing that differs in what either side sees. Whatever turns out otherwise, the listener takes
over, with what has been asked (`ClientConnection.hand_over`); it alone knows how to stream, to wait for a
slow client, to tell of a failure.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple, cast

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.http import RawRequestMessage
from multidict import CIMultiDictProxy

from proxy.ahead import LARGEST, shows_who
from proxy.clock import Clock
from proxy.connection import ClientConnection
from proxy.errors import ActivityAway
from proxy.events import Observe, RequestEnded, RequestStarted
from proxy.exchange import OriginConnection, OriginRequest, OriginResponse
from proxy.frozen import frozen
from proxy.headers import Field, Hop, Network
from proxy.heads import Framing, answer_fields, answer_head, as_chunks, request_fields
from proxy.origin import Origin
from proxy.refusal import CLIENT_LEFT
from proxy.request_id import RequestIds
from proxy.target import PASS

_HEAVY = 4096
"""Bytes of header fields from which on they are not remembered."""
_FINAL = 200
_STARTED = RequestStarted("public")
_ASKS_MORE = (hdrs.VIA, hdrs.UPGRADE, hdrs.EXPECT, hdrs.TRANSFER_ENCODING)
"""Fields that want to be looked into by the listener, or by the server."""

Resume = Callable[[web.BaseRequest, OriginRequest, Awaitable[OriginResponse]], Awaitable[web.StreamResponse]]
"""Passes a request through for which that has been asked, and that answer is awaited."""


class _Fields(NamedTuple):
    """Header fields, and what comes of them: whether that can be relayed, for whom, and as which fields.

    Most requests on a connection have those of the one before.
    """

    fields: Sequence[Field]
    plain: bool
    client: str
    sent: bytes


@frozen
class Relay:
    """Begins what can be relayed at once, with the very parts that the listener has.

    `resume` goes on with what is handed over. `client` is the address for a peer and its request's fields;
    `admit` has words for the address of a client that asks too often.
    """

    origin: Origin
    resume: Resume
    trusted: Sequence[Network]
    client: Callable[[str | None, CIMultiDictProxy[str]], str]
    request_ids: RequestIds
    clock: Clock
    observe: Observe
    admit: Callable[[str], Mapping[str, str] | None] | None = None

    def __call__(
        self, request: RawRequestMessage, connection: ClientConnection, line: bytes
    ) -> "Relayed | None":
        """Begin a `GET` in HTTP/1.1, to be sent with that first line; or leave it alone and return None.

        Never waits.
        """
        origin = self.origin
        if not origin.idle:
            return None
        known = connection.memory
        if not isinstance(known, _Fields) or known.fields != request.raw_headers:
            known = self._read(request, connection)
            connection.memory = known if len(known.sent) <= _HEAVY else None
        if not known.plain:
            return None
        upstream = origin.at_hand()
        if upstream is None:
            return None
        if self.admit is not None and (shows_who(request) or self.admit(known.client) is not None):
            origin.put_back(upstream)
            return None
        start = self.clock.monotonic()
        request_id = self.request_ids.of(request.headers.get("X-Request-Id"))
        self.observe(_STARTED)
        wanted = OriginRequest(line + known.sent)
        begun = Relayed(self, connection, upstream, request, wanted, known.client, request_id, start)
        upstream.send(wanted, begun.answered)
        return begun

    def _read(self, request: RawRequestMessage, connection: ClientConnection) -> _Fields:
        headers, fields = request.headers, request.raw_headers
        peer = connection.peer
        hop = Hop(peer, connection.scheme, headers.get(hdrs.HOST), "1.1")
        lines = request_fields(fields, hop, self.trusted, self.origin.authority)
        plain = not request.should_close and not any(name in headers for name in _ASKS_MORE)
        return _Fields(fields, plain, self.client(peer, headers), b"\r\n".join([*lines, b"", b""]))


class Relayed:
    """A request that was begun. `start` is when, by the clock."""

    __slots__ = (
        "_answer",
        "_awaited",
        "_client",
        "_connection",
        "_relay",
        "_upstream",
        "_wanted",
        "message",
        "request_id",
        "start",
    )

    def __init__(
        self,
        relay: Relay,
        connection: ClientConnection,
        upstream: OriginConnection,
        message: RawRequestMessage,
        wanted: OriginRequest,
        client: str,
        request_id: str,
        start: float,
    ) -> None:
        self.message = message
        self.request_id = request_id
        self.start = start
        self._relay = relay
        self._connection = connection
        self._upstream = upstream
        self._wanted = wanted
        self._client = client
        self._answer: OriginResponse | ActivityAway | None = None
        self._awaited: asyncio.Future[None] | None = None

    def answered(self, answer: OriginResponse | ActivityAway) -> None:
        """Send the answer on, if it is whole and the client takes it; else let the listener do so."""
        self._answer = answer
        awaited = self._awaited
        if awaited is not None:
            if not awaited.done():
                awaited.set_result(None)
        elif isinstance(answer, ActivityAway) or not self._send(answer):
            self._connection.hand_over()

    def leave(self) -> None:
        """Give up, as the client has left before an answer."""
        self._relay.origin.release(self._upstream)
        self._ended(CLIENT_LEFT, "error", 0)

    async def go_on(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer the request, which the listener has taken over. Raises what a pass-through raises."""
        return await self._relay.resume(request, self._wanted, self._come())

    async def _come(self) -> OriginResponse:
        origin = self._relay.origin
        if self._answer is None:
            self._awaited = asyncio.get_running_loop().create_future()
            try:
                await self._awaited
            except asyncio.CancelledError:
                origin.release(self._upstream)
                raise
        if isinstance(self._answer, ActivityAway):
            origin.forsake(self._upstream)
            raise self._answer
        return cast("OriginResponse", self._answer)  # for nothing else wakes it

    def _send(self, answer: OriginResponse) -> bool:
        message, content, upstream = answer
        connection = self._connection
        if (
            not content.is_eof()
            or content.total_bytes > LARGEST
            or message.code < _FINAL
            or not connection.takes()
        ):
            return False
        try:
            fields, framing = answer_fields(message, hdrs.METH_GET, HttpVersion11)
        except ActivityAway:
            return False
        head = answer_head(message.code, message.reason or "", fields, framing)
        body = content.read_nowait()
        sent = head + (as_chunks(body) if framing is Framing.CHUNKED else body)
        connection.finish(sent)
        self._relay.origin.release(upstream)
        self._ended(message.code, "activity", len(sent))
        return True

    def _ended(self, status: int, source: str, sent: int) -> None:
        relay = self._relay
        relay.observe(
            RequestEnded(
                listener="public",
                route=PASS,
                method=hdrs.METH_GET,
                status=status,
                source=source,
                seconds=relay.clock.monotonic() - self.start,
                request_id=self.request_id,
                target=self.message.path,
                client=self._client,
                bytes_sent=sent,
            )
        )
