"""A client's connection to a listener: what comes of its bytes, and how long it may keep us waiting.

aiohttp's own, less its manners: an error echoes nothing of the request, a slow client is cut off, and
nobody learns what software this is.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from itertools import islice
from typing import Protocol, cast

from aiohttp import StreamReader, web
from aiohttp.http import SERVER_SOFTWARE, HttpRequestParser, RawRequestMessage
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import _ErrInfo

from proxy.ahead import Ahead, AtOnce, Begun, Heads
from proxy.bounds import Bounds, Outflow, head_size
from proxy.errors import MalformedBody
from proxy.events import Limited
from proxy.handshake import UnderWay
from proxy.refusal import CROWDED, HEADER_TIMEOUT, HeadTooLarge, Refuse, refusal_for

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

Begin = Callable[[RawRequestMessage, "ClientConnection"], Begun | None]
"""Begins a request without a body that came by that connection, or leaves it alone."""

_LAST_CHUNK = b"\r\n0\r\n\r\n"
"""How a body in chunks ends that has no trailer (RFC 9112 section 7.1), with the end of the line before."""

_REFUSED = 1 << 62
"""Stands for the size of a head that is refused already."""

_OF_THE_CLIENT = (HttpProcessingError, web.RequestPayloadError, ConnectionError, MalformedBody)


class Host(Protocol):
    """The server, as its connections know it: `now` is the time of its last look at them."""

    bounds: Bounds
    refuse: Refuse
    at_once: AtOnce | None
    heads: Heads
    beginning: Begin | None
    now: float
    stopping: bool
    turned_away: dict[asyncio.Transport, float]
    handshakes: UnderWay

    @property
    def full(self) -> bool:
        """Whether there are as many connections as there may be."""
        ...

    def turn_away(self, transport: asyncio.Transport) -> None:
        """Refuse a connection because there are as many as there may be."""
        ...

    def begin(self) -> None:
        """Count a request that is under way from now on."""
        ...

    def end(self) -> None:
        """Count a request that is under way no more."""
        ...


class ServerRequest(web.BaseRequest):
    """A request, which ends its connection while the server stops.

    `version_known` tells whether it is one of HTTP/1.x.
    """

    version_known = True

    @property
    def keep_alive(self) -> bool:
        """Whether another request may follow."""
        connection = cast("ClientConnection", self.protocol)
        if self._message.chunked and not connection.ended_plainly(self.content):
            return False
        return super().keep_alive and not connection.server.stopping

    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        if response.headers.get("Server") == SERVER_SOFTWARE:
            del response.headers["Server"]


class TurnedAway(asyncio.Protocol):
    """A connection over the limit: what it asks is not read; once it has asked, it is told why."""

    def __init__(self, server: Host, transport: asyncio.Transport) -> None:
        self._server = server
        self._transport = transport

    def data_received(self, data: bytes) -> None:  # noqa: ARG002  (asyncio calls it by position)
        """Say why; part of asyncio's protocol."""
        # Closing amid what has not been received would reset the connection, and the answer with it.
        self._server.refuse.unread(self._transport, CROWDED)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Forget it; part of asyncio's protocol."""
        self._server.turned_away.pop(self._transport, None)


