"""Requests that the public server has answered before its handler is asked."""

from collections.abc import Callable, Iterable

import pytest
from aiohttp import web
from aiohttp.http import RawRequestMessage

from tests.clocks import FakeClock
from tests.origins import OK, client, exchange, read_message, request, serving

Send = Callable[[Iterable[bytes]], None]


async def handler(_: web.BaseRequest) -> web.StreamResponse:
    """Answer the long way."""
    return web.Response(text="long")


def at_once(request: RawRequestMessage, peer: str | None, send: Send) -> bool:
    """Answer `/now` at once, to a peer that has an address."""
    if request.path != "/now" or peer != "127.0.0.1":
        return False
    send((OK[:10], OK[10:]))
    return True


async def test_the_first_request_on_a_connection_too() -> None:
    """What is answered at once never comes to the handler; what is not, does."""
    async with serving(handler, at_once=at_once) as (port, server):
        assert (await exchange(port, request(b"GET /now"))).body == b"ok"
        assert (await exchange(port, request(b"GET /later"))).body == b"long"
        assert server.running == 0


@pytest.mark.parametrize("field", [b"Content-Length: 2", b"Transfer-Encoding: chunked"])
async def test_a_request_with_a_body_goes_to_the_handler(field: bytes) -> None:
    """Where the next request begins is known only when the body has been read."""
    body = b"2\r\nab\r\n0\r\n\r\n" if b"chunked" in field else b"ab"
    async with serving(handler, at_once=at_once) as (port, _), client(port) as (reader, writer):
        writer.write(request(b"GET /now", field, body=body) + request(b"GET /now"))
        assert [(await read_message(reader)).body for _ in range(2)] == [b"long", b"long"]


async def test_answers_end_the_connection_while_the_server_stops() -> None:
    """So a client that asks for more and more does not hold up the stop."""
    async with serving(handler, at_once=at_once) as (port, server), client(port) as (reader, writer):
        writer.write(request(b"GET /now"))
        assert (await read_message(reader)).body == b"ok"
        server.stopping = True
        writer.write(request(b"GET /now"))
        assert (await read_message(reader)).body == b"long"
        assert await reader.read() == b""


async def test_what_comes_behind_nonsense_is_not_answered() -> None:
    """A malformed request ends the connection, as it does without anything at once."""
    async with serving(handler, at_once=at_once) as (port, _), client(port) as (reader, writer):
        writer.write(request(b"GET /now"))
        assert (await read_message(reader)).body == b"ok"
        writer.write(b"nonsense\r\n\r\n" + request(b"GET /now"))
        assert (await read_message(reader)).status == 400
        assert await reader.read() == b""


@pytest.mark.parametrize("host", [b"a b", b"a/b", b"a@b"])
async def test_a_doubtful_host_is_not_answered(host: bytes) -> None:
    """It is refused, as it is for the handler."""
    async with serving(handler, at_once=at_once) as (port, _):
        assert (await exchange(port, b"GET /now HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")).status == 400


async def test_a_connection_that_was_answered_is_idle() -> None:
    """What came was a whole head, so the time for heads does not run; the time for a first byte is over."""
    clock = FakeClock()
    async with (
        serving(handler, at_once=at_once, clock=clock) as (port, server),
        client(port) as (reader, writer),
    ):
        writer.write(request(b"GET /now"))
        assert (await read_message(reader)).body == b"ok"
        for _ in range(3):
            clock.shift(9.0)
            server.sweep()
        writer.write(request(b"GET /now"))
        assert (await read_message(reader)).body == b"ok"


@pytest.mark.parametrize("number", [32, 33, 100])
async def test_as_many_at_a_time_as_a_client_likes(number: int) -> None:
    """The parser stops after some; nobody has to send more for it to go on."""
    async with serving(handler, at_once=at_once) as (port, _), client(port) as (reader, writer):
        writer.write(request(b"GET /now") * number)
        for _ in range(number):
            assert (await read_message(reader)).body == b"ok"


@pytest.mark.parametrize("before", [0, 1, 20, 31, 32, 33, 50])
async def test_answers_keep_the_order_of_many_requests(before: int) -> None:
    """What takes longer holds up all that comes behind it, however many that are, and no longer than it."""
    sent = [b"/now"] * before + [b"/later"] + [b"/now"] * 80
    async with serving(handler, at_once=at_once) as (port, _), client(port) as (reader, writer):
        writer.write(b"".join(request(b"GET " + path) for path in sent))
        got = [(await read_message(reader)).body for _ in sent]
        assert got[: before + 1] == [b"ok"] * before + [b"long"]
        writer.write(request(b"GET /now"))
        assert (await read_message(reader)).body in (b"ok", b"long")
