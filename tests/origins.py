"""Raw servers and clients on the loopback, for tests that look at the bytes themselves."""

import asyncio
import logging
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from aiohttp import web
from yarl import URL

from proxy.ahead import AtOnce
from proxy.bounds import Bounds
from proxy.clock import Clock, SystemClock
from proxy.connection import Begin, Handler
from proxy.errors import ActivityAway, MalformedBody
from proxy.events import Observe
from proxy.headers import Network
from proxy.origin import Origin as ActivityServer
from proxy.passthrough import PassThrough
from proxy.server import HttpServer, public_server
from proxy.target import origin_form
from proxy.tunnel import Tunnels

PATIENCE = 15.0
"""Seconds after which a test that waits has failed."""

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter
Serve = Callable[[Reader, Writer], Awaitable[None]]

LOOSE = Bounds(target=16 * 1024)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nDate: now\r\n\r\nok"


@dataclass(frozen=True)
class Message:
    """A request or response as it came over the wire; `chunks` when it was chunked."""

    start: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytes = b""
    chunks: list[bytes] | None = None

    @property
    def status(self) -> int:
        """The status of a response."""
        return int(self.start.split(b" ")[1])

    @property
    def target(self) -> bytes:
        """The target of a request."""
        return self.start.split(b" ")[1]

    def all(self, name: str) -> list[bytes]:
        """All values of a field."""
        return [value for key, value in self.fields if key.lower() == name.lower().encode()]

    def one(self, name: str) -> bytes | None:
        """The only value of a field, None when it is absent."""
        values = self.all(name)
        assert len(values) <= 1, values
        return values[0] if values else None


async def read_head(reader: Reader) -> Message:
    """Read a start line and the fields."""
    async with asyncio.timeout(PATIENCE):
        start, *lines = (await reader.readuntil(b"\r\n\r\n"))[:-4].split(b"\r\n")
    return Message(start, [(name, value) for name, _, value in (line.partition(b": ") for line in lines)])


async def read_chunk(reader: Reader) -> bytes:
    """Read one chunk; the last is empty."""
    async with asyncio.timeout(PATIENCE):
        size = int(await reader.readuntil(b"\r\n"), 16)
        return (await reader.readexactly(size + 2))[:-2]


async def read_message(reader: Reader, *, bodiless: bool = False) -> Message:
    """Read a request or response. Raises `IncompleteReadError` for one that breaks off."""
    head = await read_head(reader)
    if bodiless:
        return head
    if head.one("Transfer-Encoding") == b"chunked":
        chunks = [chunk async for chunk in _chunks(reader)]
        return Message(head.start, head.fields, b"".join(chunks), chunks)
    async with asyncio.timeout(PATIENCE):
        length = head.one("Content-Length")
        if length is not None:
            return Message(head.start, head.fields, await reader.readexactly(int(length)))
        if head.start.startswith(b"HTTP/") and head.status not in (204, 304):
            return Message(head.start, head.fields, await reader.read())
    return head


async def _chunks(reader: Reader) -> AsyncIterator[bytes]:
    while chunk := await read_chunk(reader):
        yield chunk


@dataclass
class Origin:
    """A running raw server, and what it was sent."""

    url: URL
    received: list[Message] = field(default_factory=list)
    connections: int = 0


