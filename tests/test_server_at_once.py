"""Requests that the public server has answered before its handler is asked."""

import asyncio

import pytest
from aiohttp import web
from aiohttp.http import RawRequestMessage

from proxy import ahead
from proxy.ahead import Give, Send
from tests.clocks import FakeClock
from tests.origins import OK, Reader, Writer, client, exchange, read_message, request, serving


async def handler(_: web.BaseRequest) -> web.StreamResponse:
    """Answer the long way."""
    return web.Response(text="long")


def give(send: Send) -> bool:
    """Answer in two pieces."""
    send((OK[:10], OK[10:]))
    return True


def at_once(request: RawRequestMessage, peer: str | None) -> Give | None:
    """Answer `/now` at once, to a peer that has an address."""
    return give if request.path == "/now" and peer == "127.0.0.1" else None


async def test_the_first_request_on_a_connection_too() -> None:
    """What is answered at once never comes to the handler; what is not, does."""
    async with serving(handler, at_once=at_once) as (port, server):
        assert (await exchange(port, request(b"GET /now"))).body == b"ok"
        assert (await exchange(port, request(b"GET /later"))).body == b"long"
        assert server.running == 0


async def test_a_request_with_a_body_goes_to_the_handler() -> None:
    """Where the next request begins is known only when the body has been read."""
    async with serving(handler, at_once=at_once) as (port, _), client(port) as (reader, writer):
        writer.write(request(b"GET /now", b"Content-Length: 2", body=b"ab") + request(b"GET /now"))
        assert [(await read_message(reader)).body for _ in range(2)] == [b"long", b"long"]


async def test_what_comes_right_behind_a_body_in_chunks_is_not_answered() -> None:
    """Whether that has a trailer is not seen, and what comes behind one is not to be believed."""
    async with serving(handler, at_once=at_once) as (port, _), client(port) as (reader, writer):
        body = b"2\r\nab\r\n0\r\n\r\n"
        writer.write(request(b"GET /now", b"Transfer-Encoding: chunked", body=body) + request(b"GET /now"))
        answer = await read_message(reader)
        assert (answer.body, answer.one("Connection")) == (b"long", b"close")
        assert await reader.read() == b""


async def test_answers_end_the_connection_while_the_server_stops() -> None:
    """So a client that asks for more and more does not hold up the stop."""
    async with serving(handler, at_once=at_once) as (port, server), client(port) as (reader, writer):
        for _ in range(3):  # so that it is known, too
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


NOW = request(b"GET /now")


async def asked_twice(reader: Reader, writer: Writer) -> None:
    """Ask for the same twice, so that it is known."""
    for _ in range(2):
        writer.write(NOW)
        assert (await read_message(reader)).body == b"ok"


class Counted:
    """Answers `/now` at once, while `answers`, and counts how often a request was looked into."""

    def __init__(self) -> None:
        self.looked_into = 0
        self.answers = True

    def __call__(self, request: RawRequestMessage, peer: str | None) -> Give | None:
        """Look into a request."""
        self.looked_into += 1
        return self.give if at_once(request, peer) else None

    def give(self, send: Send) -> bool:
        """Answer, if that is to be."""
        return self.answers and give(send)


async def test_what_comes_again_byte_for_byte_is_not_looked_into_again() -> None:
    """On whatever connection of the same peer; it is answered as long as it can be."""
    counted = Counted()
    async with serving(handler, at_once=counted) as (port, _):
        for _ in range(2):
            async with client(port) as (reader, writer):
                for _ in range(3):
                    writer.write(request(b"GET /now"))
                    assert (await read_message(reader)).body == b"ok"
        assert counted.looked_into == 2  # what came once may never come again
        counted.answers = False
        assert (await exchange(port, request(b"GET /now"))).body == b"long"
        counted.answers = True
        assert (await exchange(port, request(b"GET /now"))).body == b"ok"
        assert (await exchange(port, request(b"GET /now", b"X: y"))).body == b"ok"
    assert counted.looked_into == 4


async def test_another_peers_request_is_looked_into() -> None:
    """The very same bytes of another client are another client's."""
    counted = Counted()
    async with serving(handler, at_once=counted) as (port, server):
        server.heads[request(b"GET /now")] = ("203.0.113.9", counted.give)
        assert (await exchange(port, request(b"GET /now"))).body == b"ok"
    assert counted.looked_into == 1


