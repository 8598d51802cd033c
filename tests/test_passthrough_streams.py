"""Long and broken answers: as they come, no faster than they are read, and visibly cut."""

import asyncio

import pytest
from aiohttp import web

from proxy.origin import Origin
from proxy.passthrough import PassThrough, RelayedResponse
from proxy.tunnel import Tunnels
from tests.origins import (
    PATIENCE,
    Reader,
    Writer,
    client,
    exchange,
    passing,
    pour,
    raw_origin,
    read_chunk,
    read_head,
    read_message,
    request,
    reset,
    talking,
    until,
)

GET = request(b"GET /")
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


async def test_events_are_passed_on_one_by_one() -> None:
    """The head comes before the first event, and each event before the next one is sent."""
    heard = asyncio.Queue[None]()

    async def serve(reader: Reader, writer: Writer) -> None:
        await read_head(reader)
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for _ in range(3):
            await heard.get()
            writer.write(b"9\r\ndata: 1\n\n\r\n")
        await heard.get()
        writer.write(b"0\r\n\r\n")

    async with raw_origin(serve) as origin, talking(origin.url) as (_, reader, writer):
        writer.write(GET)
        assert (await read_head(reader)).one("Content-Type") == b"text/event-stream"
        for expected in (b"data: 1\n\n", b"data: 1\n\n", b"data: 1\n\n", b""):
            heard.put_nowait(None)
            assert await read_chunk(reader) == expected


async def test_many_streams_are_open_at_once() -> None:
    """More than the 100 that aiohttp's pool holds by default do not wait for one another."""

    async def serve(reader: Reader, writer: Writer) -> None:
        await read_head(reader)
        writer.write(CHUNKED + b"1\r\nx\r\n")
        await reader.read()

    async def listen(port: int) -> None:
        async with client(port) as (reader, writer):
            writer.write(GET)
            await read_head(reader)
            assert await read_chunk(reader) == b"x"
            await everyone.wait()

    everyone = asyncio.Barrier(120)
    async with raw_origin(serve) as origin, passing(origin.url) as proxy:
        await asyncio.gather(*(listen(proxy.port) for _ in range(120)))


async def test_a_slow_client_holds_the_activity_server_up() -> None:
    """The proxy does not take in what its client does not take off it."""
    size = 100_000_000
    stalled = asyncio.get_running_loop().create_future()

    async def serve(reader: Reader, writer: Writer) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        sent = await pour(writer, size)
        stalled.set_result(sent)
        writer.write(bytes(size - sent))
        await writer.drain()

    async with raw_origin(serve) as origin, talking(origin.url) as (_, reader, writer):
        writer.write(GET)
        await read_head(reader)
        async with asyncio.timeout(PATIENCE):
            assert await stalled < size / 2
            left = size
            while left:
                left -= len(await reader.read(1_000_000))


@pytest.mark.parametrize("size", [0, 10])
async def test_a_client_that_leaves_ends_the_activity_servers_work(size: int) -> None:
    """The Activity server sees its connection close, in the midst of an answer or before it."""
    left = asyncio.Event()

    async def serve(reader: Reader, writer: Writer) -> None:
        await read_head(reader)
        if size:
            writer.write(CHUNKED + b"1\r\nx\r\n")
        seen.set()
        assert await reader.read() == b""
        left.set()

    seen = asyncio.Event()
    async with raw_origin(serve) as origin, passing(origin.url) as proxy:
        async with client(proxy.port) as (reader, writer):
            writer.write(GET)
            await seen.wait()
            if size:
                await read_head(reader)
        async with asyncio.timeout(PATIENCE):
            await left.wait()
        await until(lambda: bool(proxy.outcomes))
    assert isinstance(proxy.outcomes[0], (asyncio.CancelledError, ConnectionError))


