"""How tunnels end: orderly, half, or broken off."""

import asyncio

import pytest
from aiohttp import web

from proxy.errors import ActivityAway
from proxy.exchange import OriginResponse
from proxy.frames import close_frame
from proxy.origin import Origin
from proxy.passthrough import PassThrough
from proxy.tunnel import Tunnels
from tests.origins import (
    PATIENCE,
    Reader,
    Writer,
    client,
    raw_origin,
    read_head,
    reset,
    until,
)
from tests.tunnels import (
    ASK,
    CLOSE,
    HELLO,
    MASKED_CLOSE,
    MASKED_HELLO,
    SWITCH,
    Ending,
    tunnel,
    unmasked,
)


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


async def test_a_close_is_answered_though_the_other_side_is_gone() -> None:
    """A client that has had the Activity server's Close may answer it, and is then hung up on."""
    async with tunnel() as (proxy, viewer, activity):
        activity.writer.write(CLOSE)
        assert await viewer.got(len(CLOSE)) == CLOSE
        reset(activity.writer)
        assert await viewer.rest() == b""
        viewer.writer.write(MASKED_CLOSE)
        await until(lambda: not proxy.tunnels)


async def test_an_answer_to_nobody_ends_the_tunnel() -> None:
    """Where the answer to a Close finds its connection reset, both are over."""
    async with tunnel() as (proxy, viewer, activity):
        activity.writer.write(CLOSE)
        assert await viewer.got(len(CLOSE)) == CLOSE
        viewer.writer.write(MASKED_CLOSE)
        assert await activity.got(len(MASKED_CLOSE)) == MASKED_CLOSE
        reset(activity.writer)
        assert await viewer.rest() == b""
        await until(lambda: not proxy.tunnels)


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


@pytest.mark.parametrize("gone", ["activity", "client"])
async def test_a_side_that_is_gone_before_the_tunnel_is_made_is_noticed(gone: str) -> None:
    """The upgrade fails as any other request would."""

    async def serve(reader: Reader, writer: Writer) -> None:
        await read_head(reader)
        writer.write(SWITCH)
        if gone == "client":
            await reader.read()

    async def splice(request: web.BaseRequest, upstream: OriginResponse) -> web.StreamResponse:
        spliced.set()
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
    async with raw_origin(serve) as origin, Origin(origin.url) as upstream:
        pass_through = PassThrough(upstream, splice)
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
        assert not upstream.in_use
