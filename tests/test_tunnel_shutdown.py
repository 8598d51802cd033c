"""What tunnels say when the proxy stops."""

import asyncio

from proxy.frames import close_frame, masked_close_frame
from tests.origins import (
    PATIENCE,
    client,
    read_head,
    until,
)
from tests.tunnels import (
    ASK,
    CLOSE,
    HELLO,
    MASKED_CLOSE,
    MASKED_HELLO,
    Peer,
    tunnel,
    unmasked,
)


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


async def test_shutdown_is_said_once_to_each() -> None:
    """Neither a hang-up instead of an answer nor a second shutdown adds another Close."""
    async with tunnel() as (proxy, viewer, activity):
        closing = asyncio.create_task(proxy.tunnels.close(1001, PATIENCE))
        assert unmasked(await activity.got(8)) == 1001
        again = asyncio.create_task(proxy.tunnels.close(1001, PATIENCE))
        assert await viewer.got(4) == close_frame(1001)
        viewer.writer.write_eof()
        assert await activity.rest() == b""
        activity.writer.write_eof()
        assert await viewer.rest() == b""
        await asyncio.gather(closing, again)


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


async def test_stopping_the_server_ends_its_tunnels() -> None:
    """No connection outlives the server that it came by."""
    async with tunnel() as (proxy, viewer, activity):
        await proxy.server.shutdown(0.01)
        assert (await viewer.rest(), await activity.rest()) == (b"", b"")
        await until(lambda: not proxy.tunnels)
    assert isinstance(proxy.outcomes[0], asyncio.CancelledError)
