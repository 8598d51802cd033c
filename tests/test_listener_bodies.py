"""What a client may send with a rewritten call."""

import asyncio
import gzip
import json
import tracemalloc
import zlib
from typing import Any

import pytest

from proxy.events import RequestStarted
from tests.listener_fakes import Bench, listening
from tests.origins import PATIENCE, Message, client, read_message, request, until

SESSION = "/api/kaltura/session"
BODY = b'{"videoId":"1_cats","userId":"nelly"}'
READ = {"videoId": "1_cats", "userId": "nelly"}


async def post(it: Bench, body: bytes, **headers: str) -> tuple[int, str]:
    """Send a body that is refused, as JSON unless told otherwise; return status and code."""
    fields = {"Content-Type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
    return await it.refused("POST", SESSION, data=body, headers=fields)


def said(message: Message) -> Any:
    """Return the JSON of an answer."""
    return json.loads(message.body)


@pytest.mark.parametrize(
    "kind", ["application/json", "application/json; charset=utf-8", "Application/JSON;charset=UTF-8"]
)
async def test_json_is_read(kind: str) -> None:
    """A JSON object's members are the inputs that the route takes from the body."""
    async with listening() as it:
        await it.send("POST", SESSION, data=BODY, headers={"Content-Type": kind})
    assert it.source.call.values == READ
    assert it.source.call.request.body == BODY


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""])
async def test_a_body_of_another_type_is_none(kind: str) -> None:
    """As with the Activity server, what is not declared as JSON is an empty object."""
    async with listening() as it:
        got = await it.send("POST", SESSION, data=BODY, headers={"Content-Type": kind})
    assert (got.status, got.json()["error"]) == (400, "videoId is required")


async def test_no_body_is_an_empty_object() -> None:
    """A call without a body misses what the body would have held."""
    async with listening() as it:
        got = await it.send("POST", SESSION, headers={"Content-Type": "application/json"})
    assert (got.status, got.json()["error"]) == (400, "videoId is required")


@pytest.mark.parametrize("body", [b"{not json", b"{", b"\xff", b'{"videoId": NaN}', b"[" * 5000])
async def test_broken_json_is_the_callers_mistake(body: bytes) -> None:
    """JSON that does not parse is a 400 that says where, and repeats nothing of it."""
    async with listening(max_body=10_000) as it:
        assert await post(it, body) == (400, "invalid_json")
        ended = await it.ended()
    assert not it.source.calls
    assert not it.crashed
    assert (ended.route, ended.status, ended.source) == ("session", 400, "error")


async def test_an_error_repeats_nothing_of_the_body() -> None:
    """What a client sent, which may be a secret, does not come back in the error."""
    async with listening() as it:
        got = await it.send(
            "POST", SESSION, data=b'{"code": hunter2', headers={"Content-Type": "application/json"}
        )
    assert b"hunter2" not in got.body
    assert got.json()["message"].startswith("The body is not JSON")
    assert "character" in got.json()["message"]


@pytest.mark.parametrize("body", [b"[]", b'"text"', b"1", b"null", b"true"])
async def test_json_that_is_no_object_is_the_callers_mistake(body: bytes) -> None:
    """JSON of another kind is a 400."""
    async with listening() as it:
        assert await post(it, body) == (400, "invalid_json")


async def test_a_route_that_reads_no_body_minds_none() -> None:
    """A call that takes nothing from the body does not look into it, but passes it on to who does."""
    async with listening() as it:
        await it.send("POST", "/api/token", data=b"{not json", headers={"Content-Type": "application/json"})
    assert it.source.call.request.body == b"{not json"


@pytest.mark.parametrize("size", [1000, 1001])
async def test_a_declared_body_has_a_limit(size: int) -> None:
    """A body of exactly the limit is read; one byte more is a 413 by its declared length alone."""
    async with listening() as it:
        body = b"{}" + b" " * (size - 2)
        got = await it.send("POST", "/api/token", data=body)
        ended = await it.ended()
    assert got.status == ended.status == (200 if size == 1000 else 413)
    assert len(it.source.calls) == (size == 1000)


async def test_a_body_that_is_too_large_is_not_waited_for() -> None:
    """The refusal comes before the body."""
    async with listening() as it:
        got = await it.raw(b"POST /api/token", b"Content-Length: 1001")
    assert (got.status, said(got)["code"]) == (413, "body_too_large")


