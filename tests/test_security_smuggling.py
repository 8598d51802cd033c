"""Requests that two servers could read differently (RFC 9112 sections 2, 5, 6 and 11.2)."""

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from tests.hostile import attacked
from tests.origins import client, read_message, request

HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked"


def post(*fields: bytes, body: bytes = b"", end: bool = True) -> bytes:
    """Write a request with a body that is as odd as its framing; `end` asks for the connection's end."""
    return request(b"POST /x", *fields, *((b"Connection: close",) if end else ()), body=body)


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        ([b"Content-Length: 5", CHUNKED], b"0\r\n\r\n" + HIDDEN),
        ([CHUNKED, b"Content-Length: 38"], b"0\r\n\r\n" + HIDDEN),
        ([b"Content-Length: 5", b"Content-Length: 6"], b"hello!"),
        ([b"Content-Length: 5", b"Content-Length: 5"], b"hello"),
        ([b"Content-Length: 5", b"content-length: 0"], b"hello"),
        ([b"Content-Length: 5, 5"], b"hello"),
        ([b"Content-Length: +5"], b"hello"),
        ([b"Content-Length: -5"], b"hello"),
        ([b"Content-Length: 0x5"], b"hello"),
        ([b"Content-Length: 5_0"], b"hello"),
        ([b"Content-Length: 5 5"], b"hello"),
        ([b"Content-Length:"], b"hello"),
        ([b"Content-Length: 99999999999999999999999"], b"hello"),
    ],
)
async def test_two_lengths_or_a_doubtful_one_reach_nobody(
    fields: list[bytes], body: bytes, tmp_path: Path
) -> None:
    """A body has one length, in digits, or it is chunked; anything else ends the connection."""
    async with attacked(tmp_path) as stage:
        await stage.refused(post(*fields, body=body, end=False))


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (b"xchunked", 400),
        (b"chunked, identity", 400),
        (b"identity", 400),
        (b"chunked, chunked", 400),
        (b"chunked;q=1", 400),
        (b'"chunked"', 400),
        (b"\x0bchunked", 400),
        (b"chunked\x00", 400),
        (b"chunked\r\nTransfer-Encoding: identity", 400),
        (b"identity\r\nTransfer-Encoding: chunked", 400),
        (b"gzip, chunked", 501),
        (b", chunked", 501),
        (b"", 400),
    ],
)
async def test_an_odd_transfer_coding_reaches_nobody(value: bytes, status: int, tmp_path: Path) -> None:
    """Chunked is the one coding that is known; what looks like it is none."""
    async with attacked(tmp_path) as stage:
        await stage.refused(
            post(b"Transfer-Encoding: " + value, body=b"0\r\n\r\n" + HIDDEN, end=False), status
        )


async def test_chunks_of_http_1_0_reach_nobody(tmp_path: Path) -> None:
    """A proxy of HTTP/1.0 before this one would not have seen where such a body ends."""
    sent = b"POST /x HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN
    async with attacked(tmp_path) as stage:
        await stage.refused(sent)


