"""The listeners' HTTP server: aiohttp's low-level one, without its manners.

Malformed requests get a short JSON error that echoes nothing of them, and one log line without a byte of
them; no answer says what software made it.
"""

import asyncio
import logging
import ssl
from asyncio import Task
from collections.abc import Callable
from contextlib import suppress
from typing import cast

from aiohttp import HttpVersion10, HttpVersion11, StreamReader, http_parser, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage
from yarl import URL

from proxy.ahead import AtOnce, Heads
from proxy.bounds import Bounds
from proxy.clock import Clock
from proxy.connection import Begin, ClientConnection, Handler, ServerRequest, TurnedAway
from proxy.events import ListenerName, Observe
from proxy.frozen import frozen
from proxy.handshake import Handshake, UnderWay
from proxy.headers import sound_host
from proxy.refusal import (
    CODING,
    CROWDED,
    HEADER_TIMEOUT,
    MALFORMED,
    METHOD,
    VERSION,
    NewRequestId,
    Refuse,
)

AT_ONCE = 0.01
"""Seconds that aiohttp waits, twice, before it cuts a connection; to it no time is time without end."""
SWEEP = 1.0
"""Seconds between two looks at all connections, so that a request needs no timer of its own."""
TURNED_AWAY = 100
"""Connections beyond the limit that may wait for their answer; further ones get none."""
CUTTING = 0.5
"""Seconds, at most, that cancelled handlers have to clean up in."""
# A tunnel to anywhere, and an echo of what a browser hides from scripts (RFC 9110 section 9.3).
_NOT_SERVED = frozenset({"CONNECT", "TRACE"})
_NO_URL = URL("/")
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def public_server(
    handler: Handler,
    *,
    bounds: Bounds,
    at_once: AtOnce | None = None,
    beginning: Begin | None = None,
    new_request_id: NewRequestId,
    logger: logging.Logger,
    clock: Clock,
    observe: Observe,
    listener: ListenerName = "public",
    keepalive_timeout: float = 75.0,
) -> "HttpServer":
    """Return the server for `loop.create_server`; it answers what is HTTP/1.x with `handler`.

    A handler is cancelled when its client leaves. `Expect: 100-continue` is answered before it is called.

    Args:
        handler: Answers requests; its exceptions become a 500 and are logged.
        bounds: What a client may send, and how long it may take.
        at_once: Asked first, for requests without a body that nothing is before; must not raise.
        beginning: Asked next, for those that nothing is behind either; must not raise. `handler` has to ask
            `proxy.connection.begun` for what was begun.
        new_request_id: Makes the id of an error that is answered without the handler.
        logger: Gets one line for each malformed request.
        clock: Times the refusals.
        observe: Told of the requests that are refused without the handler; the handler tells of its own.
        listener: What the events call this listener.
        keepalive_timeout: Seconds that an idle connection is kept, longer than those before us keep it.
    """
    refuse = Refuse(listener, new_request_id, clock, observe)
    return HttpServer(handler, at_once, beginning, bounds, refuse, logger, keepalive_timeout)


def c_parser_in_use() -> bool:
    """Tell whether aiohttp parses HTTP in C; its parser in Python is not to face a network."""
    return (
        http_parser.HttpRequestParser is not http_parser.HttpRequestParserPy
        and http_parser.HttpResponseParser is not http_parser.HttpResponseParserPy
    )


@frozen
class _Admission:
    """Turns away what the proxy could not pass on faithfully, and answers `Expect`."""

    handler: Handler
    refuse: Refuse

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        if not cast("ServerRequest", request).version_known:
            return await self.refuse(request, VERSION, request.raw_path)
        if request.method in _NOT_SERVED:
            return await self.refuse(request, METHOD, request.raw_path)
        headers = request.headers
        if not sound_host(headers.get("Host", "")):
            return await self.refuse(request, MALFORMED, request.raw_path)
        if request.version < HttpVersion11 and "Transfer-Encoding" in headers:
            # Faulty framing (RFC 9112 section 6.1): a proxy of HTTP/1.0 before this one did not see the end.
            return await self.refuse(request, MALFORMED, request.raw_path)
        if headers.get("Transfer-Encoding", "chunked").lower() != "chunked":
            return await self.refuse(request, CODING, request.raw_path)
        if headers.get("Expect", "").lower() == "100-continue" and request.version >= HttpVersion11:
            await request.writer.write(_CONTINUE)
            request.writer.output_size = 0  # the answer proper has not begun
        return await self.handler(request)


