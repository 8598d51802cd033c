"""Everything that is not a rewritten route: to the Activity server and back, streamed, to the byte."""

import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum, auto

import aiohttp
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.helpers import rfc822_formatted_time
from yarl import URL

from proxy.errors import ActivityAway, AwayReason
from proxy.headers import (
    Field,
    Hop,
    Network,
    as_text,
    end_to_end,
    forwarded_headers,
    is_websocket_upgrade,
)

Splice = Callable[[web.BaseRequest, aiohttp.ClientResponse], Awaitable[web.StreamResponse]]
"""Takes over both connections after a 101, and returns when they are over."""

_RST_ON_CLOSE = struct.pack("ii", 1, 0)
"""`struct linger`: on, 0 seconds."""


class _PlainRequest(aiohttp.ClientRequest):
    def update_body_from_data(self, body: object, _stacklevel: int = 3) -> None:
        if body is not None:  # else it invents a Content-Length
            super().update_body_from_data(body, _stacklevel)


def activity_session(
    *, connect_timeout: float = 5.0, response_header_limit: int = 65536
) -> aiohttp.ClientSession:
    """Return a session that adds nothing to what it is told to send, and takes nothing from what comes.

    Args:
        connect_timeout: Seconds that making a connection may take, name look-up included. There is no
            other time limit: streams may last.
        response_header_limit: Bytes that one line of a response's head may have.
    """
    session = aiohttp.ClientSession(
        # Node closes idle connections after 5 s: this side is to be the first.
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=4.0),
        request_class=_PlainRequest,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        timeout=aiohttp.ClientTimeout(total=None, connect=connect_timeout),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        read_bufsize=65536,
        max_line_size=response_header_limit,
        max_field_size=response_header_limit,
    )
    # Its silent repeats cover PUT and DELETE too, and there is no public switch.
    session._retry_connection = False  # noqa: SLF001
    return session


class Framing(Enum):
    """How the client learns where an answer's body ends (RFC 9112 section 6.3)."""

    LENGTH = auto()  # by Content-Length, or because there can be no body
    CHUNKED = auto()
    CLOSE = auto()  # by the end of the connection: all that HTTP/1.0 has for an unknown length


class RelayedResponse(web.StreamResponse):
    """An answer whose head is the Activity server's own, byte for byte, and not aiohttp's idea of it.

    `truncated` tells that the Activity server's answer broke off, and the client's with it. `body_length`
    counts the head too, as it does for any answer of aiohttp's.
    """

    def __init__(self, status: int, reason: str, fields: list[Field], framing: Framing) -> None:
        super().__init__(status=status, reason=reason)
        self._fields = fields
        self._framing = framing
        self.truncated = False

    async def _start(self, request: web.BaseRequest) -> AbstractStreamWriter:
        writer = self._begin(request)
        await writer.write(self._head(request))
        if self._framing is Framing.CHUNKED:
            writer.enable_chunking()
        return writer

    async def send(self, request: web.BaseRequest, body: bytes) -> None:
        """Send the head and a complete body in one piece."""
        head = self._head(request)
        if self._framing is Framing.CHUNKED:
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            body = chunk + b"0\r\n\r\n"
        await self._begin(request).write(head + body)

    def cut(self, request: web.BaseRequest) -> None:
        """Break the client's connection, so that it cannot take what it has got for the whole."""
        self.truncated = True
        self.force_close()  # and that before an end of the body was sent
        self._eof_sent = True
        self._body_length = request.writer.output_size
        transport = request.transport
        if self._framing is Framing.CLOSE and transport is not None:
            # An orderly end of the connection would be the end of the body.
            tcp = transport.get_extra_info("socket")
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)
            transport.abort()

    def _begin(self, request: web.BaseRequest) -> AbstractStreamWriter:
        self._req = request
        self._keep_alive = request.keep_alive and self._framing is not Framing.CLOSE
        self._payload_writer = request.writer
        return request.writer

    def _head(self, request: web.BaseRequest) -> bytes:
        reason = self.reason.encode(errors="surrogateescape")
        lines = [b"HTTP/1.1 %d %b" % (self.status, reason)]
        lines += [name + b": " + value for name, value in self._fields]
        if not any(name.lower() == b"date" for name, _ in self._fields):
            lines.append(b"Date: " + rfc822_formatted_time().encode())  # RFC 9110 section 6.6.1
        if self._framing is Framing.CHUNKED:
            lines.append(b"Transfer-Encoding: chunked")
        if self._framing is Framing.CLOSE or not request.keep_alive:
            lines.append(b"Connection: close")
        elif request.version < aiohttp.HttpVersion11:
            lines.append(b"Connection: keep-alive")
        return b"\r\n".join([*lines, b"", b""])