class ClientConnection(web.RequestHandler):
    """A connection that is served. `server` is whose it is, `peer` the client's address if it has one.

    aiohttp's task, which waits for the next request, knows nothing of one that was begun at once: whatever
    could come between that and its answer (more bytes, the end of the idle time, of the server) makes the
    task take it over first.
    """

    __slots__ = (
        "_ahead",
        "_begun",
        "_body",
        "_handed",
        "_head_limit",
        "_head_since",
        "_head_size",
        "_last_bytes",
        "_made_at",
        "_outflow",
        "memory",
        "peer",
        "scheme",
        "server",
    )

    server: Host
    peer: str | None
    scheme: str
    _ahead: Ahead | None
    _begun: Begun | None
    _handed: Begun | None
    memory: object
    """What `proxy.relay` remembers of the connection."""

    def waits(self) -> bool:
        """Tell whether nothing is under way, so that an answer may be sent at once, and will be taken."""
        waiter = self._waiter
        return (
            waiter is not None
            and not waiter.done()
            and self._begun is None
            and not self._messages
            and not self._paused
            and not self.server.stopping
        )

    def begin(self, request: RawRequestMessage) -> bool:
        """Begin a request, whose answer is still to come, or leave it and return false."""
        if self.server.beginning is None:
            return False
        self._begun = self.server.beginning(request, self)
        if self._begun is None:
            return False
        self._request_count += 1
        self.server.begin()
        return True

    def takes(self) -> bool:
        """Tell whether the answer to what was begun may be sent at once, and another request may follow."""
        transport = self.transport
        return (
            self._begun is not None  # else it was handed over
            and transport is not None
            and not transport.is_closing()
            and not self.server.stopping
        )

    def finish(self, answer: bytes) -> None:
        """Send the whole answer to what was begun, which is over then."""
        self._begun = None
        cast("HttpRequestParser", self._parser).message_consumed()
        cast("asyncio.Transport", self.transport).write(answer)
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        self.server.end()

    def ended_plainly(self, body: StreamReader) -> bool:
        """Tell whether a body in chunks is over, without a trailer, and nothing has come behind it.

        Of a trailer the parser makes a field of the next request, whosever that is where a proxy before this
        one sends several clients' requests by one connection.
        """
        return body.is_eof() and not self._messages and self._last_bytes == _LAST_CHUNK

    def hand_over(self) -> None:
        """Let the handler go on with what was begun, if anything: as if it had just come."""
        begun, self._begun = self._begun, None
        if begun is None:
            return
        self._handed = begun
        self._messages.append((begun.message, EMPTY_PAYLOAD))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def take_over(self) -> Begun | None:
        """Return what was begun for the request that is now handled; from then on it is the handler's."""
        begun, self._handed = self._handed, None
        return begun

    def send(self, parts: Iterable[bytes]) -> None:
        """Send a whole answer, after which the connection may be idle for its time again."""
        self._request_count += 1
        transport = self.transport
        if transport is not None:
            transport.write(b"".join(parts))
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, if there is room; part of asyncio's protocol."""
        server = self.server
        server.handshakes.pop(self, None)
        self._ahead = self._begun = self._handed = self.memory = None
        self._last_bytes = b""
        self._body: StreamReader | None = None
        """The body that was under way when a read ended."""
        self._head_size = 0
        """How many bytes of a head there are that had not ended when a read ended, if they are known."""
        self._head_limit = server.bounds.head
        if server.full:
            server.turn_away(cast("asyncio.Transport", transport))
            return
        self._made_at = server.now
        self._head_since: float | None = None
        self._outflow = Outflow()
        super().connection_made(transport)
        peername = self.peername
        self.peer = str(peername[0]) if isinstance(peername, tuple) else None
        self.scheme = "http" if self.ssl_context is None else "https"
        if server.at_once is not None or server.beginning is not None:
            parser = cast("HttpRequestParser", self._parser)
            self._ahead = Ahead(self, parser, server.at_once, server.heads)
            self._parser = cast("HttpRequestParser", self._ahead)

    def connection_lost(self, exc: BaseException | None) -> None:
        """End what was begun for a client that has left; part of asyncio's protocol."""
        begun = self._begun or self._handed
        self._ahead = self._begun = self._handed = None
        super().connection_lost(exc)
        if begun is not None:
            begun.leave()
            self.server.end()

    def sweep(self, transport: asyncio.Transport, now: float) -> None:
        """End the connection if its client keeps it waiting for too long."""
        bounds = self.server.bounds
        if self._outflow.stuck(transport, now) > bounds.send_timeout:
            self.server.refuse.observe(Limited("slow_reader"))
            transport.abort()
        elif transport.is_closing():
            return  # it has been cut, and what waits has its time
        elif self._head_since is not None:
            if now - self._head_since > bounds.header_timeout:
                self.server.refuse.unread(transport, HEADER_TIMEOUT)
                self.force_close()
        elif not self._request_count and now - self._made_at > bounds.header_timeout:
            self.server.refuse.limited(HEADER_TIMEOUT)
            self.force_close()  # nothing was asked, so nothing is answered

    def close_idle(self) -> None:
        """Close, unless there is a request under way."""
        self.hand_over()
        if self._waiter is not None and not self._waiter.done():  # or a request has just come
            self.force_close()

    async def _handle_request(
        self, request: web.BaseRequest, start_time: float | None, request_handler: Handler
    ) -> tuple[web.StreamResponse, bool]:
        if self._handed is None:  # else it is counted already
            self.server.begin()
        try:
            response, reset = await super()._handle_request(request, start_time, request_handler)
        finally:
            self.server.end()
        if self.server.stopping:
            response.force_close()  # its head may have gone out before
        return response, reset

    def _make_error_handler(self, err_info: _ErrInfo) -> Handler:
        async def refuse(request: web.BaseRequest) -> web.StreamResponse:
            self.log_exception("malformed request", exc_info=err_info.exc)
            # What target it has, nobody knows.
            refusal = refusal_for(err_info.status, err_info.exc, self.max_line_size)
            return await self.server.refuse(request, refusal, "")

        return refuse

    def data_received(self, data: bytes) -> None:
        """Take in what comes; part of asyncio's protocol."""
        if self._ahead is not None and self._ahead.again(data):
            return
        if self._begun is not None:
            self.hand_over()
        before, queued = self._request_count, len(self._messages)
        # Where all is small, no head can be too large. Without data, what the parser kept back is parsed.
        large = self._head_size + len(data) > self._head_limit or not data
        if not large:
            super().data_received(data)
        elif self._head_size >= _REFUSED:
            return
        else:
            self._take_aside(data)
        if self._waiter is None or self._waiter.done():
            size = len(_LAST_CHUNK)
            self._last_bytes = (self._last_bytes + data[-size:])[-size:]
        if self._request_count == before:
            self._count(data)
        else:
            self._head_since, self._head_size = None, 0
            body = self._messages[-1][1] if self._messages else EMPTY_PAYLOAD
            self._body = None if body.is_eof() else body
        if large:
            self._bound_heads(queued)
        request = self._current_request
        if request is not None and self._messages and not request.content.is_eof():
            # What is queued behind an unfinished body is the parser's complaint about it. aiohttp would
            # leave the handler waiting for the rest.
            broken = MalformedBody("the body's framing is broken")
            request.content.set_exception(broken)
            # Once more when its reader has run: woken by a chunk's end just before, it would wait for ever.
            self._loop.call_soon(request.content.set_exception, broken)

    def _take_aside(self, data: bytes) -> None:
        """Take in what is not to be answered at once."""
        ahead = self._ahead
        if ahead is not None:
            self._parser = ahead.aside()
        super().data_received(data)
        if ahead is not None:
            self._parser = cast("HttpRequestParser", ahead)

    def _count(self, data: bytes) -> None:
        """Count what came, and ended no head, towards a head, if it is part of one."""
        if self._messages:
            self._head_since = None
        elif self._head_since is None and self._waiter is not None and data:
            self._head_since = self.server.now
        if self._body is not None:
            if self._body.is_eof():
                self._body = None  # where in the data it ended is not known
        elif not self._upgraded:
            self._head_size += len(data)

    def _bound_heads(self, queued: int) -> None:
        """Refuse the first head behind so many queued ones that is too large, and all that is behind it."""
        for message, _ in islice(self._messages, queued, None):
            if not isinstance(message, _ErrInfo) and head_size(message) > self._head_limit:
                break
            queued += 1
        else:
            if self._head_size <= self._head_limit:
                return
        while len(self._messages) > queued:
            self._messages.pop()
        self._head_size = _REFUSED
        self._request_count += 1
        self._messages.append((_ErrInfo(status=431, exc=HeadTooLarge(), message=""), EMPTY_PAYLOAD))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _process_keepalive(self) -> None:
        self.hand_over()
        super()._process_keepalive()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002  (it quotes the request)
    ) -> web.StreamResponse:
        """Return the answer to a request on which the handler failed; part of aiohttp's protocol."""
        self.log_exception("request from %s failed", request.remote, exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun, so that no other can be given")
        return refusal_for(status, exc).response(self.server.refuse.new_request_id())

    def log_exception(self, *args: object, **kw: object) -> None:
        """Tell of an error in one line if it is the client's; part of aiohttp's protocol."""
        error = kw.get("exc_info")
        if isinstance(error, _OF_THE_CLIENT):
            # One line, and not the error's text: that quotes the request.
            self.logger.info("malformed or broken request: %s", type(error).__name__)
        else:
            super().log_exception(*args, **kw)


def begun(request: web.BaseRequest) -> Begun | None:
    """Return what was begun for a request, if anything, to whoever handles it from now on."""
    return cast("ClientConnection", request.protocol).take_over()
