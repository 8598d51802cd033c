"""Everything that is not a rewritten route: to the Activity server and back, streamed, to the byte."""

import socket
import struct
from collections.abc import Awaitable, Callable

import aiohttp
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawResponseMessage

from proxy.errors import ActivityAway
from proxy.exchange import OriginRequest, OriginResponse
from proxy.frozen import frozen
from proxy.headers import Field, Hop, Network, is_websocket_upgrade
from proxy.heads import Framing, answer_fields, answer_head, as_chunks, request_fields, request_line
from proxy.origin import Origin

Splice = Callable[[web.BaseRequest, OriginResponse], Awaitable[web.StreamResponse]]
"""Takes over both connections after a 101, and returns when they are over."""

_VERSIONS = {aiohttp.HttpVersion10: "1.0", aiohttp.HttpVersion11: "1.1"}

_RST_ON_CLOSE = struct.pack("ii", 1, 0)
"""`struct linger`: on, 0 seconds."""


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
        """Send the head and a complete body in one piece, and be done."""
        writer = self._begin(request)
        head = self._head(request)
        await writer.write(head + (as_chunks(body) if self._framing is Framing.CHUNKED else body))
        await writer.drain()
        self._eof_sent = True
        self._body_length = writer.output_size

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
        connection = b"" if self._keep_alive else b"close"
        if self._keep_alive and request.version < aiohttp.HttpVersion11:
            connection = b"keep-alive"
        return answer_head(self.status, self.reason, self._fields, self._framing, connection)


@frozen
class PassThrough:
    """Sends a request on to the Activity server and its answer back.

    `splice` gets the two connections of an upgrade that the Activity server accepted. `trusted` are the
    networks whose `X-Forwarded-*` are believed.

    Raises `ActivityAway` as long as nothing was sent to the client, `MalformedBody` when the client's body is
    what broke, and a `ConnectionError` or a cancellation when the client leaves; the Activity server's
    connection is closed then. `request.writer.output_size` tells how many bytes the client was sent.
    """

    origin: Origin
    splice: Splice
    trusted: tuple[Network, ...] = ()

    async def __call__(self, request: web.BaseRequest, target: str) -> web.StreamResponse:
        """Answer with what the Activity server says to `target`: path and query, sent as they are."""
        upgrade = _may_upgrade(request)
        wanted = self._request(request, target, upgrade=upgrade)
        return await self._answer(request, await self._ask(request, wanted, self.origin.ask(wanted)), upgrade)

    async def resume(
        self, request: web.BaseRequest, wanted: OriginRequest, asked: Awaitable[OriginResponse]
    ) -> web.StreamResponse:
        """Answer with what the Activity server says to what it has been asked, `wanted`; else as above."""
        return await self._answer(request, await self._ask(request, wanted, asked), upgrade=False)

    async def _answer(
        self, request: web.BaseRequest, upstream: OriginResponse, upgrade: bool
    ) -> web.StreamResponse:
        try:
            if upstream.message.code != 101:
                return await _relay(request, upstream)
            if not upgrade:
                raise ActivityAway("malformed")
            return await self.splice(request, upstream)
        finally:
            self.origin.release(upstream.connection)

    async def _ask(
        self, request: web.BaseRequest, wanted: OriginRequest, asked: Awaitable[OriginResponse]
    ) -> OriginResponse:
        repeatable = request.method in ("GET", "HEAD") and not request.body_exists
        while True:
            try:
                return await asked
            except ActivityAway as away:
                if (broken := request.content.exception()) is not None:
                    raise broken from away
                if not repeatable or away.reason != "reset":
                    raise
                # The Activity server may have closed a kept connection just as it was used again.
                repeatable = False
                asked = self.origin.ask(wanted)

    def _request(self, request: web.BaseRequest, target: str, *, upgrade: bool) -> OriginRequest:
        headers = request.headers
        hop = Hop(request.remote, request.scheme, headers.get("Host"), _VERSIONS[request.version])
        fields = request.raw_headers
        if "Expect" in headers:
            # The listener has answered it, and a server that ignores it would stall.
            fields = tuple(field for field in fields if not _expects_100(*field))
        lines = [
            request_line(request.method, target),
            *request_fields(fields, hop, self.trusted, self.origin.authority),
        ]
        if upgrade:
            lines += [b"Connection: Upgrade", b"Upgrade: websocket"]
        body = request.content if request.body_exists else None
        chunked = body is not None and "Content-Length" not in headers
        if chunked:
            lines.append(b"Transfer-Encoding: chunked")
        sent = b"\r\n".join([*lines, b"", b""])
        if body is not None and body.is_eof():
            whole = body.read_nowait()
            sent += as_chunks(whole) if chunked else whole
            body = None
        return OriginRequest(sent, body, chunked, request.method == "HEAD")


async def _relay(request: web.BaseRequest, upstream: OriginResponse) -> web.StreamResponse:
    response = _response_to(request, upstream.message)
    content = upstream.content
    if content.is_eof():
        await response.send(request, content.read_nowait())
        return response
    await response.prepare(request)
    while True:
        try:
            part = await content.readany()
        except aiohttp.ClientPayloadError:
            response.cut(request)
            return response
        if not part:
            break
        await response.write(part)
    await response.write_eof()
    return response


def _response_to(request: web.BaseRequest, message: RawResponseMessage) -> RelayedResponse:
    fields, framing = answer_fields(message, request.method, request.version)
    return RelayedResponse(message.code, message.reason or "", fields, framing)


def _expects_100(name: bytes, value: bytes) -> bool:
    return name.lower() == b"expect" and value.lower() == b"100-continue"


def _may_upgrade(request: web.BaseRequest) -> bool:
    return (
        is_websocket_upgrade(request.headers)
        and request.method == "GET"
        and request.version >= aiohttp.HttpVersion11
        and not request.body_exists
    )
