"""WebSockets between client and Activity server: two connections joined byte for byte.

Nothing is unpacked, so subprotocols, extensions, fragments, pings, close codes and messages of any size
pass as they are. Only where one side goes away without a word does the tunnel say Close to the other.
"""

import asyncio
import os
from collections.abc import Callable
from typing import Any, cast

from aiohttp import web
from aiohttp.http import RawResponseMessage
from multidict import CIMultiDict

from proxy.errors import ActivityAway
from proxy.exchange import OriginResponse
from proxy.frames import Frames, close_frame, masked_close_frame
from proxy.headers import as_text, end_to_end

BROKEN_OFF = 1011
"""What one side is told when the other went without a Close frame (RFC 6455 section 7.4.1)."""

_Lost = Callable[[Exception | None], None]


class _End(asyncio.Protocol):
    """One end of a tunnel: what arrives here is sent at the other end, `far`.

    `make_close` makes a Close frame for this end's peer, `changed` is called when this end is over or gone,
    `lost` when its connection is.
    """

    __slots__ = (
        "_changed",
        "_farewell",
        "_lost",
        "far",
        "frames",
        "gone",
        "make_close",
        "muted",
        "over",
        "sent",
        "told",
        "transport",
    )

    far: "_End"

    def __init__(
        self,
        transport: asyncio.Transport,
        make_close: Callable[[int], bytes],
        changed: Callable[[], None],
        lost: _Lost,
    ) -> None:
        self.transport = transport
        self.sent = 0
        self.over = False
        """Nothing more arrives here."""
        self.gone = False
        """The connection is closed both ways."""
        self.frames = Frames()
        self.make_close = make_close
        self._changed = changed
        self._lost = lost
        self._farewell: int | None = None
        self.muted = False
        """What arrives here is not relayed any more."""
        self.told = False
        """This end's peer was told Close by the tunnel itself."""

    def send(self, data: bytes) -> None:
        """Send to this end's peer."""
        if not self.transport.is_closing():
            self.sent += len(data)
            self.transport.write(data)

    def part(self, code: int) -> None:
        """Say Close to the far peer when the present frame ends, and relay nothing after that."""
        if self.muted or self.frames.closed:
            return
        if self.frames.at_boundary:
            self._say_close(code)
        else:
            self._farewell = code

    def mute(self) -> None:
        """Relay nothing more from here, but read on, to see the end of it."""
        self._farewell = None
        self.muted = True
        self.transport.resume_reading()

    def finish(self) -> None:
        """Let this end's peer know that nothing more comes."""
        if self.over or not self.transport.can_write_eof():
            self.transport.close()
        elif not self.transport.is_closing():
            self.transport.write_eof()

    def data_received(self, data: bytes) -> None:
        """Relay; part of asyncio's protocol."""
        if self._farewell is not None:
            data = self._relay_last(data, self._farewell)
        far, frames = self.far, self.frames
        if not self.muted and not far.transport.is_closing():  # as `send` does, a call for each message less
            far.sent += len(data)
            far.transport.write(data)
        if frames.follow(data):
            if self.muted or self.told:
                self.transport.close()  # nobody waits for more
            self._changed()

    def _relay_last(self, data: bytes, code: int) -> bytes:
        """Relay the rest of the present frame, say Close behind it, and return what is left of the data."""
        end = self.frames.follow_frame(data)
        self.far.send(data[:end])
        if self.frames.closed:
            self.mute()
        elif self.frames.at_boundary:
            self._say_close(code)
        return data[end:]

    def pause_writing(self) -> None:
        """Hold the far end up: this end's peer reads too slowly."""
        self.far.transport.pause_reading()

    def resume_writing(self) -> None:
        """Let the far end go on."""
        self.far.transport.resume_reading()

    def eof_received(self) -> bool:
        """Pass on that this side will send no more; the other direction goes on where TCP allows it."""
        self._end()
        return self.transport.can_write_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        """Take leave of the far end."""
        self.gone = True
        if not self.over:
            self._end()
        self.far.mute()
        if self.far.frames.closed:
            self.far.transport.close()
        self._lost(exc)
        self._changed()

    def _say_close(self, code: int) -> None:
        self.far.send(self.far.make_close(code))
        self.far.told = True
        self.mute()

    def _end(self) -> None:
        self.over = True
        if self.frames.at_boundary or self.muted:
            if not self.frames.closed and not self.muted:
                self._say_close(BROKEN_OFF)
            self.far.finish()
        else:
            self.far.transport.close()  # amid a frame nothing can be said
        if self.far.over:
            self.transport.close()
        self._changed()


