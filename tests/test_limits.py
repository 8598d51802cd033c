"""What one client may take of the listener, and how it ends when it takes more."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import orjson
import pytest
from aiohttp import web

from proxy.ahead import AtOnce, Send
from proxy.bounds import Bounds, Outflow
from proxy.events import Event, Limited, RequestEnded
from proxy.server import SWEEP, TURNED_AWAY, HttpServer
from tests.clocks import FakeClock
from tests.listener_fakes import Recorded, listening
from tests.origins import OK, PATIENCE, Message, Reader, Writer, client, read_message, request, serving, until

BOUNDS = Bounds(header=1000, headers=5, target=1000, header_timeout=3.0, send_timeout=5.0, connections=2)
LARGE = 40_000_000


@dataclass
class Door:
    """A listener at work, its clock, and what it told."""

    port: int
    server: HttpServer
    clock: FakeClock
    events: list[Event] = field(default_factory=list)
    more: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def limits(self) -> list[str]:
        """The limits that were met."""
        return [event.limit for event in self.events if isinstance(event, Limited)]

    async def pass_time(self, seconds: float) -> None:
        """Let time pass as the sweeps see it, with all that the sockets bring meanwhile."""
        for _ in range(round(seconds)):
            await asyncio.sleep(0.005)
            await self.clock.advance(SWEEP)


@asynccontextmanager
async def door(bounds: Bounds = BOUNDS, at_once: AtOnce | None = None) -> AsyncIterator[Door]:
    """Run a listener that answers in several ways, with sweeps by a clock of the test's own."""

    async def handler(asked: web.BaseRequest) -> web.StreamResponse:
        if asked.raw_path == "/large":
            return web.Response(body=bytes(LARGE))
        if asked.raw_path == "/stream":
            response = web.StreamResponse()
            await response.prepare(asked)
            await response.write(b"begun")
            await here.more.wait()
            await response.write_eof(b" ended")
            return response
        return web.Response(text=asked.raw_path)

    clock = FakeClock()
    events: list[Event] = []
    async with serving(handler, bounds=bounds, clock=clock, observe=events.append, at_once=at_once) as (
        port,
        server,
    ):
        here = Door(port, server, clock, events)
        running = asyncio.create_task(server.run())
        try:
            yield here
        finally:
            running.cancel()
            await asyncio.wait({running})


async def ended(reader: Reader) -> bytes:
    """What still comes before the connection ends."""
    async with asyncio.timeout(PATIENCE):
        try:
            return await reader.read()
        except ConnectionError:
            return b"reset"


def code(message: Message) -> tuple[int, str]:
    """Status and code of an error, which ends its connection."""
    assert message.one("Connection") == b"close"
    assert message.one("Cache-Control") == b"no-store"
    body = orjson.loads(message.body)
    assert list(body) == ["error", "message", "code", "requestId"]
    assert message.one("X-Request-Id") == body["requestId"].encode()
    return message.status, body["code"]


@pytest.mark.parametrize(
    ("sent", "status", "limit"),
    [
        (request(b"GET /" + b"a" * 999), 200, None),
        (request(b"GET /" + b"a" * 1000), 414, "target"),
        (request(b"GET /", b"X:" + b"a" * 1100), 431, "header"),
        (request(b"GET /", *(b"X-%d: 1" % n for n in range(4))), 200, None),
        (request(b"GET /", *(b"X-%d: 1" % n for n in range(9))), 431, "headers"),
    ],
)
async def test_a_request_has_bounds(sent: bytes, status: int, limit: str | None) -> None:
    """Target, header line and number of lines are bounded, each is refused by its own name and counted."""
    async with door() as it, client(it.port) as (reader, writer):
        writer.write(sent)
        message = await read_message(reader)
        assert message.status == status
        assert it.limits == ([limit] if limit else [])
        ends = [event for event in it.events if isinstance(event, RequestEnded)]
        assert [(end.status, end.route) for end in ends] == ([(status, "none")] if limit else [])


async def test_equal_limits_are_told_apart() -> None:
    """A long header is no long target, though both may have the same size."""
    async with door(Bounds(header=500, target=500)) as it:
        for sent, status in ((b"GET /" + b"a" * 900, 414), (b"GET / HTTP/1.1\r\nX: " + b"a" * 900, 431)):
            async with client(it.port) as (reader, writer):
                writer.write(sent)
                assert (await read_message(reader)).status == status
    assert it.limits == ["target", "header"]