@dataclass(frozen=True, slots=True)
class PassThrough:
    """Sends a request on to the Activity server and its answer back.

    `origin` is scheme, host and port. `splice` gets the two connections of an upgrade that the Activity
    server accepted. `trusted` are the networks whose `X-Forwarded-*` are believed.

    Raises `ActivityAway` as long as nothing was sent to the client, `MalformedBody` when the client's body is
    what broke, and a `ConnectionError` or a cancellation when the client leaves; the Activity server's
    connection is closed then. `request.writer.output_size` tells how many bytes the client was sent.
    """

    origin: URL
    session: aiohttp.ClientSession = field(repr=False)
    splice: Splice
    trusted: tuple[Network, ...] = ()

    async def __call__(self, request: web.BaseRequest, target: str) -> web.StreamResponse:
        """Answer with what the Activity server says to `target`: path and query, sent as they are."""
        upgrade = _may_upgrade(request)
        upstream = await self._ask(request, target, upgrade=upgrade)
        try:
            if upstream.status != 101:
                return await _relay(request, upstream)
            if not upgrade:
                raise ActivityAway("malformed")
            return await self.splice(request, upstream)
        finally:
            upstream.close()

    async def _ask(self, request: web.BaseRequest, target: str, *, upgrade: bool) -> aiohttp.ClientResponse:
        headers = self._headers(request, upgrade=upgrade)
        content = request.content
        body: bytes | aiohttp.StreamReader | None = None
        if request.body_exists:
            body = content.read_nowait() if content.is_eof() else content
        chunked = body is not None and "content-length" not in request.headers
        # As a path the query goes through too: yarl would drop the mark of an empty one.
        url = self.origin.with_path(target, encoded=True)
        repeatable = body is None and request.method in ("GET", "HEAD")
        while True:
            try:
                return await self.session.request(
                    request.method,
                    url,
                    headers=headers,
                    data=body,
                    chunked=chunked or None,
                    allow_redirects=False,
                )
            except (aiohttp.ClientError, OSError) as error:
                if (broken := content.exception()) is not None:
                    raise broken from error
                reason = _reason(error)
                if not repeatable or reason != "reset":
                    raise ActivityAway(reason) from error
                # The Activity server may have closed a kept connection just as it was used again.
                repeatable = False

    def _headers(self, request: web.BaseRequest, *, upgrade: bool) -> list[tuple[str, str]]:
        hop = Hop(
            peer=request.remote,
            scheme=request.scheme,
            host=request.headers.get("Host"),
            version=f"{request.version.major}.{request.version.minor}",
        )
        fields = forwarded_headers(end_to_end(request.raw_headers), hop, self.trusted)
        # The listener has answered it, and a server that ignores it would stall.
        fields = [
            (name, value)
            for name, value in fields
            if name.lower() != b"expect" or value.lower() != b"100-continue"
        ]
        if upgrade:
            fields += [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]
        return as_text(fields)


async def _relay(request: web.BaseRequest, upstream: aiohttp.ClientResponse) -> web.StreamResponse:
    response = _response_to(request, upstream)
    content = upstream.content
    if content.is_eof():
        await response.send(request, content.read_nowait())
    else:
        protocol = upstream.connection.protocol if upstream.connection else None
        await response.prepare(request)
        while True:
            try:
                chunk = await content.readany()
            except (aiohttp.ClientError, OSError):
                response.cut(request)
                return response
            if not chunk:
                break
            await response.write(chunk)
        if protocol is not None and isinstance(protocol.exception(), aiohttp.ClientOSError):
            # aiohttp takes a reset for the end of a body that ends with its connection.
            response.cut(request)
    await response.write_eof()
    return response


def _response_to(request: web.BaseRequest, upstream: aiohttp.ClientResponse) -> RelayedResponse:
    codings = upstream.headers.getall("Transfer-Encoding", ())
    if upstream.status < 200 or (codings and ",".join(codings).lower() != "chunked"):
        raise ActivityAway("malformed")
    fields = end_to_end(upstream.raw_headers)
    if upstream.status == 204:
        fields = [field for field in fields if field[0].lower() != b"content-length"]
    framing = _framing(request, upstream.status, fields)
    return RelayedResponse(upstream.status, upstream.reason or "", fields, framing)


def _framing(request: web.BaseRequest, status: int, fields: list[Field]) -> Framing:
    if request.method == "HEAD" or status in (204, 304):
        return Framing.LENGTH
    if any(name.lower() == b"content-length" for name, _ in fields):
        return Framing.LENGTH
    return Framing.CHUNKED if request.version >= aiohttp.HttpVersion11 else Framing.CLOSE


def _may_upgrade(request: web.BaseRequest) -> bool:
    return (
        request.method == "GET"
        and request.version >= aiohttp.HttpVersion11
        and not request.body_exists
        and is_websocket_upgrade(request.headers)
    )


def _reason(error: Exception) -> AwayReason:
    match error:
        case TimeoutError():
            return "timeout"
        case aiohttp.ClientConnectorDNSError():
            return "dns"
        case aiohttp.ClientSSLError():
            return "tls"
        case aiohttp.ClientConnectorError():
            return "refused"
        case aiohttp.ClientResponseError():
            return "malformed"
        case _:
            return "reset"
