"""Client connections of WebSockets, raw: the frames are made once, and what comes is counted in bytes."""

import asyncio
from collections.abc import Callable
from typing import cast
from urllib.parse import SplitResult, urlsplit

SIZE = 32
MESSAGE = bytes((0x82, 0x80 | SIZE)) + b"\x11\x22\x33\x44" + b"\x5a" * SIZE
"""A masked binary frame (RFC 6455, section 5.2)."""
ECHO = 2 + SIZE
"""Bytes of the frame that comes back, which is not masked."""
TOGETHER = 100
"""Connections that are made at once."""


class Socket(asyncio.Protocol):
    """One WebSocket. `received` is called with the number of bytes that came after the upgrade."""

    def __init__(self, url: SplitResult) -> None:
        self._url = url
        self._head = b""
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.received: Callable[[int], None] = lambda _: None
        self.lost = False
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the upgrade."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(
            b"GET %b HTTP/1.1\r\nHost: %b\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
            % (self._url.path.encode(), self._url.netloc.encode())
        )

    def data_received(self, data: bytes) -> None:
        """Wait for the upgrade, then count."""
        if self.opened.done():
            self.received(len(data))
            return
        self._head += data
        if self._head.endswith(b"\r\n\r\n"):
            if self._head.startswith(b"HTTP/1.1 101 "):
                self.opened.set_result(None)
            else:
                self.opened.set_exception(ConnectionError(self._head[:60].decode(errors="replace")))

    def connection_lost(self, exc: Exception | None) -> None:
        """Remember it."""
        self.lost = True
        if not self.opened.done():
            self.opened.set_exception(exc or ConnectionError("closed before the upgrade"))


async def connect(address: str, number: int) -> list[Socket]:
    """Open so many WebSockets, some at a time."""
    loop, url = asyncio.get_running_loop(), urlsplit(address)
    host, port = url.hostname or "", url.port or 80
    made: list[Socket] = []
    while len(made) < number:
        group = [
            loop.create_connection(lambda: Socket(url), host, port)
            for _ in range(min(TOGETHER, number - len(made)))
        ]
        sockets = [socket for _, socket in await asyncio.gather(*group)]
        async with asyncio.timeout(30):
            await asyncio.gather(*(socket.opened for socket in sockets))
        made += sockets
    return made