@pytest.mark.parametrize(
    "body",
    [
        b"zz\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b" 5\r\nhello\r\n0\r\n\r\n",
        b"5 \r\nhello\r\n0\r\n\r\n",
        b"5\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5;a\nhello\r\n0\r\n\r\n",
        b"5\r\nhelloXX\r\n0\r\n\r\n",
        b"\r\nhello\r\n0\r\n\r\n",
        b"fffffffffffffffff5\r\nhello\r\n0\r\n\r\n",
        b"0\r\nX-Trailer: a\n\r\n",
        b"0\r\nContent-Length: 9\r\n\r\n",
        b"0\r\nHost: evil\r\n\r\n",
    ],
)
async def test_a_bad_chunk_reaches_nobody(body: bytes, tmp_path: Path) -> None:
    """A size is hexadecimal digits and each line ends with CR LF; no request is complete without."""
    async with attacked(tmp_path) as stage:
        await stage.refused(post(CHUNKED, body=body + HIDDEN, end=False))


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /x\r\n\r\n", 505),
        (b"GET /x HTTP/0.9\r\nHost: a\r\n\r\n", 505),
        (b"GET /x HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"GET /x HTTP/1.2\r\nHost: a\r\n\r\n", 400),
        (b"GET /x HTTP/1.10\r\nHost: a\r\n\r\n", 400),
        (b"GET /x http/1.1\r\nHost: a\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    ],
)
async def test_other_versions_reach_nobody(sent: bytes, status: int, tmp_path: Path) -> None:
    """HTTP/0.9 has no fields and HTTP/2 other framing; the refusal itself is HTTP/1.1."""
    async with attacked(tmp_path) as stage:
        await stage.refused(sent, status)


@pytest.mark.parametrize(
    "fields",
    [
        [b"X-A: b", b" c: d"],
        [b"X-A: b", b"\tc: d"],
        [b"X-A: b", b" ", b"X-B: c"],
        [b"Content-Length:", b" 5"],
    ],
)
async def test_a_folded_line_reaches_nobody(fields: list[bytes], tmp_path: Path) -> None:
    """A line that goes on in the next (obs-fold) could be two fields to another server."""
    async with attacked(tmp_path) as stage:
        await stage.refused(request(b"GET /x", *fields))


@pytest.mark.parametrize(
    "line", [b"X-A : b", b"X-A\t: b", b"X A: b", b": b", b"X-A", b"Content-Length : 0", b"X(A): b"]
)
async def test_a_name_that_is_no_token_reaches_nobody(line: bytes, tmp_path: Path) -> None:
    """A blank before the colon, or within the name, could make it another field."""
    async with attacked(tmp_path) as stage:
        await stage.refused(request(b"GET /x", line))


@pytest.mark.parametrize("control", [b"\0", b"\r", b"\n ", b"\x01", b"\x0b", b"\x7f"])
async def test_nul_and_other_controls_reach_nobody(control: bytes, tmp_path: Path) -> None:
    """Not in a value, nor in a name, nor in the target."""
    async with attacked(tmp_path) as stage:
        for sent in (
            request(b"GET /x", b"X-A: b" + control + b"c"),
            request(b"GET /x", b"X" + control + b"A: b"),
            request(b"GET /x" + control + b"y"),
        ):
            await stage.refused(sent)
            stage.activity.received.clear()


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /x HTTP/1.1\nHost: a\n\n",
        b"GET /x HTTP/1.1\r\nHost: a\nX-B: c\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a\r\n\n",
        b"GET /x HTTP/1.1\rHost: a\r\r",
        b"GET /x HTTP/1.1\r\n X-A: b\r\nHost: a\r\n\r\n",
        b" GET /x HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET\t/x\tHTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /x y HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /x\xe9 HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)
async def test_lines_that_end_or_part_otherwise_reach_nobody(sent: bytes, tmp_path: Path) -> None:
    """Lines end with CR LF, and blanks alone part the first."""
    async with attacked(tmp_path) as stage:
        await stage.refused(sent)


@pytest.mark.parametrize(
    ("sent", "start", "body"),
    [
        (b"\r\n\r\n" + request(b"GET /x", b"Connection: close"), b"GET /x HTTP/1.1", b""),
        (
            b"GET  /x  HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            b"GET /x HTTP/1.1",
            b"",
        ),
        (post(b"Content-Length: 005", body=b"hello"), b"POST /x HTTP/1.1", b"hello"),
        (post(b"Transfer-Encoding:\tCHUNKED", body=b"0\r\n\r\n"), b"POST /x HTTP/1.1", b""),
        (post(CHUNKED, body=b"5;a=b\r\nhello\r\n0;c\r\n\r\n"), b"POST /x HTTP/1.1", b"hello"),
        (
            post(CHUNKED, body=b"5\r\nhello\r\n0\r\nCookie: evil\r\nX-Evil: 1\r\n\r\n"),
            b"POST /x HTTP/1.1",
            b"hello",
        ),
        (
            request(b"GET /x", b"Connection: close", b"Content-Length: %d" % len(HIDDEN), body=HIDDEN),
            b"GET /x HTTP/1.1",
            HIDDEN,
        ),
    ],
)
async def test_what_is_lenient_goes_on_as_one_strict_request(
    sent: bytes, start: bytes, body: bytes, tmp_path: Path
) -> None:
    """What has one reading is written anew: no chunk extension, no trailer, no second request comes of it."""
    async with attacked(tmp_path) as stage:
        message = await stage.passed(sent)
    assert (message.start, message.body) == (start, body)
    assert (message.one("Cookie"), message.one("X-Evil")) == (None, None)


async def test_requests_behind_one_another_stay_apart(tmp_path: Path) -> None:
    """Each request of a connection reaches the Activity server as it was sent, in its order."""
    sent = post(b"Content-Length: %d" % len(HIDDEN), body=HIDDEN, end=False)
    sent += request(b"GET /y")
    sent += post(CHUNKED, body=b"2\r\nab\r\n0\r\n\r\n")
    async with attacked(tmp_path) as stage:
        statuses, _ = await stage.answers(sent)
        reached = [(message.target, message.body) for message in await stage.reached()]
    assert statuses == [200, 200, 200]
    assert reached == [(b"/x", HIDDEN), (b"/y", b""), (b"/x", b"ab")]


BODY = b"2\r\nab\r\n0\r\n\r\n"
TRAILED = BODY[:-2] + b"Cookie: a=1\r\n\r\n"


@pytest.mark.parametrize("at", [1, 2, 3, 4, 5, 6, 7, 8, 20, 40, 200])
async def test_a_body_in_chunks_may_be_followed_where_it_has_no_trailer(at: int, tmp_path: Path) -> None:
    """However its end is cut: what comes behind its answer is a request as any."""
    sent = post(CHUNKED, body=BODY, end=False)
    async with attacked(tmp_path) as stage, client(stage.port) as (reader, writer):
        for _ in range(2):
            for piece in (sent[:-at], sent[-at:]):
                writer.write(piece)
                await asyncio.sleep(0.005)
            answer = await read_message(reader)
            assert (answer.status, answer.one("Connection")) == (200, None)


@pytest.mark.parametrize(
    "sent",
    [
        [post(CHUNKED, body=TRAILED, end=False)],
        [post(CHUNKED, body=TRAILED[:-1], end=False), b"\n"],
        [post(CHUNKED, body=TRAILED[:-9], end=False), TRAILED[-9:]],
        [post(CHUNKED, body=BODY[:-9], end=False), BODY[-9:-2], TRAILED[-15:]],
        [post(CHUNKED, body=TRAILED + request(b"GET /next"), end=False)],
        [post(CHUNKED, body=TRAILED, end=False), request(b"GET /next")],
        [post(CHUNKED, body=TRAILED + post(CHUNKED, body=BODY, end=False), end=False)],
        [post(CHUNKED, body=b"9\r\n..\r\n0\r\n\r\n", end=False), b"\r\n" + TRAILED],
    ],
)
async def test_a_trailer_is_no_field_of_the_next_request(sent: list[bytes], tmp_path: Path) -> None:
    """Which may be another client's, where a proxy before this one lets them share a connection."""
    async with attacked(tmp_path) as stage, client(stage.port) as (reader, writer):
        for piece in sent:
            writer.write(piece)
            await asyncio.sleep(0.005)
        answer = await read_message(reader)
        assert (answer.status, answer.one("Connection")) == (200, b"close")
        with suppress(ConnectionError):
            assert await reader.read() == b""
        (reached,) = await stage.reached()
    assert reached.one("Cookie") is None


async def test_what_follows_a_refusal_is_not_read(tmp_path: Path) -> None:
    """Where the next request begins is not known, so that the connection ends."""
    async with attacked(tmp_path) as stage:
        await stage.refused(request(b"GET /x", b"X-A : b") + HIDDEN)


KEPT = b"GET /api/kaltura/video/1_kept"


@pytest.mark.parametrize(
    ("start", "fields", "statuses"),
    [
        (KEPT, [b"Host: b"], [400]),
        (KEPT, [b"X-A : b"], [400]),
        (KEPT, [b"X-A: b", b" c"], [400]),
        (KEPT, [b"X-A: b\0"], [400]),
        (KEPT, [b"Transfer-Encoding: gzip, chunked"], [501]),
        (KEPT, [b"Transfer-Encoding: chunked, identity"], [400]),
        (KEPT, [b"Content-Length: 1", b"Content-Length: 2"], [400]),
        (KEPT, [b"Content-Length: 5", CHUNKED], [400]),
        (KEPT, [b"Via: 1.1 activity-proxy", b"Connection: close"], [508]),
        (KEPT.replace(b"GET", b"TRACE"), [b"Connection: close"], [405]),
        (KEPT.replace(b"GET", b"CONNECT"), [b"Connection: close"], [405]),
        (KEPT.replace(b" /", b" http://evil.example/"), [b"Connection: close"], [400]),
        (KEPT.replace(b"video/", b"x/../video/"), [b"Connection: close"], [400]),
        (KEPT, [b"Connection: close", b"Content-Length: %d" % len(HIDDEN)], [200]),
    ],
)
async def test_a_kept_answer_is_no_way_round(
    start: bytes, fields: list[bytes], statuses: list[int], tmp_path: Path
) -> None:
    """What would be refused is refused as well where an answer is kept; a body is no second request there."""
    body = HIDDEN if statuses == [200] else b"0\r\n\r\n" if b"chunked" in fields[0] else b""
    async with attacked(tmp_path) as stage:
        for _ in range(2):
            await stage.ask(KEPT)
        assert (await stage.ask(KEPT)).one("Activity-Proxy-Source") == b"cache"
        stage.gateway.received.clear()
        got, answer = await stage.answers(request(start, *fields, body=body))
        assert (got, await stage.reached(), stage.gateway.received) == (statuses, [], []), answer


@pytest.mark.parametrize("host", [b"a/b", b"a b", b"a@b", b"a, b"])
async def test_a_kept_answer_wants_a_sound_host(host: bytes, tmp_path: Path) -> None:
    """Nor is it a way round for a Host that is none, nor for chunks in HTTP/1.0."""
    async with attacked(tmp_path) as stage:
        for _ in range(2):
            await stage.ask(KEPT)
        old = b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        for sent in (b" HTTP/1.1\r\nHost: " + host + b"\r\n\r\n", b" HTTP/1.0\r\nHost: a\r\n" + old):
            got, answer = await stage.answers(KEPT + sent)
            assert got == [400], answer
