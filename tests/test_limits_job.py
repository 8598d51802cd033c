"""Limits from the configuration to the wire, in a whole sidecar whose clock the test owns."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from aiohttp import ClientSession

from proxy.sidecar import Sidecar
from tests.certificates import Authority
from tests.clocks import FakeClock
from tests.origins import (
    PATIENCE,
    Reader,
    Writer,
    client,
    raw_origin,
    read_head,
    read_message,
    request,
)
from tests.running import NOWHERE, configured
from tests.tunnels import ASK, SWITCH

VIDEO = b"GET /api/kaltura/video/1_abc"


@dataclass
class Guarded:
    """A running sidecar and its clock."""

    sidecar: Sidecar
    clock: FakeClock

    @property
    def port(self) -> int:
        """The public listener's."""
        return self.sidecar.listen.port

    async def limited(self) -> dict[str, float]:
        """The counts of limits that were met, as the admin listener tells them."""
        async with (
            ClientSession() as session,
            session.get(f"http://{self.sidecar.admin}/metrics") as answer,
        ):
            assert answer.status == 200
            lines = (await answer.text()).splitlines()
        counts = {}
        for line in lines:
            if line.startswith("activity_proxy_limited_total{"):
                label, _, count = line.partition("} ")
                counts[label.split('"')[1]] = float(count)
        return {limit: count for limit, count in counts.items() if count}

    async def pass_time(self, seconds: int) -> None:
        """Let time pass, a second at a time, with what the sockets bring meanwhile."""
        for _ in range(seconds):
            await asyncio.sleep(0.005)
            await self.clock.advance(1)


@asynccontextmanager
async def guarded(folder: Path, text: str, *, activity: str = NOWHERE) -> AsyncIterator[Guarded]:
    """Run a sidecar of a configuration."""
    clock = FakeClock()
    configuration = configured(folder, f"mode: offline\n{text}", activity=activity)
    async with Sidecar(configuration, clock=clock, drain=0.0, grace=0.1) as sidecar:
        yield Guarded(sidecar, clock)


async def test_sizes_are_the_configurations(tmp_path: Path) -> None:
    """Target, header line, number of lines and body are bounded by what is written, not by a default."""
    text = "limits: {target: 200B, header: 100B, headers: 3, body: 50B}"
    fields = (b"Content-Type: application/json", b"Content-Length: 60")
    body = b'{"videoId": "1_abc", "more": "' + b"a" * 28 + b'"}'
    sent = {
        414: request(b"GET /" + b"a" * 200),
        431: request(VIDEO, b"X: " + b"a" * 120),
        413: request(b"POST /api/kaltura/session", *fields, body=body),
    }
    async with guarded(tmp_path, text) as it:
        for status, asked in (*sent.items(), (431, request(VIDEO, *(b"X-%d: 1" % n for n in range(5))))):
            async with client(it.port) as (reader, writer):
                writer.write(asked)
                assert (await read_message(reader)).status == status
        assert await it.limited() == {"target": 1, "header": 1, "headers": 1, "body": 1}


async def test_a_head_has_the_time_that_is_configured(tmp_path: Path) -> None:
    """On the public listener; the admin listener has its own, and cuts as well."""
    async with (
        guarded(tmp_path, "limits: {header_timeout: 30s}") as it,
        client(it.port) as (reader, writer),
        client(it.sidecar.admin.port) as (late, other),
    ):
        for each in (writer, other):
            each.write(b"GET / HTTP/1.1\r\n")
        await it.pass_time(15)
        assert (await read_message(late)).status == 408
        assert await it.limited() == {"header_time": 1}
        await it.pass_time(20)
        assert (await read_message(reader)).status == 408


async def test_a_body_has_the_time_that_is_configured(tmp_path: Path) -> None:
    """By the loop's own clock, as all that waits within a request."""
    async with guarded(tmp_path, "limits: {body_timeout: 50ms}") as it, client(it.port) as (reader, writer):
        fields = (b"Content-Type: application/json", b"Content-Length: 60")
        writer.write(request(b"POST /api/kaltura/session", *fields, body=b"{"))
        assert (await read_message(reader)).status == 408
        assert await it.limited() == {"body_time": 1}