async def test_a_head_that_does_not_end_is_cut() -> None:
    """It gets a 408 when its time is over, however busily it trickles, and is told as a request is."""
    async with door() as it, client(it.port) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\n")
        for _ in range(3):
            await it.pass_time(1)
            writer.write(b"X: 1\r\n")
        assert it.limits == []
        await it.pass_time(2)
        assert code(await read_message(reader)) == (408, "request_timeout")
        assert await ended(reader) == b""
    assert it.limits == ["header_time"]
    (end,) = [event for event in it.events if isinstance(event, RequestEnded)]
    assert (end.status, end.route, end.client, end.method) == (408, "none", "127.0.0.1", "UNKNOWN")
    assert end.bytes_sent > 0


async def test_a_head_has_its_time_from_its_own_first_byte() -> None:
    """Neither waiting before the head nor the request before it counts."""
    async with door() as it, client(it.port) as (reader, writer):
        await it.pass_time(2)
        writer.write(b"GET /1 HTTP/1.1\r\n")
        await it.pass_time(2)
        writer.write(b"Host: a\r\n\r\n")
        assert (await read_message(reader)).body == b"/1"
        await it.pass_time(20)  # idle, which is no head
        writer.write(b"GET /2 HTTP/1.1\r\n")
        await it.pass_time(2)
        writer.write(b"Host: a\r\n\r\n")
        assert (await read_message(reader)).body == b"/2"
        writer.write(b"GET /3 HT")
        await it.pass_time(5)
        assert code(await read_message(reader)) == (408, "request_timeout")
    assert it.limits == ["header_time"]


async def test_a_body_close_behind_its_head_is_no_head() -> None:
    """Though it comes before anybody has looked at the head."""
    async with door() as it, client(it.port) as (reader, writer):
        await until(lambda: bool(it.server.connections))
        (connection,) = it.server.connections
        connection.data_received(request(b"POST /stream", b"Content-Length: 4"))
        connection.data_received(b"body")
        await it.pass_time(10)
        it.more.set()
        assert (await read_message(reader)).body == b"begun ended"
        await it.pass_time(10)
        writer.write(request(b"GET /again"))
        assert (await read_message(reader)).body == b"/again"
    assert it.limits == []


async def test_a_head_that_is_answered_at_once_has_ended() -> None:
    """One that came in two pieces leaves no clock running."""

    def ready(send: Send) -> bool:
        send([OK])
        return True

    async with door(at_once=lambda _request, _peer: ready) as it, client(it.port) as (reader, writer):
        for _ in range(2):
            writer.write(b"GET / HTTP/1.1\r\n")
            await it.pass_time(1)
            writer.write(b"Host: a\r\n\r\n")
            assert (await read_message(reader)).body == b"ok"
            await it.pass_time(10)
    assert it.limits == []


async def test_a_connection_that_says_nothing_is_closed() -> None:
    """It asked nothing, so it is answered nothing."""
    async with door() as it, client(it.port) as (reader, _):
        await it.pass_time(2)
        assert it.limits == []
        await it.pass_time(3)
        assert await ended(reader) == b""
    assert it.limits == ["header_time"]
    assert [event for event in it.events if isinstance(event, RequestEnded)] == []


async def test_a_request_under_way_is_no_late_head() -> None:
    """A long answer, and one to a slow origin, is not cut by the header's time."""
    async with door() as it, client(it.port) as (reader, writer):
        writer.write(request(b"GET /stream"))
        await it.pass_time(30)
        it.more.set()
        assert (await read_message(reader)).body == b"begun ended"
    assert it.limits == []


async def test_connections_over_the_limit_are_turned_away() -> None:
    """They hear a 503 and when to come again; those that are open go on; a place that is free is given."""
    async with door() as it:
        async with client(it.port) as (reader, writer), client(it.port) as (other, second):
            for each, stream in ((writer, reader), (second, other)):
                each.write(request(b"GET /in"))
                assert (await read_message(stream)).body == b"/in"
            async with client(it.port) as (late, third):
                third.write(request(b"GET /out"))
                message = await read_message(late)
                assert code(message) == (503, "too_many_connections")
                assert message.one("Retry-After") == b"1"
                assert await ended(late) == b""
            writer.write(request(b"GET /still"))
            assert (await read_message(reader)).body == b"/still"
        await until(lambda: not it.server.full)
        async with client(it.port) as (reader, writer):
            writer.write(request(b"GET /again"))
            assert (await read_message(reader)).body == b"/again"
    assert it.limits == ["connections"]


