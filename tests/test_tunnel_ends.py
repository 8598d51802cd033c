"""How tunnels end: orderly, broken, in shutdown, and never by filling the memory."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

import pytest
from aiohttp import ClientResponse, web

from proxy.errors import ActivityAway
from proxy.frames import close_frame, masked_close_frame
from proxy.passthrough import PassThrough, activity_session
from proxy.tunnel import Tunnels
from tests.origins import (
    PATIENCE,
    Proxy,
    Reader,
    Writer,
    client,
    pour,
    raw_origin,
    read_head,
    request,
    reset,
    talking,
    until,
)

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
async def tunnel(*, linger: float = PATIENCE) -> AsyncIterator[tuple[Proxy, Peer, Peer]]:
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


async def test_an_orderly_close_passes_untouched() -> None:
    """Both Close frames and both ends of the connections pass, and nothing is added."""
    async with tunnel() as (proxy, viewer, activity):
        viewer.writer.write(MASKED_HELLO + MASKED_CLOSE)
        assert await activity.got(len(MASKED_HELLO + MASKED_CLOSE)) == MASKED_HELLO + MASKED_CLOSE
        activity.writer.write(HELLO + CLOSE)
        activity.writer.write_eof()
        assert await viewer.rest() == HELLO + CLOSE
        viewer.writer.write_eof()
        assert await activity.rest() == b""
        await until(lambda: not proxy.tunnels)
        [response] = proxy.outcomes
        assert isinstance(response, web.StreamResponse)
        assert response.status == 101


async def test_a_half_closed_connection_still_carries_the_other_direction() -> None:
    """What is under way to a side that will send no more arrives."""
    async with tunnel() as (_, viewer, activity):
        viewer.writer.write(MASKED_CLOSE)
        viewer.writer.write_eof()
        assert await activity.rest() == MASKED_CLOSE
        activity.writer.write(HELLO * 1000)
        assert await viewer.got(len(HELLO) * 1000) == HELLO * 1000
        activity.writer.write(CLOSE)
        activity.writer.write_eof()
        assert await viewer.rest() == CLOSE


@pytest.mark.parametrize("ends", [Writer.write_eof, Writer.close, reset])
async def test_a_client_that_vanishes_is_reported_as_1011(ends: Ending) -> None:
    """The Activity server gets a masked Close instead of silence."""
    async with tunnel() as (proxy, viewer, activity):
        viewer.writer.write(MASKED_HELLO)
        assert await activity.got(len(MASKED_HELLO)) == MASKED_HELLO
        ends(viewer.writer)
        assert unmasked(await activity.rest()) == 1011
        activity.writer.write(CLOSE)
        await until(lambda: not proxy.tunnels)


@pytest.mark.parametrize("ends", [Writer.write_eof, Writer.close, reset])
async def test_an_activity_server_that_vanishes_is_reported_as_1011(ends: Ending) -> None:
    """The client gets a Close that tells it from an orderly end, and may answer it."""
    async with tunnel() as (proxy, viewer, activity):
        activity.writer.write(HELLO)
        assert await viewer.got(len(HELLO)) == HELLO
        ends(activity.writer)
        assert await viewer.rest() == close_frame(1011)
        viewer.writer.write(MASKED_CLOSE)
        await until(lambda: not proxy.tunnels)


@pytest.mark.parametrize("ends", [Writer.close, reset])
async def test_amid_a_frame_nothing_is_said(ends: Ending) -> None:
    """A Close in the middle of a frame would be taken for its payload: the connection just ends."""
    async with tunnel() as (proxy, viewer, activity):
        activity.writer.write(HELLO + HELLO[:4])
        assert await viewer.got(len(HELLO) + 4) == HELLO + HELLO[:4]
        ends(activity.writer)
        assert await viewer.rest() == b""
        await until(lambda: not proxy.tunnels)


async def test_shutdown_says_going_away_to_both_sides() -> None:
    """Both get Close 1001, and both connections end when they have answered."""
    async with tunnel() as (proxy, viewer, activity):
        closing = asyncio.create_task(proxy.tunnels.close(1001, PATIENCE))
        assert await viewer.got(4) == close_frame(1001)
        assert unmasked(await activity.got(8)) == 1001
        viewer.writer.write(MASKED_HELLO + masked_close_frame(1001, b"abcd"))
        activity.writer.write(HELLO + close_frame(1001))
        assert (await viewer.rest(), await activity.rest()) == (b"", b"")
        await closing
        await until(lambda: not proxy.tunnels)


async def test_shutdown_waits_for_the_end_of_a_frame() -> None:
    """A frame under way is completed before the Close, and what follows it is dropped."""
    async with tunnel() as (proxy, viewer, activity):
        activity.writer.write(HELLO[:3])
        assert await viewer.got(3) == HELLO[:3]
        closing = asyncio.create_task(proxy.tunnels.close(1001, PATIENCE))
        assert unmasked(await activity.got(8)) == 1001
        activity.writer.write(HELLO[3:5])
        assert await viewer.got(2) == HELLO[3:5]
        activity.writer.write(HELLO[5:] + HELLO + CLOSE)
        assert await viewer.rest() == HELLO[5:] + close_frame(1001)
        viewer.writer.write(MASKED_CLOSE)
        await closing


async def test_shutdown_does_not_close_twice() -> None:
    """A side that has had the other's Close gets no second one, also when that was still under way."""
    async with tunnel() as (proxy, viewer, activity):
        activity.writer.write(CLOSE[:3])
        assert await viewer.got(3) == CLOSE[:3]
        viewer.writer.write(MASKED_CLOSE)
        assert await activity.got(8) == MASKED_CLOSE
        closing = asyncio.create_task(proxy.tunnels.close(1001, PATIENCE))
        await asyncio.sleep(0)
        activity.writer.write(CLOSE[3:])
        assert await viewer.got(1) == CLOSE[3:]
        viewer.writer.close()
        assert (await viewer.rest(), await activity.rest()) == (b"", b"")
        await closing