class _Tunnel:
    def __init__(
        self,
        client: asyncio.Transport,
        origin: asyncio.Transport,
        client_lost: _Lost,
        origin_lost: _Lost,
        new_key: Callable[[], bytes],
    ) -> None:
        self.ending = asyncio.Event()
        self.ended = asyncio.Event()
        self.client = _End(client, close_frame, self._look, client_lost)
        self.origin = _End(origin, lambda code: masked_close_frame(code, new_key()), self._look, origin_lost)
        self.client.far, self.origin.far = self.origin, self.client

    def join(self, from_client: bytes, from_origin: bytes) -> None:
        """Take both connections over, and relay what had arrived before."""
        self.client.transport.set_protocol(self.client)
        self.origin.transport.set_protocol(self.origin)
        self.client.data_received(from_client)
        self.origin.data_received(from_origin)

    def part(self, code: int) -> None:
        """Say Close both ways."""
        self.client.part(code)
        self.origin.part(code)

    def abort(self) -> None:
        """Cut both connections."""
        self.client.transport.abort()
        self.origin.transport.abort()

    async def run(self, linger: float) -> None:
        """Wait for the end, and no longer than `linger` seconds when one direction has ended."""
        await self.ending.wait()
        try:
            async with asyncio.timeout(linger):
                await self.ended.wait()
        except TimeoutError:
            self.abort()
            await self.ended.wait()

    def _look(self) -> None:
        ends = (self.client, self.origin)
        if any(end.over for end in ends) or all(end.frames.closed for end in ends):
            self.ending.set()
        if all(end.gone for end in ends):
            self.ended.set()


class _Early:
    """Takes what arrived behind a handshake from aiohttp's protocol, which hands it to a parser."""

    def __init__(self) -> None:
        self.data = b""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.data += data
        return False, b""

    def feed_eof(self) -> None:
        """Nothing: a tunnel's ends see for themselves."""


class Tunnels:
    """Makes tunnels, and knows those that are open.

    `linger` is how many seconds a connection is kept after its other side has ended, for the rest of what is
    under way. `entropy` gives random bytes, for the masks of frames.
    """

    def __init__(self, *, linger: float = 30.0, entropy: Callable[[int], bytes] = os.urandom) -> None:
        self._linger = linger
        self._entropy = entropy
        self._open: set[_Tunnel] = set()
        self._parting: int | None = None

    def __len__(self) -> int:
        return len(self._open)

    async def splice(self, request: web.BaseRequest, upstream: OriginResponse) -> web.StreamResponse:
        """Pass a 101 on to the client, join the two connections, and return when both are closed.

        Raises `ActivityAway` when the Activity server's connection is gone already, `ConnectionError` when
        the client's is. What is sent to the client counts in `request.writer.output_size`.
        """
        client, connection = request.transport, upstream.connection
        if client is None:
            raise ConnectionResetError("the client has left")
        if connection.transport is None:
            raise ActivityAway("reset")
        response = _switching_protocols(upstream.message)
        await response.prepare(request)
        server, task, origin = request.protocol, request.task, connection.transport

        def forget_client(error: Exception | None) -> None:
            # aiohttp cancels the handler of a lost connection, but this one is to end in its own way.
            task.add_done_callback(lambda _: server.connection_lost(error))

        tunnel = _Tunnel(client, origin, forget_client, connection.connection_lost, lambda: self._entropy(4))
        early = _Early()
        server.set_parser(cast("Any", early))
        origin.resume_reading()  # a long tail may have held it up
        if server.writing_paused:
            tunnel.client.pause_writing()
        tunnel.join(early.data, connection.tail)
        if self._parting is not None:
            tunnel.part(self._parting)
        self._open.add(tunnel)
        try:
            await tunnel.run(self._linger)
        finally:
            self._open.discard(tunnel)
            request.writer.output_size += tunnel.client.sent
        await response.write_eof()
        return response

    async def close(self, code: int, grace: float) -> None:
        """Say Close with `code` to both sides of all tunnels; cut those open after `grace` seconds."""
        self._parting = code
        tunnels = [*self._open]
        for tunnel in tunnels:
            tunnel.part(code)
        try:
            async with asyncio.timeout(grace):
                for tunnel in tunnels:
                    await tunnel.ended.wait()
        except TimeoutError:
            for tunnel in tunnels:
                tunnel.abort()
            for tunnel in tunnels:
                await tunnel.ended.wait()


def _switching_protocols(message: RawResponseMessage) -> web.StreamResponse:
    headers = CIMultiDict(as_text(end_to_end(message.raw_headers)))
    headers["Connection"] = "Upgrade"
    headers["Upgrade"] = "websocket"
    response = web.StreamResponse(status=101, reason=message.reason, headers=headers)
    response.force_close()
    return response
