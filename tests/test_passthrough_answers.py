"""What the client gets of the Activity server's answers, byte by byte."""

import asyncio
import gzip

import pytest

from tests.origins import (
    OK,
    PATIENCE,
    Message,
    Reader,
    Writer,
    answering,
    client,
    exchange,
    passing,
    raw_origin,
    read_head,
    read_message,
    request,
    talking,
)

GET = request(b"GET /")


async def answer_to(answer: bytes, sent: bytes = GET) -> Message:
    """What a client gets when the Activity server says `answer`."""
    async with answering(answer) as origin, passing(origin.url) as proxy:
        return await exchange(proxy.port, sent)


async def test_an_answer_passes_to_the_byte() -> None:
    """Status, reason, fields in their case, order and number, and body are the Activity server's own."""
    fields = [
        (b"content-TYPE", b"text/html; charset=latin1"),
        (b"Set-Cookie", b"a=1; Path=/; Secure"),
        (b"set-cookie", b"b=2"),
        (b"SET-COOKIE", b"a=3"),
        (b"Server", b"theirs"),
        (b"X-Powered-By", b"Express"),
        (b"Date", b"Thu, 01 Jan 1970 00:00:00 GMT"),
        (b"Content-Disposition", b'attachment; filename="caf\xe9.txt"'),
        (b"X-Utf8", b"caf\xc3\xa9"),
        (b"Content-Length", b"5"),
    ]
    head = b"".join(name + b": " + value + b"\r\n" for name, value in fields)
    message = await answer_to(b"HTTP/1.1 299 Quite \xe9 Fine\r\n" + head + b"\r\nh\xe9llo")
    assert message == Message(b"HTTP/1.1 299 Quite \xe9 Fine", fields, b"h\xe9llo")


