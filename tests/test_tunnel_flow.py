"""Tunnels never fill the memory: who reads slowly holds the other side up."""

import asyncio

import pytest
from aiohttp import web

from proxy.frames import close_frame
from proxy.origin import Origin
from proxy.passthrough import PassThrough
from proxy.tunnel import Tunnels
from tests.origins import (
    PATIENCE,
    Reader,
    Writer,
    client,
    pour,
    raw_origin,
    read_head,
    reset,
    serving,
    until,
)
from tests.tunnels import (
    ASK,
    SWITCH,
    Peer,
    tunnel,
)


async def test_a_flood_to_an_activity_server_that_vanishes_ends() -> None:
    """A client that was held up learns of it, and its own end is seen."""
    async with tunnel() as (proxy, viewer, activity):
        activity.transport.pause_reading()
        frame = b"\x82\xff" + (1000).to_bytes(8) + bytes(1004)
        held = proxy.server.connections[0].transport
        while held is not None and held.is_reading():
            viewer.writer.write(frame * 100)
            await asyncio.sleep(0)
        reset(activity.writer)
        assert await viewer.got(4) == close_frame(1011)
        viewer.writer.close()
        await until(lambda: not proxy.tunnels)


async def test_a_client_that_is_slow_from_the_start_holds_the_other_side_up() -> None:
    """What a client has not read before its upgrade counts."""
    size = 50_000_000
    poured = asyncio.get_running_loop().create_future()

    async def serve(reader: Reader, writer: Writer) -> None:
        await read_head(reader)
        writer.write(SWITCH + b"\x82\x7f" + size.to_bytes(8))
        poured.set_result(await pour(writer, size))

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        transport = request.transport
        assert transport is not None
        while not request.protocol.writing_paused:
            transport.write(bytes(1_000_000))
        return await pass_through(request, request.raw_path)

    async with (
        raw_origin(serve) as origin,
        Origin(origin.url) as upstream,
        serving(handler) as (port, _),
        client(port) as (reader, writer),
    ):
        pass_through = PassThrough(upstream, Tunnels().splice)
        Peer(reader, writer).transport.pause_reading()
        writer.write(ASK)
        async with asyncio.timeout(PATIENCE):
            assert await poured < size / 2


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
        fast.writer.write(bytes(size - sent))
        reader.transport.resume_reading()
        left = size + len(head)
        async with asyncio.timeout(PATIENCE):
            while left:
                left -= len(await reader.reader.read(1_000_000))
        await fast.writer.drain()


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