async def test_a_full_listener_leaves_the_admin_listener_alone(tmp_path: Path) -> None:
    """The operator sees what is going on just then."""
    async with (
        guarded(tmp_path, "limits: {connections: 2}") as it,
        client(it.port) as (first, one),
        client(it.port) as (second, two),
        client(it.port) as (third, three),
    ):
        for reader, writer, status in ((first, one, 200), (second, two, 200), (third, three, 503)):
            writer.write(request(VIDEO))
            assert (await read_message(reader)).status == status
        assert await it.limited() == {"connections": 1}


def small(port: int) -> socket.socket:
    """A connection whose kernel takes little for a client that reads nothing."""
    tcp = socket.socket()
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    tcp.connect(("127.0.0.1", port))
    tcp.setblocking(False)
    return tcp


async def pouring(reader: Reader, writer: Writer) -> None:
    """Answer, or switch protocols, and send until the other side ends."""
    asked = await read_head(reader)
    websocket = asked.one("Upgrade") is not None
    writer.write(SWITCH if websocket else b"HTTP/1.1 200 OK\r\n\r\n")
    ended = asyncio.create_task(reader.read())
    while not ended.done():
        writer.write(b"\x82\x7e\x03\xe8" + bytes(1000) if websocket else bytes(100_000))
        await writer.drain()
    await ended


async def test_who_does_not_take_what_passes_through_is_cut(tmp_path: Path) -> None:
    """A plain answer and a WebSocket alike."""
    for asked in (request(b"GET /"), ASK):
        async with (
            raw_origin(pouring) as origin,
            guarded(tmp_path, "limits: {send_timeout: 5s}", activity=str(origin.url)) as it,
        ):
            reader, writer = await asyncio.open_connection(sock=small(it.port), limit=1024)
            writer.write(asked)
            await it.pass_time(5)
            assert await it.limited() == {}
            await it.pass_time(60)
            assert await it.limited() == {"slow_reader": 1}
            with suppress(ConnectionError):
                async with asyncio.timeout(PATIENCE):
                    await reader.read()
            writer.close()


async def test_a_silent_websocket_and_event_stream_are_not_cut(tmp_path: Path) -> None:
    """Nothing waits to be sent, so nobody is late."""

    async def silent(reader: Reader, writer: Writer) -> None:
        asked = await read_head(reader)
        writer.write(
            SWITCH if asked.one("Upgrade") else b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
        )
        await reader.read()

    async with (
        raw_origin(silent) as origin,
        guarded(tmp_path, "limits: {send_timeout: 5s}", activity=str(origin.url)) as it,
        client(it.port) as (first, one),
        client(it.port) as (second, two),
    ):
        for asked, reader, writer in ((request(b"GET /"), first, one), (ASK, second, two)):
            writer.write(asked)
            await read_head(reader)
        await it.pass_time(120)
        assert await it.limited() == {}
        assert not first.at_eof()
        assert not second.at_eof()


async def test_a_slow_reader_is_seen_through_tls(tmp_path: Path) -> None:
    """Bytes wait behind the encryption then, and count as well."""
    authority = Authority(tmp_path)
    authority.issue("127.0.0.1")
    text = "limits: {send_timeout: 5s}\nlisten_tls: {certificate: server.pem, key: server.key}"
    async with raw_origin(pouring) as origin, guarded(tmp_path, text, activity=str(origin.url)) as it:
        context = ssl.create_default_context(cafile=str(authority.file))
        _, writer = await asyncio.open_connection(
            sock=small(it.port), ssl=context, server_hostname="127.0.0.1", limit=1024
        )
        writer.write(request(b"GET /"))
        await it.pass_time(60)
        assert await it.limited() == {"slow_reader": 1}
        writer.transport.abort()
