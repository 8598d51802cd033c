"""Open tunnels, whose two ends are raw sockets in the hands of a test."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

from proxy.frames import close_frame, masked_close_frame
from tests.origins import PATIENCE, Proxy, Reader, Writer, raw_origin, read_head, request, talking

ASK = request(b"GET /", b"Connection: Upgrade", b"Upgrade: websocket")
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
HELLO = b"\x82\x05hello"
MASKED_HELLO = b"\x82\x85\0\0\0\0hello"
CLOSE = close_frame(1000)
Ending = Callable[[Writer], None]
MASKED_CLOSE = masked_close_frame(1000, b"abcd")


@dataclass
class Peer:
    """One side of a tunnel, as its software sees it."""

    reader: Reader
    writer: Writer

    @property
    def transport(self) -> asyncio.Transport:
        """The socket's transport, for reading as slowly as asyncio's own buffer would not."""
        return cast("asyncio.Transport", self.writer.transport)

    async def got(self, size: int) -> bytes:
        """The next bytes."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readexactly(size)

    async def rest(self) -> bytes:
        """All bytes until the other side ends."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.read()


@asynccontextmanager
async def tunnel(*, linger: float = 2 * PATIENCE) -> AsyncIterator[tuple[Proxy, Peer, Peer]]:
    """Open a tunnel; its ends are the client's and the Activity server's raw sockets."""
    arrived = asyncio.get_running_loop().create_future()
    done = asyncio.Event()

    async def serve(reader: Reader, writer: Writer) -> None:
        await read_head(reader)
        writer.write(SWITCH)
        arrived.set_result(Peer(reader, writer))
        await done.wait()

    async with raw_origin(serve) as origin, talking(origin.url, linger=linger) as (proxy, reader, writer):
        writer.write(ASK)
        assert (await read_head(reader)).status == 101
        try:
            yield proxy, Peer(reader, writer), await arrived
        finally:
            done.set()
            writer.close()


def unmasked(frame: bytes) -> int:
    """The code of a client's Close frame."""
    assert (frame[0], frame[1], len(frame)) == (0x88, 0x82, 8)
    return int.from_bytes(bytes(byte ^ frame[2 + i] for i, byte in enumerate(frame[6:])))