async def test_those_turned_away_are_few_and_short() -> None:
    """One that asks nothing is closed by the next sweeps; beyond some, none is even heard."""
    async with door(Bounds(connections=1)) as it, client(it.port):
        await until(lambda: it.server.full)
        waiting = [await asyncio.open_connection("127.0.0.1", it.port) for _ in range(TURNED_AWAY)]
        await until(lambda: len(it.server.turned_away) == TURNED_AWAY)
        async with client(it.port) as (reader, _):
            assert await ended(reader) in (b"", b"reset")
        assert it.limits == ["connections"]
        await it.pass_time(2)
        for reader, writer in waiting:
            assert await ended(reader) in (b"", b"reset")
            writer.close()
        await until(lambda: not it.server.turned_away)
        assert len(it.limits) == TURNED_AWAY + 1


async def test_the_rest_of_those_turned_away_goes_with_the_server() -> None:
    """Stopping leaves none of their connections open."""
    async with door(Bounds(connections=1)) as it, client(it.port):
        await until(lambda: it.server.full)
        async with client(it.port) as (reader, _):
            await until(lambda: bool(it.server.turned_away))
            await it.server.cut()
            assert await ended(reader) in (b"", b"reset")


async def unread(port: int, target: bytes) -> tuple[Reader, Writer]:
    """Ask, and take nothing of the answer."""
    tcp = socket.socket()
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    tcp.setblocking(False)
    await asyncio.get_running_loop().sock_connect(tcp, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=tcp, limit=1024)
    writer.write(request(b"GET " + target))
    return reader, writer


async def test_a_client_that_takes_nothing_is_cut() -> None:
    """When bytes wait and none has moved for the time that it has; its place is free then."""
    async with door() as it:
        reader, writer = await unread(it.port, b"/large")
        await it.pass_time(4)
        assert it.limits == []
        await it.pass_time(10)
        assert it.limits == ["slow_reader"]
        await until(lambda: not it.server.connections)
        assert len(await ended(reader)) < LARGE
        writer.close()


async def test_a_client_that_takes_a_little_is_not_cut() -> None:
    """Slow is not stuck: as long as bytes move, the answer goes on."""
    async with door() as it:
        reader, writer = await unread(it.port, b"/large")
        for _ in range(20):
            async with asyncio.timeout(PATIENCE):
                await reader.readexactly(20_000)
            await it.pass_time(1)
        assert it.limits == []
        writer.close()


async def test_an_answer_that_waits_for_more_is_not_slow() -> None:
    """A stream of events may be silent: nothing waits to be sent, so nobody is late."""
    async with door() as it, client(it.port) as (reader, writer):
        writer.write(request(b"GET /stream"))
        await it.pass_time(60)
        assert it.limits == []
        it.more.set()
        assert (await read_message(reader)).body == b"begun ended"


class Sent(asyncio.Transport):
    """A transport of which the test says how much waits; its system does not tell what moved."""

    waiting = 0

    def get_write_buffer_size(self) -> int:
        """What the test says."""
        return self.waiting


def test_without_the_systems_word_a_shrinking_buffer_is_progress() -> None:
    """Elsewhere than on Linux only what waits here is known; growing is not taken for moving."""
    transport, outflow = Sent(), Outflow()
    stuck = []
    for now, waiting in enumerate((0, 500, 600, 600, 500, 700, 0, 700)):
        transport.waiting = waiting
        stuck.append(outflow.stuck(transport, float(now)))
    assert stuck == [0, 0, 1, 2, 0, 1, 0, 0]


@pytest.mark.parametrize("sent", [b"", b'{"code":'])
async def test_a_body_that_does_not_end_is_cut(sent: bytes) -> None:
    """A rewritten call's body has a time; nothing is called, and the connection ends."""
    source = Recorded()
    async with listening(source, body_timeout=0.05) as bench, client(bench.port) as (reader, writer):
        fields = (b"Content-Type: application/json", b"Content-Length: 1000")
        writer.write(request(b"POST /api/kaltura/session", *fields, body=sent))
        assert code(await read_message(reader)) == (408, "request_timeout")
        assert source.calls == []
        assert [event.limit for event in bench.events.of(Limited)] == ["body_time"]


async def test_a_body_over_the_limit_is_counted() -> None:
    """As what it is, once, whether it says its length or not."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield bytes(100)

    async with listening() as bench:
        for body in (bytes(2000), pieces()):
            assert await bench.refused("POST", "/api/kaltura/session", data=body) == (413, "body_too_large")
        assert [event.limit for event in bench.events.of(Limited)] == ["body", "body"]
