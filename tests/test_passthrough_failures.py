"""The Activity server away or broken: an error that can still be answered, and no hidden repeats."""

import asyncio
import socket
from contextlib import AsyncExitStack

import pytest
from yarl import URL

from proxy.errors import ActivityAway, AwayReason, MalformedBody, error_body
from tests.origins import (
    OK,
    PATIENCE,
    Proxy,
    Reader,
    Writer,
    answering,
    client,
    exchange,
    passing,
    raw_origin,
    read_chunk,
    read_head,
    read_message,
    request,
    talking,
)

GET = request(b"GET /")


def reason(proxy: Proxy) -> AwayReason:
    """Why the last request found the Activity server away."""
    away = proxy.outcomes[-1]
    assert isinstance(away, ActivityAway)
    return away.reason


def unused_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


async def test_nobody_listens() -> None:
    """A refused connection is known before anything is sent."""
    async with passing(URL(f"http://127.0.0.1:{unused_port()}")) as proxy:
        assert (await exchange(proxy.port, GET)).status == 502
        assert reason(proxy) == "refused"


async def test_the_name_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that does not resolve is told apart."""

    async def getaddrinfo(*_: object, **__: object) -> None:
        raise socket.gaierror

    async with passing(URL("http://activity.example")) as proxy, client(proxy.port) as (reader, writer):
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
        writer.write(GET)
        assert (await read_message(reader)).status == 502
        assert reason(proxy) == "dns"


async def test_nobody_accepts() -> None:
    """A connection that is not made in time is given up."""
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        # What its queue does not hold the kernel leaves unanswered.
        waiting = stack.enter_context(socket.socket())
        waiting.setblocking(False)
        await loop.sock_connect(waiting, full.getsockname())
        origin = URL(f"http://127.0.0.1:{full.getsockname()[1]}")
        proxy = await stack.enter_async_context(passing(origin, connect_timeout=0.1))
        assert (await exchange(proxy.port, GET)).status == 502
        assert reason(proxy) == "timeout"


async def test_it_does_not_speak_tls() -> None:
    """A handshake that fails is told apart."""

    async def serve(_: Reader, writer: Writer) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with raw_origin(serve) as origin, passing(origin.url.with_scheme("https")) as proxy:
        assert (await exchange(proxy.port, GET)).status == 502
        assert reason(proxy) == "tls"


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 000 None\r\nContent-Length: 2\r\n\r\nok",
    ],
)
async def test_what_it_says_is_not_http(answer: bytes) -> None:
    """An answer whose end is doubtful, or that nobody asked for, is none."""
    async with answering(answer) as origin, passing(origin.url) as proxy:
        assert (await exchange(proxy.port, GET)).status == 502
        assert reason(proxy) == "malformed"


@pytest.mark.parametrize(
    ("method", "attempts"), [("GET", 2), ("HEAD", 2), ("PUT", 1), ("DELETE", 1), ("POST", 1)]
)
async def test_only_what_is_safe_is_sent_again(method: str, attempts: int) -> None:
    """After a connection that closes without an answer GET and HEAD are tried once more, others not."""

    async def serve(reader: Reader, _: Writer) -> None:
        origin.received.append(await read_message(reader))

    async with raw_origin(serve) as origin, passing(origin.url) as proxy:
        assert (await exchange(proxy.port, request(method.encode() + b" /"))).status == 502
        assert reason(proxy) == "reset"
    assert len(origin.received) == attempts


async def test_what_has_a_body_is_not_sent_again() -> None:
    """Not even a GET: the body is gone."""

    async def serve(reader: Reader, _: Writer) -> None:
        origin.received.append(await read_message(reader))

    async with raw_origin(serve) as origin, passing(origin.url) as proxy:
        sent = request(b"GET /", b"Content-Length: 2", body=b"ab")
        assert (await exchange(proxy.port, sent)).status == 502
    assert len(origin.received) == 1


async def test_a_kept_connection_that_closes_is_no_viewers_trouble() -> None:
    """The Activity server closes an idle connection just as it is used again: the answer comes anyway."""

    async def serve(reader: Reader, writer: Writer) -> None:
        await read_head(reader)
        writer.write(OK)
        await read_head(reader)

    async with raw_origin(serve) as origin, talking(origin.url) as (_, reader, writer):
        for _ in range(3):
            writer.write(GET)
            assert (await read_message(reader)).body == b"ok"
    assert origin.connections == 3


async def test_the_environments_proxy_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP_PROXY is for others: the Activity server is beside us."""
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{unused_port()}")
    async with answering(OK) as origin, passing(origin.url) as proxy:
        assert (await exchange(proxy.port, GET)).body == b"ok"


@pytest.mark.parametrize(("good", "bad"), [(b"1\r\na\r\n", b"zz\r\n"), (b"1\r\na", b"\r\nzz\r\n")])
async def test_a_body_that_breaks_its_framing_is_the_clients_fault(good: bytes, bad: bytes) -> None:
    """Bad chunks are a 400 and the end of the connection, and the Activity server sees no end of the body."""

    async def serve(reader: Reader, _: Writer) -> None:
        await read_head(reader)
        assert await read_chunk(reader) == b"a"
        begun.set()
        origin.received.append(await read_message(reader))

    begun = asyncio.Event()
    async with raw_origin(serve) as origin, talking(origin.url) as (proxy, reader, writer):
        writer.write(request(b"POST /", b"Transfer-Encoding: chunked", body=good))
        async with asyncio.timeout(PATIENCE):
            await begun.wait()
        writer.write(bad)
        assert (await read_message(reader)).status == 400
        async with asyncio.timeout(PATIENCE):
            assert await reader.read() == b""
    assert isinstance(proxy.outcomes[0], MalformedBody)
    assert not origin.received


def test_errors_have_the_activity_servers_shape() -> None:
    """Its two fields, and the proxy's two."""
    body = error_body("Bad gateway", "The Activity server is away", "activity_away", "r1")
    assert body == (
        b'{"error":"Bad gateway","message":"The Activity server is away",'
        b'"code":"activity_away","requestId":"r1"}'
    )
