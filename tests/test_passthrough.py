"""What the Activity server is sent, seen from a real one."""

import asyncio
import gzip
from ipaddress import ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.origins import (
    OK,
    PATIENCE,
    Reader,
    Writer,
    answering,
    exchange,
    passing,
    pour,
    raw_origin,
    read_chunk,
    read_head,
    read_message,
    request,
    talking,
)

CHUNKED = b"Transfer-Encoding: chunked"
PRINTABLE = [chr(code) for code in range(33, 127) if chr(code) != "#"]
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "QUERY"]
TARGETS = [
    b"/",
    b"/?",
    b"/a?b=c&d=%2F&e=+&b=c",
    b"/%41%7E/%2e%2e/%2F//x",
    b"//evil.example/a",
    b"/a/../b/./c",
    b"/a\\b|{}^`<>\"'",
    b"/a?b?c",
    b"/a;b=c,d@e:f",
    b"/%zz%",
]


async def test_targets_are_sent_as_they_came() -> None:
    """No escape is decoded or made, no dot segment, slash or empty query is tidied away."""
    async with answering(OK) as origin, passing(origin.url) as proxy:
        for target in TARGETS:
            await exchange(proxy.port, request(b"GET " + target))
    assert [message.target for message in origin.received] == TARGETS


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.text([chr(c) for c in range(33, 127) if chr(c) != "#"], max_size=15), min_size=5, max_size=20)
)
def test_any_target_is_sent_as_it_came(tails: list[str]) -> None:
    """Whatever printable characters a target has, they arrive."""
    targets = [b"/" + tail.encode() for tail in tails]

    async def check() -> None:
        async with answering(OK) as origin, talking(origin.url) as (_, reader, writer):
            for target in targets:
                writer.write(request(b"GET " + target))
                assert (await read_message(reader)).body == b"ok"
        assert [message.target for message in origin.received] == targets

    asyncio.run(check())


@pytest.mark.parametrize(
    "method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "QUERY"]
)
async def test_nothing_is_added_to_a_request_without_a_body(method: str) -> None:
    """The Activity server gets the client's fields and the proxy's four: no length, no chunks, no type."""
    async with answering(OK) as origin, passing(origin.url) as proxy:
        await exchange(proxy.port, request(method.encode() + b" /", b"X-tag: a"))
    assert origin.received[0].start == method.encode() + b" / HTTP/1.1"
    assert origin.received[0].fields == [
        (b"Host", b"activity.example"),
        (b"X-tag", b"a"),
        (b"X-Forwarded-For", b"127.0.0.1"),
        (b"X-Forwarded-Proto", b"http"),
        (b"X-Forwarded-Host", b"activity.example"),
        (b"Via", b"1.1 activity-proxy"),
    ]


async def test_fields_keep_their_case_order_and_number() -> None:
    """Repeated fields all arrive as they are, in order, also when their names differ in case."""
    fields = [
        b"x-tag: 1",
        b"X-Tag: 2",
        b"COOKIE: a=1",
        b"Cookie: b=2",
        b"accept: */*",
        b"User-Agent: \xc3\xa9",
    ]
    async with answering(OK) as origin, passing(origin.url) as proxy:
        await exchange(proxy.port, request(b"GET /", *fields))
    assert origin.received[0].fields[1:7] == [
        (b"x-tag", b"1"),
        (b"X-Tag", b"2"),
        (b"COOKIE", b"a=1"),
        (b"Cookie", b"b=2"),
        (b"accept", b"*/*"),
        (b"User-Agent", b"\xc3\xa9"),
    ]


async def test_fields_of_the_clients_connection_stay_there() -> None:
    """Hop-by-hop fields, those that Connection names, and an upgrade that is not passed on are removed."""
    fields = [b"Connection: Keep-Alive, x-HOP, Upgrade", b"Keep-Alive: timeout=5", b"X-Hop: 1"]
    fields += [b"TE: trailers", b"Upgrade: h2c", b"Proxy-Authorization: Basic secret", b"X-Stays: 1"]
    async with answering(OK) as origin, talking(origin.url) as (_, reader, writer):
        for _ in range(2):
            writer.write(request(b"GET /", *fields))
            assert (await read_message(reader)).body == b"ok"
    names = [name for name, _ in origin.received[1].fields]
    assert names == [
        b"Host",
        b"X-Stays",
        b"X-Forwarded-For",
        b"X-Forwarded-Proto",
        b"X-Forwarded-Host",
        b"Via",
    ]


async def test_forwarding_fields_are_believed_from_trusted_peers_only() -> None:
    """A client's X-Forwarded-For is replaced; an edge's is appended to."""
    sent = request(b"GET /", b"X-Forwarded-For: 198.51.100.7", b"X-Forwarded-Proto: https")
    async with answering(OK) as origin:
        async with passing(origin.url) as proxy:
            await exchange(proxy.port, sent)
        async with passing(origin.url, trusted=[ip_network("127.0.0.0/8")]) as proxy:
            await exchange(proxy.port, sent)
    told = [(got.one("X-Forwarded-For"), got.one("X-Forwarded-Proto")) for got in origin.received]
    assert told == [(b"127.0.0.1", b"http"), (b"198.51.100.7, 127.0.0.1", b"https")]


