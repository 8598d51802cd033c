"""The public server: what it refuses, how it says so, and what it leaves out."""

import asyncio
import logging
import os
import subprocess
import sys

import orjson
import pytest
from aiohttp import http_parser, web
from hypothesis import given
from hypothesis import strategies as st

from proxy.bounds import Bounds
from proxy.events import Event, RequestEnded, RequestStarted
from proxy.server import c_parser_in_use
from proxy.target import origin_form
from tests.origins import (
    PATIENCE,
    Message,
    client,
    exchange,
    read_head,
    read_message,
    request,
    serving,
    until,
)

BOUNDS = Bounds(header=1000, target=1000, headers=100)
SECRET = b"s3cr3t-cookie"


async def echo(request: web.BaseRequest) -> web.StreamResponse:
    """Answer with what came."""
    return web.Response(text=f"{request.method} {request.raw_path} {await request.read()!r}")


async def refused(sent: bytes) -> Message:
    """The answer to what is refused without the handler, after which the connection is closed."""

    async def handler(_: web.BaseRequest) -> web.StreamResponse:
        raise AssertionError

    async with serving(handler, bounds=BOUNDS) as (port, _), client(port) as (reader, writer):
        writer.write(sent)
        message = await read_message(reader)
        async with asyncio.timeout(PATIENCE):
            assert await reader.read() == b""
    return message


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00", 400, "bad_request"),
        (SECRET + b" / HTTP/1.1\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "bad_request"),
        (b"GET /" + SECRET + b"\xff HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request"),
        (request(b"GET /", b"Cookie: " + SECRET + b"\x01"), 400, "bad_request"),
        (request(b"GET /", b"Cookie : " + SECRET), 400, "bad_request"),
        (request(b"GET /", b"Cookie: a", b" " + SECRET), 400, "bad_request"),
        (request(b"GET /", b"Cookie: a\rb: " + SECRET), 400, "bad_request"),
        (request(b"POST /", b"Content-Length: 1", b"Transfer-Encoding: chunked"), 400, "bad_request"),
        (request(b"POST /", b"Content-Length: 1", b"Content-Length: 2"), 400, "bad_request"),
        (request(b"POST /", b"Content-Length: +1"), 400, "bad_request"),
        (request(b"POST /", b"Transfer-Encoding: " + SECRET), 400, "bad_request"),
        (request(b"POST /", b"Transfer-Encoding: chunked", body=b"zz\r\n" + SECRET), 400, "bad_request"),
        (request(b"GET /", b"Cookie: " + SECRET * 100), 431, "header_too_large"),
        (request(b"GET /" + SECRET * 100), 414, "target_too_long"),
        (request(b"GET /", *(b"X-%d: 1" % n for n in range(200))), 431, "too_many_headers"),
        (request(b"POST /", b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"), 501, "transfer_coding"),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, "http_version"),
        (b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505, "http_version"),
        (request(b"CONNECT evil:443", b"Cookie: " + SECRET), 405, "method_not_allowed"),
        (request(b"TRACE /", b"Cookie: " + SECRET), 405, "method_not_allowed"),
        (b"GET / HTTP/1.1\r\nHost: a/" + SECRET + b"\r\n\r\n", 400, "bad_request"),
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "bad_request"),
    ],
)
async def test_what_is_not_sound_http_is_refused(
    sent: bytes, status: int, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A short JSON error that ends the connection; nothing of the request is in it, nor in the log."""
    caplog.set_level(logging.DEBUG)
    message = await refused(sent)
    assert message.status == status
    assert message.one("Content-Type") == b"application/json; charset=utf-8"
    assert (message.one("X-Request-Id"), message.one("Connection") or b"close") == (b"made", b"close")
    assert message.one("Server") is None
    error = orjson.loads(message.body)
    assert list(error) == ["error", "message", "code", "requestId"]
    assert (error["code"], error["requestId"]) == (code, "made")
    assert SECRET not in message.body + b"".join(value for _, value in message.fields)
    lines = [record for record in caplog.records if record.name == "tests"]
    assert len(lines) <= 1
    assert SECRET.decode() not in caplog.text
    assert "Traceback" not in caplog.text


async def test_a_malformed_request_leaves_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """The operator can see that there are such clients."""
    caplog.set_level(logging.INFO)
    await refused(b"nonsense\r\n\r\n")
    assert [record.getMessage() for record in caplog.records] == [
        "malformed or broken request: BadHttpMethod"
    ]


async def test_lines_up_to_the_limit_pass() -> None:
    """The limit is for one line."""
    async with serving(echo, bounds=BOUNDS) as (port, _):
        sent = request(b"GET /" + b"a" * 900, b"X: " + b"a" * 900, b"Y: " + b"a" * 900)
        assert (await exchange(port, sent)).status == 200


async def test_no_answer_tells_what_made_it() -> None:
    """The Server field of aiohttp is left out, another stays."""

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(headers={"Server": "own"} if request.raw_path == "/own" else {})

    async with serving(handler) as (port, _):
        assert (await exchange(port, request(b"GET /"))).one("Server") is None
        assert (await exchange(port, request(b"GET /own"))).one("Server") == b"own"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [(ZeroDivisionError("boom"), 500, "internal"), (TimeoutError(), 504, "timeout")],
)
async def test_a_handlers_failure_is_answered_without_its_text(
    error: Exception, status: int, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The client gets the error shape; the operator the traceback of what nobody expected."""

    async def handler(_: web.BaseRequest) -> web.StreamResponse:
        raise error

    async with serving(handler) as (port, _):
        message = await exchange(port, request(b"GET /", b"Accept: text/html"))
    assert (message.status, orjson.loads(message.body)["code"]) == (status, code)
    assert b"boom" not in message.body
    assert ("ZeroDivisionError" in caplog.text) == (status == 500)


async def test_a_failure_amid_an_answer_breaks_it_off(caplog: pytest.LogCaptureFixture) -> None:
    """No second head is sent into a body."""

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "10"})
        await response.prepare(request)
        await response.write(b"half")
        raise ConnectionResetError

    async with serving(handler) as (port, _), client(port) as (reader, writer):
        writer.write(request(b"GET /"))
        await read_head(reader)
        async with asyncio.timeout(PATIENCE):
            assert await reader.read() == b"half"
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("expectation", [b"100-continue", b"100-Continue"])
async def test_expect_is_answered_before_the_body(expectation: bytes) -> None:
    """A client that waits for leave to send gets it, and the 100 does not count as sent."""

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        assert request.writer.output_size == 0
        return await echo(request)

    async with serving(handler) as (port, _), client(port) as (reader, writer):
        writer.write(request(b"PUT /x", b"Expect: " + expectation, b"Content-Length: 2"))
        assert (await read_head(reader)).start == b"HTTP/1.1 100 Continue"
        writer.write(b"ab")
        assert (await read_message(reader)).body == b"PUT /x b'ab'"


