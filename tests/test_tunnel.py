"""WebSockets through the proxy, with real WebSocket software at both ends."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import WSCloseCode, WSMsgType, web
from yarl import URL

from tests.origins import (
    PATIENCE,
    Proxy,
    Reader,
    Writer,
    answering,
    client,
    passing,
    raw_origin,
    read_head,
    read_message,
    request,
    talking,
    until,
)

Talk = Callable[[web.WebSocketResponse], Awaitable[None]]

ASK = [b"Connection: keep-alive, Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13"]
ASK += [b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
SWITCH += b"Content-Length: 0\r\nX-Own: 1\r\n\r\n"


@asynccontextmanager
async def activity(talk: Talk, *protocols: str) -> AsyncIterator[URL]:
    """Run aiohttp's WebSocket server, which has `talk` with each client."""

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        socket = web.WebSocketResponse(protocols=protocols, max_msg_size=0)
        await socket.prepare(request)
        await talk(socket)
        return socket

    server = web.Server(handler)
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    try:
        yield URL(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
    finally:
        listening.close()
        await server.shutdown(0.1)


@asynccontextmanager
async def viewer(proxy: Proxy, **options: object) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """Connect aiohttp's WebSocket client to the proxy."""
    async with aiohttp.ClientSession() as session, asyncio.timeout(PATIENCE):
        url = f"http://127.0.0.1:{proxy.port}/socket?a=%2F"
        async with session.ws_connect(url, max_msg_size=0, autoping=False, **options) as socket:  # type: ignore[call-overload]  # options are passed on
            yield socket


async def echo(socket: web.WebSocketResponse) -> None:
    """Send back what comes."""
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            await socket.send_str(message.data)
        else:
            await socket.send_bytes(message.data)


async def test_messages_of_any_kind_and_size_pass() -> None:
    """Text, binary, empty and above every default limit."""
    async with activity(echo) as url, passing(url) as proxy, viewer(proxy) as socket:
        for size in (0, 1, 125, 126, 65536, 9_000_000):
            await socket.send_bytes(bytes(size))
            assert await socket.receive_bytes() == bytes(size)
        await socket.send_str("grüße")
        assert await socket.receive_str() == "grüße"


async def test_subprotocols_are_negotiated_by_the_two_ends() -> None:
    """The Activity server chooses from what the client offers."""
    async with (
        activity(echo, "second", "third") as url,
        passing(url) as proxy,
        viewer(proxy, protocols=("first", "second")) as socket,
    ):
        assert socket.protocol == "second"


async def test_compression_is_negotiated_by_the_two_ends() -> None:
    """Extensions pass: what one end compresses the other unpacks."""
    async with activity(echo) as url, passing(url) as proxy, viewer(proxy, compress=15) as socket:
        assert socket.compress
        await socket.send_str("a" * 100_000)
        assert await socket.receive_str() == "a" * 100_000


async def test_pings_reach_the_other_end() -> None:
    """A pong is the other end's own, with the ping's payload."""
    async with activity(echo) as url, passing(url) as proxy, viewer(proxy) as socket:
        await socket.ping(b"there?")
        message = await socket.receive()
        assert (message.type, message.data) == (WSMsgType.PONG, b"there?")


@pytest.mark.parametrize("code", [1000, 1001, 1011, 3000, 4999])
async def test_the_clients_close_reaches_the_activity_server(code: int) -> None:
    """Code and reason arrive, and the handshake ends on both sides."""
    closes = []

    async def talk(socket: web.WebSocketResponse) -> None:
        message = await socket.receive()
        closes.append((message.type, message.data, message.extra))

    async with activity(talk) as url, passing(url) as proxy, viewer(proxy) as socket:
        assert await socket.close(code=code, message=b"why")
        assert socket.close_code == WSCloseCode.OK  # what aiohttp answers to any code
        await until(lambda: bool(proxy.outcomes))
    assert closes == [(WSMsgType.CLOSE, code, "why")]


@pytest.mark.parametrize("code", [1000, 1008, 4001])
async def test_the_activity_servers_close_reaches_the_client(code: int) -> None:
    """Code and reason arrive, and the handshake ends on both sides."""
    closed = asyncio.get_running_loop().create_future()

    async def talk(socket: web.WebSocketResponse) -> None:
        await socket.close(code=code, message=b"why")
        closed.set_result(socket.close_code)

    async with activity(talk) as url, passing(url) as proxy, viewer(proxy) as socket:
        message = await socket.receive()
        assert (message.type, message.data, message.extra) == (WSMsgType.CLOSE, code, "why")
        assert await closed == WSCloseCode.OK  # what aiohttp answers to any code


async def test_a_refused_upgrade_is_the_activity_servers_own_answer() -> None:
    """Its status and body are passed on, and the connection serves the next request."""
    refusal = b"HTTP/1.1 403 Forbidden\r\nX-Why: no\r\nContent-Length: 4\r\n\r\nnope"
    async with answering(refusal) as origin, talking(origin.url) as (_, reader, writer):
        for _ in range(2):
            writer.write(request(b"GET /socket", *ASK))
            message = await read_message(reader)
            assert (message.status, message.one("X-Why"), message.body) == (403, b"no", b"nope")
    assert origin.received[0].one("Upgrade") == b"websocket"


async def test_the_handshake_passes() -> None:
    """Both ends see each other's fields, and the proxy's connection options."""
    heads = []

    async def serve(reader: Reader, writer: Writer) -> None:
        heads.append(await read_head(reader))
        writer.write(SWITCH)
        await reader.read()

    async with raw_origin(serve) as origin, talking(origin.url) as (_, reader, writer):
        writer.write(request(b"GET /socket?a=%2F", *ASK, b"Sec-WebSocket-Protocol: a, b", b"Cookie: c"))
        answer = await read_head(reader)
    [head] = heads
    assert head.target == b"/socket?a=%2F"
    assert (head.one("Connection"), head.one("Upgrade")) == (b"Upgrade", b"websocket")
    assert (head.one("Sec-WebSocket-Protocol"), head.one("Cookie")) == (b"a, b", b"c")
    assert (head.one("Sec-WebSocket-Key"), head.one("Host")) == (ASK[3][19:], b"activity.example")
    assert answer.start == b"HTTP/1.1 101 Switching Protocols"
    names = [name for name, _ in answer.fields]
    assert sorted(names) == [b"Connection", b"Date", b"Upgrade", b"X-Own"]
    assert (answer.one("Connection"), answer.one("Upgrade")) == (b"Upgrade", b"websocket")


@pytest.mark.parametrize(
    "sent",
    [
        request(b"GET /", b"Connection: Upgrade", b"Upgrade: h2c"),
        request(b"GET /", b"Upgrade: websocket"),
        request(b"GET /", *ASK, b"Content-Length: 2", body=b"ab"),
        request(b"POST /", *ASK),
        request(b"GET /", *ASK).replace(b"HTTP/1.1", b"HTTP/1.0"),
    ],
)
async def test_nothing_but_a_websocket_is_upgraded(sent: bytes) -> None:
    """Other upgrades are a matter of the client's connection, and the request goes on without."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    async with answering(answer) as origin, talking(origin.url) as (_, reader, writer):
        writer.write(sent)
        assert (await read_message(reader)).body == b"ok"
    assert (origin.received[0].one("Upgrade"), origin.received[0].one("Connection")) == (None, None)


async def test_what_is_sent_behind_the_handshake_is_not_lost() -> None:
    """Frames in the same packet as the handshake pass, both ways, in order."""
    late = asyncio.Event()

    async def serve(reader: Reader, writer: Writer) -> None:
        await read_head(reader)
        await late.wait()
        writer.write(SWITCH + b"\x82\x05first")
        assert await reader.readexactly(300_011) == b"\x82\xff" + (300_001).to_bytes(8) + b"x" * 300_001
        writer.write(b"\x82\x04next")
        await reader.read()

    async with raw_origin(serve) as origin, talking(origin.url) as (_, reader, writer):
        early = b"\x82\xff" + (300_001).to_bytes(8) + b"x" * 300_001
        writer.write(request(b"GET /", *ASK, body=early))
        await until(lambda: origin.connections == 1)
        late.set()
        assert (await read_head(reader)).status == 101
        async with asyncio.timeout(PATIENCE):
            assert await reader.readexactly(13) == b"\x82\x05first\x82\x04next"


async def test_many_tunnels_are_open_at_once() -> None:
    """Tunnels do not use up a pool, and the registry knows them."""
    async with activity(echo) as url, passing(url) as proxy:
        meeting = asyncio.Barrier(121)

        async def chat(number: int) -> None:
            async with viewer(proxy) as socket:
                await meeting.wait()
                await socket.send_str(str(number))
                assert await socket.receive_str() == str(number)
                await meeting.wait()

        chats = [asyncio.create_task(chat(number)) for number in range(120)]
        await meeting.wait()
        assert len(proxy.tunnels) == 120
        await meeting.wait()
        await asyncio.gather(*chats)
        await until(lambda: not proxy.tunnels)


async def test_the_bytes_sent_through_a_tunnel_are_known() -> None:
    """Head and frames to the client count, for the access log."""

    async def serve(reader: Reader, writer: Writer) -> None:
        await read_head(reader)
        writer.write(SWITCH + b"\x82\x05first" + b"\x88\x00")

    async with raw_origin(serve) as origin, passing(origin.url) as proxy:
        async with client(proxy.port) as (reader, writer):
            writer.write(request(b"GET /", *ASK))
            async with asyncio.timeout(PATIENCE):
                got = await reader.read()
        await until(lambda: bool(proxy.outcomes))
    [response] = proxy.outcomes
    assert isinstance(response, web.StreamResponse)
    assert (response.status, response.body_length) == (101, len(got))