@pytest.mark.parametrize("known", [b"GET /now", b"GET /later"])
@pytest.mark.parametrize(
    "before",
    [
        b"POST /later HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n",
        b"POST /later HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n",
        b"GET /later HTTP/1.1\r\nX-Length: %d\r\nX: ",
        b"GET /later HTTP/1.1\r\nHost: a\r\n\r\nGET /later HTTP/1.1\r\nX-Length: %d\r\nX: ",
    ],
)
async def test_what_only_looks_like_a_known_request_is_what_it_is(before: bytes, known: bytes) -> None:
    """Bytes that a body or the middle of a head brings are no request, though one came so before."""

    async def patient(request: web.BaseRequest) -> web.StreamResponse:
        await request.read()
        return await handler(request)

    head = NOW
    async with serving(patient, at_once=at_once) as (port, server), client(port) as (reader, writer):
        await asked_twice(reader, writer)
        assert head in server.heads
        if known == b"GET /later":  # what comes after an answer of the handler's
            writer.write(request(known))
            assert (await read_message(reader)).body == b"long"
        writer.write(before % len(head))
        await asyncio.sleep(0.01)
        writer.write(head)
        if b"chunked" in before:
            writer.write(b"\r\n0\r\n\r\n")
        for _ in range(before.count(b" /later ")):
            assert (await read_message(reader)).body == b"long"
        writer.write(head)
        assert (await read_message(reader)).body == b"ok"


async def test_the_end_of_a_request_is_not_taken_for_a_request() -> None:
    """What answered a head that came in two pieces is not what answers the second piece by itself."""
    async with serving(handler, at_once=at_once) as (port, server), client(port) as (reader, writer):
        for _ in range(3):
            writer.write(b"GET /now HTTP/1.1\r\nHost: a\r\n")
            await asyncio.sleep(0.01)
            writer.write(b"X: GET /later HTTP/1.1\r\n\r\n")
            assert (await read_message(reader)).body == b"ok"
        assert not server.heads


async def test_a_request_of_which_a_letter_is_there_goes_on() -> None:
    """However few bytes end one request and begin the next, what comes behind them belongs to that."""
    head = NOW
    async with serving(handler, at_once=at_once) as (port, _), client(port) as (reader, writer):
        await asked_twice(reader, writer)
        for piece in (head, request(b"GET /later")[:-2], b"\r\nP", head):
            writer.write(piece)
            await asyncio.sleep(0.01)
        assert (await read_message(reader)).body == b"ok"
        assert (await read_message(reader)).body == b"long"
        assert (await read_message(reader)).body != b"ok"  # there is no method `PGET` here


@pytest.mark.parametrize("before", [1, 2, 31, 32, 33, 34, 63, 64, 65])
async def test_a_known_request_amid_one_that_is_behind_many_is_part_of_that(before: int) -> None:
    """However often the parser had to go on before it came to the one that is not whole."""
    head = request(b"GET /now")
    async with serving(handler, at_once=at_once) as (port, server), client(port) as (reader, writer):
        for sent, number in ((head, 1), (head, 1), (head * before + b"GET /later HTTP/1.1\r\nX: ", before)):
            writer.write(sent)
            for _ in range(number):
                assert (await read_message(reader)).body == b"ok"
        assert head in server.heads
        writer.write(head)
        assert (await read_message(reader)).body == b"long"


async def test_a_known_request_behind_one_that_takes_longer_waits() -> None:
    """Answers keep the order of their requests, whatever is known of them."""
    go = asyncio.Event()

    async def slow(request: web.BaseRequest) -> web.StreamResponse:
        await go.wait()
        return await handler(request)

    async with serving(slow, at_once=at_once) as (port, _), client(port) as (reader, writer):
        await asked_twice(reader, writer)
        writer.write(request(b"GET /later"))
        await asyncio.sleep(0.01)
        writer.write(NOW)
        await asyncio.sleep(0.01)
        go.set()
        assert [(await read_message(reader)).body for _ in range(2)] == [b"long", b"long"]


@pytest.mark.parametrize("at", range(1, 42))
async def test_a_known_request_behind_a_cut_one_is_the_next(at: int) -> None:
    """Wherever a request is cut in two, what comes behind it is answered behind it."""
    head, other = NOW, request(b"GET /later")
    async with serving(handler, at_once=at_once) as (port, _), client(port) as (reader, writer):
        await asked_twice(reader, writer)
        for piece in (other[:at], other[at:] + head[:3], head[3:], head, other, head):
            writer.write(piece)
            await asyncio.sleep(0.001)
        assert [(await read_message(reader)).body for _ in range(5)] == [
            b"long",
            b"ok",
            b"ok",
            b"long",
            b"ok",
        ]


async def test_what_is_remembered_of_requests_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither many heads nor long ones are kept, nor those that do not come again or went to the handler."""
    monkeypatch.setattr(ahead, "HEADS", 4)
    async with serving(handler, at_once=at_once) as (port, server):
        assert (await exchange(port, request(b"GET /later"))).body == b"long"
        long = request(b"GET /now", b"X: " + b"y" * ahead.LONGEST)
        for _ in range(3):
            assert (await exchange(port, long)).body == b"ok"
        for number in range(6):
            assert (await exchange(port, request(b"GET /now", b"X: %d" % number))).body == b"ok"
        assert not server.heads
        for number in range(6):
            for _ in range(2):
                assert (await exchange(port, request(b"GET /now", b"Y: %d" % number))).body == b"ok"
            assert len(server.heads) == 1 + number % 4
            assert len(server.heads._once) <= 4