@pytest.mark.parametrize("size", [1, 1000, 3_000_000])
async def test_a_body_of_known_length_keeps_its_length(size: int) -> None:
    """Small or far above aiohttp's 1 MiB, a body goes through whole, and no type is invented for it."""
    body = bytes(size)
    async with answering(OK) as origin, passing(origin.url) as proxy:
        await exchange(proxy.port, request(b"PUT /", b"Content-Length: %d" % size, body=body))
    [message] = origin.received
    assert (message.body, message.one("Content-Length"), message.chunks) == (body, str(size).encode(), None)
    assert message.one("Content-Type") is None


@pytest.mark.parametrize("chunks", [[], [b"a"], [b"abc", b"x" * 100_000]])
@pytest.mark.parametrize("method", [b"POST", b"GET"])
async def test_a_chunked_body_stays_chunked(chunks: list[bytes], method: bytes) -> None:
    """A body of unknown length arrives whole and chunked, also an empty one and one of a GET."""
    wire = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    async with answering(OK) as origin, passing(origin.url) as proxy:
        await exchange(proxy.port, request(method + b" /", CHUNKED, body=wire))
    [message] = origin.received
    assert (message.body, message.one("Transfer-Encoding")) == (b"".join(chunks), b"chunked")
    assert message.one("Content-Length") is None


async def test_an_empty_body_of_known_length_says_so() -> None:
    """Content-Length: 0 is passed on."""
    async with answering(OK) as origin, passing(origin.url) as proxy:
        await exchange(proxy.port, request(b"POST /", b"Content-Length: 0"))
    assert origin.received[0].all("Content-Length") == [b"0"]


async def test_a_compressed_body_stays_compressed() -> None:
    """What the client compressed the Activity server decompresses."""
    body = gzip.compress(b"hello" * 100)
    fields = [b"Content-Encoding: gzip", b"Content-Length: %d" % len(body)]
    async with answering(OK) as origin, passing(origin.url) as proxy:
        await exchange(proxy.port, request(b"POST /", *fields, body=body))
    assert (origin.received[0].body, origin.received[0].one("Content-Encoding")) == (body, b"gzip")


async def test_an_upload_is_passed_on_as_it_comes() -> None:
    """The Activity server sees the first part of a body before the client has sent the second."""
    first = asyncio.Event()

    async def serve(reader: Reader, writer: Writer) -> None:
        await read_head(reader)
        assert await read_chunk(reader) == b"one"
        first.set()
        assert await read_chunk(reader) == b"two"
        assert await read_chunk(reader) == b""
        writer.write(OK)

    async with raw_origin(serve) as origin, talking(origin.url) as (_, reader, writer):
        writer.write(request(b"POST /", CHUNKED, body=b"3\r\none\r\n"))
        async with asyncio.timeout(PATIENCE):
            await first.wait()
        writer.write(b"3\r\ntwo\r\n0\r\n\r\n")
        assert (await read_message(reader)).body == b"ok"


async def test_a_client_that_expects_100_gets_it_from_the_proxy() -> None:
    """An Activity server that ignores Expect does not stall an upload, since it never sees it."""
    async with answering(OK) as origin, talking(origin.url) as (_, reader, writer):
        writer.write(request(b"POST /", b"Content-Length: 4", b"Expect: 100-Continue"))
        assert (await read_head(reader)).start == b"HTTP/1.1 100 Continue"
        writer.write(b"body")
        assert (await read_message(reader)).status == 200
    assert (origin.received[0].body, origin.received[0].all("Expect")) == (b"body", [])


async def test_a_slow_activity_server_holds_the_upload_up() -> None:
    """The proxy does not take in what the Activity server does not take off it."""
    go = asyncio.Event()
    size = 100_000_000

    async def serve(reader: Reader, writer: Writer) -> None:
        await read_head(reader)
        await go.wait()
        left = size
        while left:
            left -= len(await reader.read(1_000_000))
        writer.write(OK)

    async with raw_origin(serve) as origin, talking(origin.url) as (_, reader, writer):
        writer.write(request(b"PUT /", b"Content-Length: %d" % size))
        sent = await pour(writer, size)
        assert sent < size / 2
        go.set()
        writer.write(bytes(size - sent))
        assert (await read_message(reader)).body == b"ok"


async def test_an_answer_before_the_end_of_the_upload_is_passed_on() -> None:
    """A refusal reaches a client that is still sending."""

    async def serve(reader: Reader, writer: Writer) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await reader.read()

    async with raw_origin(serve) as origin, talking(origin.url) as (_, reader, writer):
        writer.write(request(b"PUT /", b"Content-Length: 1000", body=b"abc"))
        assert (await read_message(reader)).status == 413