async def test_a_chunked_body_has_the_same_limit() -> None:
    """A body that does not tell its length is cut off where it passes the limit, and not read on."""
    chunk = b"1f4\r\n" + b"x" * 500 + b"\r\n"
    async with listening() as it:
        got = await it.raw(b"POST /api/token", b"Transfer-Encoding: chunked", body=chunk * 3)
        whole = await it.raw(b"POST /api/token", b"Transfer-Encoding: chunked", body=chunk * 2 + b"0\r\n\r\n")
    assert (got.status, said(got)["code"]) == (413, "body_too_large")
    assert whole.status == 200
    assert it.source.call.request.body == b"x" * 1000


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(BODY)),
        ("deflate", zlib.compress(BODY)),
        ("GZIP", gzip.compress(BODY)),
        ("identity", BODY),
    ],
)
async def test_a_coded_body_is_decoded(coding: str, body: bytes) -> None:
    """A JSON body that is compressed is read like any other, and passed on as it came."""
    async with listening() as it:
        headers = {"Content-Type": "application/json", "Content-Encoding": coding}
        await it.send("POST", SESSION, data=body, headers=headers)
    assert it.source.call.values == READ
    assert it.source.call.request.body == body


@pytest.mark.parametrize(
    ("coding", "body", "answer"),
    [
        ("br", BODY, (415, "unknown_coding")),
        ("gzip, gzip", BODY, (415, "unknown_coding")),
        ("gzip", BODY, (400, "invalid_coding")),
        ("deflate", b"\x00\x01", (400, "invalid_coding")),
        ("gzip", gzip.compress(BODY)[:20], (400, "invalid_json")),
        ("gzip", gzip.compress(b"{not json"), (400, "invalid_json")),
    ],
)
async def test_a_body_that_is_not_what_it_says_is_refused(
    coding: str, body: bytes, answer: tuple[int, str]
) -> None:
    """A coding that is not known, or that the body does not have, is the caller's mistake."""
    async with listening() as it:
        assert await post(it, body, Content_Encoding=coding) == answer
    assert not it.crashed


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_a_bomb_is_not_unfolded(coding: str) -> None:
    """A small body that unfolds beyond the limit is a 413, and hardly more of it is unfolded than that."""
    pack = gzip.compress if coding == "gzip" else zlib.compress
    bomb = pack(b'{"videoId":"' + b"x" * 50_000_000 + b'"}')
    async with listening(max_body=100_000) as it:
        tracemalloc.start()
        try:
            assert await post(it, bomb, Content_Encoding=coding) == (413, "body_too_large")
            assert tracemalloc.get_traced_memory()[1] < 10_000_000
        finally:
            tracemalloc.stop()


async def test_a_coded_body_may_unfold_up_to_the_limit() -> None:
    """The limit holds for what the body says as for what was sent: exactly that much is read."""
    padded = BODY + b" " * (1000 - len(BODY))
    async with listening() as it:
        headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        assert (await it.send("POST", SESSION, data=gzip.compress(padded), headers=headers)).status == 200
        assert await post(it, gzip.compress(padded + b" "), Content_Encoding="gzip") == (
            413,
            "body_too_large",
        )


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (b"2\r\n{}\r\n", b"zz\r\n"),
        (b"2\r\n{}", b"\r\nzz\r\n"),  # whoever waits for more is told of the chunk's end in the same breath
    ],
)
@pytest.mark.parametrize("target", [b"POST /api/token", b"POST /api/kaltura/session"])
async def test_a_body_with_broken_framing_is_refused(target: bytes, good: bytes, bad: bytes) -> None:
    """Chunks that are none are a 400 in the error shape, after which the connection is closed."""
    fields = (b"Transfer-Encoding: chunked", b"Content-Type: application/json")
    async with listening() as it, client(it.port) as (reader, writer):
        writer.write(request(target, *fields, body=good))
        await until(lambda: bool(it.events.of(RequestStarted)))
        writer.write(bad)
        got = await read_message(reader)
        assert await asyncio.wait_for(reader.read(), PATIENCE) == b""
        ended = await it.ended()
    assert (got.status, said(got)["code"]) == (400, "malformed_body")
    assert got.one("Connection") == b"close"
    assert (ended.status, ended.source) == (400, "error")
    assert not it.source.calls
    assert not it.crashed


async def test_a_get_may_have_a_body() -> None:
    """A body where none is wanted is read, within the limit, and has no meaning."""
    async with listening() as it:
        got = await it.send("GET", "/api/kaltura/video/1_cats", data=b"{}")
    assert got.status == 200
    assert it.source.call.values == {"videoId": "1_cats"}