async def test_nothing_is_invented_but_the_date() -> None:
    """No Server, no Content-Type; but a Date where there is none (RFC 9110 section 6.6.1)."""
    message = await answer_to(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert [name for name, _ in message.fields] == [b"Content-Length", b"Date"]
    assert (message.one("Date") or b"").endswith(b" GMT")


async def test_fields_of_the_activity_servers_connection_stay_there() -> None:
    """Hop-by-hop fields and those that Connection names do not reach the client."""
    message = await answer_to(
        b"HTTP/1.1 200 OK\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nTrailer: X\r\n"
        b"Upgrade: h2c\r\nDate: now\r\nContent-Length: 2\r\n\r\nok"
    )
    assert message.fields == [(b"Date", b"now"), (b"Content-Length", b"2")]


@pytest.mark.parametrize(
    "status", [b"301 Moved", b"302 Found", b"303 See Other", b"307 Temporary", b"308 Permanent"]
)
async def test_redirects_are_the_clients_to_follow(status: bytes) -> None:
    """A redirect is passed on as it is."""
    message = await answer_to(
        b"HTTP/1.1 " + status + b"\r\nLocation: /there?%2F\r\nContent-Length: 2\r\n\r\nok"
    )
    assert (message.start[9:], message.one("Location"), message.body) == (status, b"/there?%2F", b"ok")


@pytest.mark.parametrize("coding", [b"gzip", b"br", b"zstd"])
async def test_a_coded_body_stays_coded(coding: bytes) -> None:
    """Bytes go through as they are, with their Content-Encoding, even when they are not what it says."""
    body = gzip.compress(b"hello" * 1000)
    message = await answer_to(
        b"HTTP/1.1 200 OK\r\nContent-Encoding: %b\r\nContent-Length: %d\r\n\r\n%b"
        % (coding, len(body), body),
        request(b"GET /", b"Accept-Encoding: gzip"),
    )
    assert (message.body, message.one("Content-Encoding")) == (body, coding)


async def test_a_range_passes() -> None:
    """Range goes there, and 206 with Content-Range comes back."""
    async with (
        answering(
            b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 1-2/9\r\nContent-Length: 2\r\n\r\nbc"
        ) as origin,
        passing(origin.url) as proxy,
    ):
        message = await exchange(proxy.port, request(b"GET /", b"Range: bytes=1-2", b'If-Range: "e"'))
    assert (origin.received[0].one("Range"), origin.received[0].one("If-Range")) == (b"bytes=1-2", b'"e"')
    assert (message.status, message.one("Content-Range"), message.body) == (206, b"bytes 1-2/9", b"bc")


@pytest.mark.parametrize(
    ("method", "head", "kept"),
    [
        (b"HEAD", b"200 OK\r\nContent-Length: 1234", b"Content-Length: 1234"),
        (b"HEAD", b"200 OK\r\nTransfer-Encoding: chunked", b""),
        (b"HEAD", b"404 Not Found", b""),
        (b"GET", b"304 Not Modified\r\nETag: x\r\nContent-Length: 9", b"ETag: x\r\nContent-Length: 9"),
        (b"GET", b"204 No Content", b""),
        (b"GET", b"204 No Content\r\nContent-Length: 0", b""),
        (b"DELETE", b"204 No Content", b""),
    ],
)
async def test_an_answer_without_a_body_stays_without(method: bytes, head: bytes, kept: bytes) -> None:
    """HEAD, 204 and 304 are answered by a head alone, and the connection goes on."""
    async with (
        answering(b"HTTP/1.1 " + head + b"\r\nDate: now\r\n\r\n", OK) as origin,
        talking(origin.url) as (_, reader, writer),
    ):
        writer.write(request(method + b" /"))
        async with asyncio.timeout(PATIENCE):
            got = await reader.readuntil(b"\r\n\r\n")
        expected = [b"HTTP/1.1 " + head.split(b"\r\n")[0], *kept.split(b"\r\n"), b"Date: now"]
        assert got.split(b"\r\n") == [line for line in expected if line] + [b"", b""]
        writer.write(GET)
        assert (await read_message(reader)).body == b"ok"


@pytest.mark.parametrize("body", [b"", b"4\r\nwiki\r\n", b"1\r\na\r\n2\r\nbc\r\n"])
async def test_a_chunked_answer_stays_chunked(body: bytes) -> None:
    """A body of unknown length is chunked for the client too, even an empty one."""
    message = await answer_to(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body + b"0\r\n\r\n")
    assert message.chunks is not None
    assert message.body == bytes(letter for letter in body if letter in b"abcwiki")
    assert message.one("Content-Length") is None


async def test_trailers_may_get_lost_but_the_answer_does_not() -> None:
    """What follows the last chunk is dropped."""
    message = await answer_to(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n"
    )
    assert (message.body, message.all("X-Sum")) == (b"ok", [])


@pytest.mark.parametrize("pieces", [1, 3])
async def test_a_trailer_is_no_field_of_the_next_answer(pieces: int) -> None:
    """Which may be another client's: what is dropped of one answer shows up in no other."""
    trailed = [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"2\r\nok\r\n0\r\n",
        b"Set-Cookie: a=1\r\n\r\n",
    ]

    async def serve(reader: Reader, writer: Writer) -> None:
        await read_head(reader)
        for piece in trailed if pieces > 1 else [b"".join(trailed)]:
            writer.write(piece)
            await asyncio.sleep(0.001)
        await read_head(reader)
        writer.write(OK)

    async with raw_origin(serve) as origin, passing(origin.url) as proxy:
        assert (await exchange(proxy.port, GET)).body == b"ok"
        message = await exchange(proxy.port, GET)
    assert origin.connections == 1
    assert (message.body, message.all("Set-Cookie")) == (b"ok", [])


async def test_an_answer_that_ends_with_its_connection_is_chunked_for_the_client() -> None:
    """A client that speaks HTTP/1.1 learns where the body ends, and keeps its connection."""

    async def serve(reader: Reader, writer: Writer) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nall of it")

    async with raw_origin(serve) as origin, talking(origin.url) as (_, reader, writer):
        for _ in range(2):
            writer.write(GET)
            message = await read_message(reader)
            assert (message.start, message.body) == (b"HTTP/1.1 200 OK", b"all of it")
            assert message.chunks


@pytest.mark.parametrize("keep", [True, False])
async def test_http_1_0_clients_are_spoken_to_in_their_way(*, keep: bool) -> None:
    """An unknown length ends with the connection; a known one may keep it, when the client says so."""
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    sent = b"GET / HTTP/1.0\r\n" + (b"Connection: keep-alive\r\n" if keep else b"") + b"\r\n"
    async with (
        answering(chunked, OK) as origin,
        passing(origin.url) as proxy,
    ):
        message = await exchange(proxy.port, sent)
        assert (message.body, message.one("Connection"), message.chunks) == (b"ok", b"close", None)
        async with client(proxy.port) as (reader, writer):
            writer.write(sent)
            message = await read_message(reader)
            assert (message.body, message.one("Connection")) == (b"ok", b"keep-alive" if keep else b"close")
    assert origin.received[0].one("Via") == b"1.0 activity-proxy"


async def test_a_client_that_closes_is_told_so() -> None:
    """Connection: close is answered in kind."""
    message = await answer_to(OK, request(b"GET /", b"Connection: close"))
    assert message.one("Connection") == b"close"


async def test_informational_answers_do_not_get_in_the_way() -> None:
    """100 and 103 of the Activity server are skipped, the final answer is passed on."""
    message = await answer_to(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + OK)
    assert (message.status, message.body) == (200, b"ok")


async def test_long_header_lines_pass_both_ways() -> None:
    """Lines far above aiohttp's 8190 bytes are no obstacle."""
    long = b"x" * 15_000
    async with (
        answering(b"HTTP/1.1 200 OK\r\nSet-Cookie: %b\r\nContent-Length: 0\r\n\r\n" % (long * 4)) as origin,
        passing(origin.url) as proxy,
    ):
        message = await exchange(proxy.port, request(b"GET /" + long, b"Cookie: " + long))
    assert (origin.received[0].one("Cookie"), origin.received[0].target) == (long, b"/" + long)
    assert message.one("Set-Cookie") == long * 4


async def test_one_viewers_cookies_never_go_with_anothers_request() -> None:
    """A cookie that the Activity server sets is the client's to keep, and the proxy's to forget."""
    async with (
        answering(b"HTTP/1.1 200 OK\r\nSet-Cookie: user=1\r\nContent-Length: 0\r\n\r\n") as origin,
        # By name: for an address aiohttp's own jar would not keep it either.
        passing(origin.url.with_host("localhost")) as proxy,
    ):
        for _ in range(2):
            await exchange(proxy.port, GET)
    assert [message.all("Cookie") for message in origin.received] == [[], []]


async def test_the_bytes_sent_are_known() -> None:
    """Head and body count, for the access log."""
    async with answering(OK) as origin, talking(origin.url) as (proxy, reader, writer):
        writer.write(GET)
        await read_message(reader)
        [response] = proxy.outcomes
    assert not isinstance(response, BaseException)
    assert (response.status, response.body_length) == (200, len(OK))