@asynccontextmanager
async def raw_origin(serve: Serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[Origin]:
    """Run a server that leaves each connection to `serve` and closes it afterwards."""
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: Reader, writer: Writer) -> None:
        origin.connections += 1
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await serve(reader, writer)
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    scheme = "http" if tls is None else "https"
    origin = Origin(URL(f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"))
    try:
        yield origin
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def answering(*answers: bytes) -> AsyncIterator[Origin]:
    """Run an origin that gives these answers in turn, the last one ever after, and keeps connections."""
    left = list(answers)

    async def serve(reader: Reader, writer: Writer) -> None:
        while True:
            origin.received.append(await read_message(reader))
            writer.write(left.pop(0) if len(left) > 1 else left[0])
            await writer.drain()

    async with raw_origin(serve) as origin:
        yield origin


@dataclass
class Proxy:
    """A pass-through behind the real public server. `outcomes` are what the handler came to."""

    port: int
    server: HttpServer
    upstream: ActivityServer
    tunnels: Tunnels
    outcomes: list[web.StreamResponse | BaseException] = field(default_factory=list)


@asynccontextmanager
async def serving(
    handler: Handler,
    *,
    at_once: AtOnce | None = None,
    beginning: Begin | None = None,
    bounds: Bounds = LOOSE,
    logger: logging.Logger | None = None,
    observe: Observe = lambda _: None,
    clock: Clock | None = None,
    keepalive_timeout: float = 75.0,
) -> AsyncIterator[tuple[int, HttpServer]]:
    """Run a public server, whose errors all have the id `made`."""
    server = public_server(
        handler,
        at_once=at_once,
        beginning=beginning,
        keepalive_timeout=keepalive_timeout,
        bounds=bounds,
        new_request_id=lambda: "made",
        logger=logger or logging.getLogger("tests"),
        clock=clock or SystemClock(),
        observe=observe,
    )
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1], server
    finally:
        listening.close()
        await server.shutdown(0.1)


@asynccontextmanager
async def passing(
    origin: URL,
    *,
    trusted: Sequence[Network] = (),
    linger: float = 2 * PATIENCE,
    connect_timeout: float = 1.0,
) -> AsyncIterator[Proxy]:
    """Run a pass-through to `origin`, and see that it holds no connection when the test has ended."""

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        try:
            target = origin_form(request.raw_path)
            assert target is not None
            response = await pass_through(request, target)
        except (ActivityAway, MalformedBody) as error:
            proxy.outcomes.append(error)
            return web.Response(status=502 if isinstance(error, ActivityAway) else 400)
        except BaseException as error:
            proxy.outcomes.append(error)
            raise
        proxy.outcomes.append(response)
        return response

    async with (
        ActivityServer(origin, connect_timeout=connect_timeout) as upstream,
        serving(handler) as (port, server),
    ):
        proxy = Proxy(port, server, upstream, Tunnels(linger=linger))
        pass_through = PassThrough(upstream, proxy.tunnels.splice, tuple(trusted))
        yield proxy
        await until(lambda: not server.connections and not proxy.tunnels)
        assert not upstream.in_use


@asynccontextmanager
async def client(port: int) -> AsyncIterator[tuple[Reader, Writer]]:
    """Open a connection, and see it closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


@asynccontextmanager
async def talking(
    origin: URL, *, linger: float = 2 * PATIENCE
) -> AsyncIterator[tuple[Proxy, Reader, Writer]]:
    """Run a pass-through with one client connected."""
    async with passing(origin, linger=linger) as proxy, client(proxy.port) as (reader, writer):
        yield proxy, reader, writer


def request(start: bytes, *fields: bytes, body: bytes = b"") -> bytes:
    """Write a request: `start` is method and target."""
    return b"\r\n".join([start + b" HTTP/1.1", b"Host: activity.example", *fields, b"", body])


async def exchange(port: int, sent: bytes) -> Message:
    """Send a request on a connection of its own and read the answer."""
    async with client(port) as (reader, writer):
        writer.write(sent)
        return await read_message(reader, bodiless=sent.startswith(b"HEAD "))


def reset(writer: Writer) -> None:
    """Close so that the other side sees a reset."""
    on_close = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, on_close)
    writer.transport.abort()


async def pour(writer: Writer, size: int) -> int:
    """Send zeros until that is done, or nobody has taken any for a while; return how many were sent."""
    piece = bytes(500_000)
    sent = 0
    with suppress(TimeoutError):
        while sent < size:
            writer.write(piece)
            sent += len(piece)
            async with asyncio.timeout(0.2):
                await writer.drain()
    return sent


async def until(condition: Callable[[], bool]) -> None:
    """Let everything else run until the condition holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  (what is watched sets no event)
            await asyncio.sleep(0.001)