async def test_http_1_0_gets_no_100() -> None:
    """A client of HTTP/1.0 would take it for the answer."""
    async with serving(echo) as (port, _):
        sent = b"PUT / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nab"
        assert (await exchange(port, sent)).status == 200


async def test_bodies_are_handed_over_as_they_are() -> None:
    """A compressed body is not unpacked."""
    async with serving(echo) as (port, _):
        sent = request(b"PUT /", b"Content-Encoding: gzip", b"Content-Length: 2", body=b"ab")
        assert (await exchange(port, sent)).body == b"PUT / b'ab'"


async def test_a_handler_is_cancelled_when_its_client_leaves() -> None:
    """Nobody works for those who have left."""
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def handler(_: web.BaseRequest) -> web.StreamResponse:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        raise AssertionError

    async with serving(handler) as (port, server):
        async with client(port) as (_, writer):
            writer.write(request(b"GET /"))
            await started.wait()
        async with asyncio.timeout(PATIENCE):
            await cancelled.wait()
        await until(lambda: not server.connections)


async def test_a_body_that_turns_bad_ends_the_wait_for_it(caplog: pytest.LogCaptureFixture) -> None:
    """A handler that reads a body learns at once that it will never be complete, and the client too."""
    reading = asyncio.Event()

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        assert await request.content.readany() == b"a"
        reading.set()
        return await echo(request)

    async with serving(handler) as (port, _), client(port) as (reader, writer):
        writer.write(request(b"POST /", b"Transfer-Encoding: chunked", body=b"1\r\na\r\n"))
        await reading.wait()
        writer.write(SECRET)
        message = await read_message(reader)
        async with asyncio.timeout(PATIENCE):
            assert await reader.read() == b""
    assert (message.status, orjson.loads(message.body)["code"]) == (400, "bad_request")
    assert SECRET.decode() not in caplog.text


async def test_requests_one_after_the_other_share_a_connection() -> None:
    """Connections are kept, and requests sent ahead are answered in order."""
    async with serving(echo) as (port, _), client(port) as (reader, writer):
        writer.write(
            request(b"GET /1") + request(b"POST /2", b"Content-Length: 1", body=b"x") + request(b"GET /3")
        )
        bodies = [(await read_message(reader)).body for _ in range(3)]
    assert bodies == [b"GET /1 b''", b"POST /2 b'x'", b"GET /3 b''"]