async def test_shutdown_cuts_those_that_do_not_answer() -> None:
    """After the grace period the connections are closed without an answer."""
    async with tunnel() as (proxy, viewer, activity):
        await proxy.tunnels.close(1001, 0.0)
        assert await viewer.rest() == close_frame(1001)
        assert unmasked(await activity.rest()) == 1001
        await until(lambda: not proxy.tunnels)


async def test_a_tunnel_opened_during_shutdown_is_closed_at_once() -> None:
    """An upgrade that was under way does not outlast the others."""
    async with tunnel() as (proxy, viewer, _):
        await proxy.tunnels.close(1001, 0.0)
        assert await viewer.rest() == close_frame(1001)
        async with client(proxy.port) as (reader, writer):
            writer.write(ASK)
            late = Peer(reader, writer)
            await read_head(reader)
            assert await late.got(4) == close_frame(1001)


async def test_a_side_that_does_not_end_is_cut_after_a_while() -> None:
    """When one side is gone the other is not kept for ever."""
    async with tunnel(linger=0.05) as (proxy, viewer, activity):
        activity.writer.close()
        assert await viewer.rest() == close_frame(1011)
        await until(lambda: not proxy.tunnels)


async def test_closed_but_not_hung_up_is_cut_after_a_while() -> None:
    """Two Close frames and no end of a connection do not keep the tunnel open."""
    async with tunnel(linger=0.05) as (proxy, viewer, activity):
        viewer.writer.write(MASKED_CLOSE)
        assert await activity.got(8) == MASKED_CLOSE
        activity.writer.write(CLOSE)
        assert await viewer.rest() == CLOSE
        assert await activity.rest() == b""
        await until(lambda: not proxy.tunnels)


@pytest.mark.parametrize("slow", ["viewer", "activity"])
async def test_a_slow_reader_holds_the_other_side_up(slow: str) -> None:
    """The proxy takes no more in than it can give on, and goes on when it can."""
    size = 50_000_000
    head = b"\x82\x7f" + size.to_bytes(8)
    async with tunnel() as (_, viewer, activity):
        fast, reader = (activity, viewer) if slow == "viewer" else (viewer, activity)
        reader.transport.pause_reading()
        fast.writer.write(head)
        sent = await pour(fast.writer, size)
        assert sent < size / 2
        rest = asyncio.create_task(pour(fast.writer, size - sent))
        reader.transport.resume_reading()
        left = size + len(head)
        async with asyncio.timeout(PATIENCE):
            while left:
                left -= len(await reader.reader.read(1_000_000))
        assert await rest == size - sent


async def test_a_slow_client_of_a_gone_activity_server_gets_everything() -> None:
    """What was relayed before the end arrives before the Close, however slowly it is read."""
    async with tunnel() as (proxy, viewer, activity):
        viewer.transport.pause_reading()
        frame = b"\x82\x7f" + (4_000_000).to_bytes(8) + bytes(4_000_000)
        activity.writer.write(frame)
        activity.writer.write_eof()
        await asyncio.sleep(0.1)
        viewer.transport.resume_reading()
        assert await viewer.rest() == frame + close_frame(1011)
        viewer.writer.close()
        await until(lambda: not proxy.tunnels)


async def test_stopping_the_server_ends_its_tunnels() -> None:
    """No connection outlives the server that it came by."""
    async with tunnel() as (proxy, viewer, activity):
        await proxy.server.shutdown(0.01)
        assert (await viewer.rest(), await activity.rest()) == (b"", b"")
        await until(lambda: not proxy.tunnels)
    assert isinstance(proxy.outcomes[0], asyncio.CancelledError)


@pytest.mark.parametrize("gone", ["activity", "client"])
async def test_a_side_that_is_gone_before_the_tunnel_is_made_is_noticed(gone: str) -> None:
    """The upgrade fails as any other request would."""

    async def serve(reader: Reader, writer: Writer) -> None:
        await read_head(reader)
        writer.write(SWITCH)
        if gone == "client":
            await reader.read()

    async def splice(request: web.BaseRequest, upstream: ClientResponse) -> web.StreamResponse:
        spliced.set()
        assert upstream.connection is not None
        end = request if gone == "client" else upstream.connection
        await until(lambda: end.transport is None)
        try:
            return await Tunnels().splice(request, upstream)
        except (ActivityAway, ConnectionError) as error:
            failed.set_result(error)
            raise

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        return await pass_through(request, request.raw_path)

    spliced, failed = asyncio.Event(), asyncio.get_running_loop().create_future()
    async with raw_origin(serve) as origin, activity_session() as session:
        pass_through = PassThrough(origin.url, session, splice)
        server = web.Server(handler)  # it leaves handlers running whose client has left
        listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
        async with client(listening.sockets[0].getsockname()[1]) as (_, writer):
            writer.write(ASK)
            await spliced.wait()
            if gone == "activity":
                await failed
        async with asyncio.timeout(PATIENCE):
            assert isinstance(await failed, ActivityAway if gone == "activity" else ConnectionError)
        listening.close()
        await server.shutdown(0.1)
        assert session.connector is not None
        assert not session.connector._acquired