async def test_a_client_that_leaves_amid_its_upload_ends_it() -> None:
    """Half a body is never taken for a whole one."""
    ended = asyncio.get_running_loop().create_future()

    async def serve(reader: Reader, writer: Writer) -> None:
        await read_head(reader)
        try:
            await reader.readexactly(1000)
        except asyncio.IncompleteReadError as error:
            ended.set_result(error.partial)

    async with raw_origin(serve) as origin, passing(origin.url) as proxy:
        async with client(proxy.port) as (_, writer):
            writer.write(request(b"PUT /", b"Content-Length: 1000", body=b"abc"))
            await until(lambda: origin.connections == 1)
        async with asyncio.timeout(PATIENCE):
            assert await ended == b"abc"


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", CHUNKED + b"5\r\n"])
async def test_an_answer_that_breaks_off_breaks_off_for_the_client(head: bytes) -> None:
    """The client cannot take half an answer for a whole: neither length nor last chunk is supplied."""
    half = asyncio.Event()

    async def serve(reader: Reader, writer: Writer) -> None:
        await read_head(reader)
        writer.write(head + b"half")
        await half.wait()

    async with raw_origin(serve) as origin, talking(origin.url) as (proxy, reader, writer):
        writer.write(GET)
        await read_head(reader)
        half.set()
        async with asyncio.timeout(PATIENCE):
            rest = await reader.read()
        assert rest in (b"half", b"4\r\nhalf\r\n", b"")
        await until(lambda: bool(proxy.outcomes))
        [response] = proxy.outcomes
    assert isinstance(response, RelayedResponse)
    assert response.truncated
    assert response.body_length > 0


async def test_an_http_1_0_client_sees_a_broken_answer_too() -> None:
    """Where the end of the connection is the end of the body, it is reset."""
    half = asyncio.Event()

    async def serve(reader: Reader, writer: Writer) -> None:
        await read_head(reader)
        writer.write(CHUNKED + b"4\r\nhalf\r\n")
        await half.wait()

    async with raw_origin(serve) as origin, passing(origin.url) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        await read_head(reader)
        assert await reader.readexactly(4) == b"half"
        half.set()
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(ConnectionResetError):
                await reader.read()
        writer.close()


async def test_a_reset_is_not_the_end_of_an_answer() -> None:
    """An answer that would end with its connection does not end by a reset."""
    half = asyncio.Event()

    async def serve(reader: Reader, writer: Writer) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        await half.wait()
        reset(writer)

    async with raw_origin(serve) as origin, talking(origin.url) as (_, reader, writer):
        writer.write(GET)
        await read_head(reader)
        assert await read_chunk(reader) == b"half"
        half.set()
        async with asyncio.timeout(PATIENCE):
            assert await reader.read() == b""


async def test_both_may_leave_at_once() -> None:
    """An answer that breaks off after its client has left disturbs nobody."""
    gone = asyncio.Event()

    async def serve(reader: Reader, writer: Writer) -> None:
        await read_head(reader)
        writer.write(CHUNKED + b"4\r\nhalf\r\n")
        await gone.wait()

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        response = await pass_through(request, request.raw_path)
        cut.set_result(response)
        return response

    cut = asyncio.get_running_loop().create_future()
    async with raw_origin(serve) as origin, Origin(origin.url) as upstream:
        pass_through = PassThrough(upstream, Tunnels().splice)
        server = web.Server(handler)  # it leaves handlers running whose client has left
        listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
        async with client(listening.sockets[0].getsockname()[1]) as (reader, writer):
            writer.write(GET)
            await read_head(reader)
        await until(lambda: all(connection.transport is None for connection in server.connections))
        gone.set()
        async with asyncio.timeout(PATIENCE):
            response = await cut
        listening.close()
        await server.shutdown(0.1)
    assert isinstance(response, RelayedResponse)
    assert response.truncated


async def test_the_next_request_is_served_after_a_stream() -> None:
    """A stream that ends as it should keeps the client's connection."""

    async def serve(reader: Reader, writer: Writer) -> None:
        while True:
            await read_head(reader)
            writer.write(CHUNKED)
            await asyncio.sleep(0)
            writer.write(b"1\r\na\r\n0\r\n\r\n")

    async with raw_origin(serve) as origin, talking(origin.url) as (_, reader, writer):
        for _ in range(3):
            writer.write(GET)
            assert (await read_message(reader)).body == b"a"
    assert origin.connections == 1


async def test_large_answers_pass_whole() -> None:
    """Every byte of 8 MB arrives, in order."""
    body = b"".join(number.to_bytes(4) for number in range(2_000_000))

    async def serve(reader: Reader, writer: Writer) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        await writer.drain()

    async with raw_origin(serve) as origin, passing(origin.url) as proxy:
        assert (await exchange(proxy.port, GET)).body == body