async def test_a_wrong_setting_is_not_passed_over() -> None:
    """The server of aiohttp would go on with its defaults."""
    async with serving(echo) as (_, server):
        server.bounds = Bounds(headers="128")  # type: ignore[arg-type]  # that is the point
        with pytest.raises(TypeError):
            server()


def test_http_is_parsed_in_c() -> None:
    """The parser in use is the compiled one, and its absence is noticed."""
    assert c_parser_in_use()
    assert http_parser.HttpRequestParser.__module__ == "aiohttp._http_parser"
    told = subprocess.run(
        [sys.executable, "-c", "from proxy.server import c_parser_in_use; print(c_parser_in_use())"],
        env={**os.environ, "AIOHTTP_NO_EXTENSIONS": "1"},
        capture_output=True,
        check=True,
    )
    assert told.stdout.strip() == b"False"


@pytest.mark.parametrize(
    ("raw", "host", "expected"),
    [
        ("/a/b?c", None, "/a/b?c"),
        ("//evil/a", None, "//evil/a"),
        ("http://h/a?b", None, "/a?b"),
        ("HTTPS://h/a", None, "/a"),
        ("http://h", None, "/"),
        ("http://h?b=/", None, "/?b=/"),
        ("http://H:1/a", "h:1", "/a"),
        ("http://evil/a", "h", None),
        ("http://u@h/a", "h", None),
        ("http:///a", None, None),
        ("http:/a", None, None),
        ("ftp://h/a", None, None),
        ("h:443", None, None),
        ("*", None, None),
        ("/a#b", None, None),
        ("a/b", None, None),
        ("", None, None),
    ],
)
def test_targets_are_brought_to_one_form(raw: str, host: str | None, expected: str | None) -> None:
    """Path and query stay, the absolute form's authority goes when it is the Host, the rest is refused."""
    assert origin_form(raw, host) == expected


@given(st.text(max_size=30))
def test_a_target_is_refused_or_begins_with_a_slash(raw: str) -> None:
    """Whatever comes, what is passed on is a path that was in it."""
    target = origin_form(raw)
    assert target is None or (target.startswith("/") and raw.endswith(target.removeprefix("/")))


async def test_the_asterisk_form_reaches_the_handler_as_it_is() -> None:
    """The one who looks at targets can refuse them."""
    seen = []

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        seen.append((request.raw_path, origin_form(request.raw_path)))
        return web.Response()

    async with serving(handler) as (port, _):
        assert (await read_once(port, request(b"OPTIONS *"))).startswith(b"HTTP/1.1 200")
    assert seen == [("*", None)]


async def read_once(port: int, sent: bytes) -> bytes:
    """The first bytes of an answer."""
    async with client(port) as (reader, writer):
        writer.write(sent)
        async with asyncio.timeout(PATIENCE):
            return await reader.read(1000)


@pytest.mark.parametrize(
    ("sent", "status", "method", "target"),
    [
        (SECRET + b"\r\n\r\n", 400, "UNKNOWN", ""),
        (request(b"POST /a", b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"), 501, "POST", "/a"),
        (b"GET /b HTTP/2.0\r\nHost: a\r\n\r\n", 505, "GET", "/b"),
        (b"CONNECT  \r\nHost: a\r\n\r\n", 505, "CONNECT", ""),
        (request(b"GET /"), None, "", ""),
    ],
)
async def test_what_is_refused_is_told_once(
    sent: bytes, status: int | None, method: str, target: str
) -> None:
    """A refusal makes the events of a request, with its answer's id; what gets to the handler, none."""
    events: list[Event] = []
    async with serving(echo, bounds=BOUNDS, observe=events.append) as (port, _):
        message = await exchange(port, sent)
    if status is None:
        assert events == []
        return
    started, ended = events
    assert started == RequestStarted("public")
    assert isinstance(ended, RequestEnded)
    assert (ended.listener, ended.route, ended.source) == ("public", "none", "error")
    assert (ended.status, ended.method, ended.target) == (status, method, target)
    assert ended.request_id.encode() == message.one("X-Request-Id")
    assert (ended.bytes_sent, ended.client) == (len(message.body), "127.0.0.1")


async def test_a_request_that_has_just_come_is_answered_before_the_connection_is_closed() -> None:
    """Its client would not know whether what it asked for was done."""
    async with serving(echo) as (port, server), client(port) as (reader, _):
        await until(lambda: len(server.connections) == 1)
        await asyncio.sleep(0)  # the connection waits for its first request
        server.connections[0].data_received(request(b"GET /"))
        server.stopping = True
        server.close_idle()
        assert (await read_message(reader)).status == 200
        assert await reader.read() == b""