class HttpServer(web.Server):
    """A server for `loop.create_server`, which `public_server` makes.

    While `stopping`, every answer ends its connection.
    """

    def __init__(
        self,
        handler: Handler,
        at_once: AtOnce | None,
        beginning: Begin | None,
        bounds: Bounds,
        refuse: Refuse,
        logger: logging.Logger,
        keepalive_timeout: float,
    ) -> None:
        super().__init__(
            _Admission(handler, refuse), request_factory=self._request, handler_cancellation=True
        )
        self.at_once = at_once
        self.heads = Heads()
        self.beginning = beginning
        self.refuse = refuse
        self.stopping = False
        self.running = 0
        """Requests under way, WebSockets included."""
        self.bounds = bounds
        self.now = refuse.clock.monotonic()
        """The time of the last sweep."""
        self.turned_away: dict[asyncio.Transport, float] = {}
        """Connections over the limit, and since when."""
        self.handshakes: UnderWay = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self._logger = logger
        self._keepalive_timeout = keepalive_timeout

    @property
    def full(self) -> bool:
        """Whether there are as many connections as there may be."""
        return len(self._connections) + len(self.handshakes) >= self.bounds.connections

    def over_tls(self, context: ssl.SSLContext) -> Callable[[], Handshake]:
        """Return what to give to `loop.create_server` instead, for connections over TLS.

        A handshake is part of what comes before a request's head, and has its time.
        """
        timeout = self.bounds.header_timeout

        def late() -> None:
            self.refuse.limited(HEADER_TIMEOUT)

        return lambda: Handshake(self(), context, timeout, self.handshakes, self._has_room, late)

    def _has_room(self) -> bool:
        """Tell whether a handshake may begin: some beyond the limit may, to hear why they are turned away."""
        taken = len(self._connections) + len(self.handshakes) + len(self.turned_away)
        if taken < self.bounds.connections + TURNED_AWAY:
            return True
        self.refuse.limited(CROWDED)
        return False

    def begin(self) -> None:
        """Count a request that is under way from now on."""
        self.running += 1
        self._idle.clear()

    def end(self) -> None:
        """Count a request that is under way no more."""
        self.running -= 1
        if not self.running:
            self._idle.set()

    def close_idle(self) -> None:
        """Close the connections on which no request is under way."""
        for transport in [*self.handshakes.values()]:
            transport.abort()
        for connection in self.connections:
            cast("ClientConnection", connection).close_idle()

    def turn_away(self, transport: asyncio.Transport) -> None:
        """Refuse a connection because there are as many as there may be."""
        if len(self.turned_away) < TURNED_AWAY:
            self.turned_away[transport] = self.now
            transport.set_protocol(TurnedAway(self, transport))
        else:
            self.refuse.limited(CROWDED)
            transport.set_protocol(asyncio.Protocol())
            transport.abort()

    async def run(self) -> None:
        """End connections whose clients keep them waiting for too long, until cancelled."""
        while True:
            await self.refuse.clock.sleep(SWEEP)
            self.sweep()

    def sweep(self) -> None:
        """Look at all connections once."""
        now = self.now = self.refuse.clock.monotonic()
        for connection, transport in [*self._connections.items()]:
            cast("ClientConnection", connection).sweep(transport, now)
        for transport, since in [*self.turned_away.items()]:
            if now - since > SWEEP:
                self.refuse.limited(CROWDED)
                transport.abort()

    async def idle(self, patience: float) -> None:
        """Wait until no request is under way, but no longer than `patience` seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._idle.wait()

    async def cut(self) -> None:
        """Close all connections, whatever is under way, and wait until their handlers have ended."""
        for transport in [*self.turned_away, *self.handshakes.values()]:
            transport.abort()
        await self.shutdown(AT_ONCE)
        await self.idle(CUTTING)

    def __call__(self) -> web.RequestHandler:
        """Return the protocol of a new connection."""
        # Unlike aiohttp's own, this does not fall back to defaults when a setting is wrong.
        connection = ClientConnection(
            self,
            loop=self._loop,
            auto_decompress=False,
            access_log=None,  # type: ignore[arg-type]  # it tests for None, but does not say so
            logger=self._logger,
            keepalive_timeout=self._keepalive_timeout,
            read_bufsize=65536,
            max_line_size=self.bounds.target,
            max_field_size=self.bounds.field,
            max_headers=self.bounds.headers,
        )
        connection.server = self
        return connection

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: Task[None],
    ) -> web.BaseRequest:
        known = HttpVersion10 <= message.version <= HttpVersion11
        if not known:  # or the refusal would claim to be in it
            message = message._replace(version=HttpVersion11)  # as of a named tuple
        if message.path is None:  # `CONNECT` and two blanks, on which the connection's task would die
            message = message._replace(path="", url=_NO_URL)  # type: ignore[unreachable]  # so it is said
        request = ServerRequest(message, payload, protocol, writer, task, self._loop)
        request.version_known = known
        return request
