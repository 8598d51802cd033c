"""What may come between a request that was begun at once and its answer."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from itertools import accumulate
from typing import cast

import pytest
from aiohttp.http import RawRequestMessage
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from proxy.ahead import Ahead, Give, Send
from proxy.connection import ClientConnection
from proxy.events import RequestEnded, RequestStarted
from proxy.metrics import Metrics
from tests.origins import OK, PATIENCE, Reader, Writer, client, read_message, request, reset, until
from tests.relaying import KEPT, Relaying, relaying

GET = request(b"GET /a")


@asynccontextmanager
async def under_way(
    *answers: bytes | None, keepalive_timeout: float = 75.0
) -> AsyncIterator[tuple[Relaying, Reader, Writer]]:
    """Run a relay with one request that was begun, is known already, and is not answered until `go`."""
    async with (
        relaying(OK, *answers, keepalive_timeout=keepalive_timeout) as it,
        client(it.listener.port) as (reader, writer),
    ):
        await it.primed(reader, writer)
        writer.write(GET)
        assert (await read_message(reader)).body == b"ok"
        for past in (it.events, it.begun, it.script.received):
            past.clear()
        it.script.hold = asyncio.Event()
        writer.write(GET)
        await until(lambda: len(it.script.received) == 1)
        assert it.begun == [b"/a"]
        yield it, reader, writer


def go(it: Relaying) -> None:
    """Let the Activity server answer."""
    assert it.script.hold is not None
    it.script.hold.set()


async def test_it_counts_as_under_way_from_its_beginning() -> None:
    """It has started, has not ended, and the server knows of it, once each."""
    async with under_way(OK) as (it, reader, _):
        assert it.running == 1
        (connection,) = cast("list[ClientConnection]", it.listener.server.connections)
        assert not connection.waits()
        assert list(it.events) == [RequestStarted("public")]
        go(it)
        assert (await read_message(reader)).body == b"ok"
        assert it.running == 0
        assert [type(event) for event in it.events] == [RequestStarted, RequestEnded]
        assert not it.resumed


async def test_the_first_request_of_a_connection_may_take_its_time() -> None:
    """A slow Activity server is not the client's fault: nothing is cut that has asked."""
    async with under_way(OK, OK) as (it, _, _), client(it.listener.port) as (reader, writer):
        go(it)
        await until(lambda: not it.running)
        it.script.hold = asyncio.Event()
        writer.write(GET)
        await until(lambda: it.begun == [b"/a"] * 2)
        it.clock.shift(100.0)
        it.listener.server.sweep()
        go(it)
        assert (await read_message(reader)).body == b"ok"


@pytest.mark.parametrize("more", [request(b"GET /b"), b"GET /b", request(b"POST /b", b"Content-Length: 0")])
async def test_more_bytes_have_it_handed_over(more: bytes) -> None:
    """So that what they ask is answered behind it."""
    first, second = OK.replace(b"ok", b"1."), OK.replace(b"ok", b"2.")
    async with under_way(first, second) as (it, reader, writer):
        writer.write(more)
        await until(lambda: it.resumed == [b"/a"])
        go(it)
        assert (await read_message(reader)).body == b"1."
        if not more.endswith(b"\r\n\r\n"):
            writer.write(request(b""))
        assert (await read_message(reader)).body == b"2."
        await until(lambda: not it.running)
        assert [message.target for message in it.script.received] == [b"/a", b"/b"]
        kinds = [type(event) for event in it.events]
        assert kinds == [RequestStarted, RequestEnded] * 2


async def test_nonsense_behind_it_is_refused_behind_its_answer() -> None:
    """And ends the connection, as it does for the listener."""
    async with under_way(OK) as (it, reader, writer):
        writer.write(b"nonsense\r\n\r\n")
        await until(lambda: it.resumed == [b"/a"])
        go(it)
        assert (await read_message(reader)).body == b"ok"
        assert (await read_message(reader)).status == 400
        assert await reader.read() == b""


@pytest.mark.parametrize("handed", [False, True])
@pytest.mark.parametrize("leave", [reset, Writer.close, Writer.write_eof])
async def test_a_client_that_leaves_ends_it(leave: Callable[[Writer], None], handed: bool) -> None:
    """The Activity server's connection is cut; it is told as 499, once."""
    async with under_way(OK) as (it, _, writer):
        if handed:
            writer.write(b"GET")
            await until(lambda: it.resumed == [b"/a"])
        leave(writer)
        await until(lambda: not it.running)
        assert not it.upstream.in_use
        started, ended = it.events
        assert started == RequestStarted("public")
        assert isinstance(ended, RequestEnded)
        assert (ended.route, ended.status, ended.source, ended.bytes_sent) == ("pass", 499, "error", 0)
        assert (ended.method, ended.target, ended.client) == ("GET", "/a", "127.0.0.1")


async def test_a_client_that_leaves_as_it_is_handed_over() -> None:
    """Before the listener has it, somebody has to end it: once."""
    async with under_way(OK) as (it, _, writer):
        (connection,) = cast("list[ClientConnection]", it.listener.server.connections)
        connection.hand_over()
        transport = connection.transport
        assert transport is not None
        connection.connection_lost(None)
        transport.abort()
        await until(lambda: not it.running)
        assert not it.resumed
        assert [type(event) for event in it.events] == [RequestStarted, RequestEnded]
        writer.close()


async def test_an_answer_that_comes_as_it_is_handed_over() -> None:
    """Before the listener has it: the answer is the listener's to send, and is sent once."""
    async with under_way(OK, OK) as (it, reader, writer):
        (connection,) = cast("list[ClientConnection]", it.listener.server.connections)
        (upstream,) = it.upstream.in_use
        connection.data_received(GET)
        upstream.data_received(OK)
        go(it)
        assert [(await read_message(reader)).body for _ in range(2)] == [b"ok"] * 2
        await until(lambda: not it.running)
        writer.write_eof()
        assert await reader.read() == b""
        assert [type(event) for event in it.events] == [RequestStarted, RequestEnded] * 2


async def test_its_answer_ends_the_connection_while_the_server_stops() -> None:
    """As every answer does then."""
    async with under_way(OK) as (it, reader, _):
        it.listener.server.stopping = True
        go(it)
        got = await read_message(reader)
        assert (got.body, got.one("Connection")) == (b"ok", b"close")
        assert await reader.read() == b""
        assert it.resumed == [b"/a"]


async def test_a_connection_that_is_closing_takes_no_answer() -> None:
    """What is written to it would be lost, and told as if it were not."""
    async with under_way(OK) as (it, _, _):
        (connection,) = cast("list[ClientConnection]", it.listener.server.connections)
        assert connection.takes()
        assert connection.transport is not None
        connection.transport.close()
        assert not connection.takes()


async def test_idle_connections_are_closed_and_this_one_is_not() -> None:
    """Nothing is lost when the server stops listening."""
    async with under_way(OK) as (it, reader, _), client(it.listener.port) as (other, _):
        await until(lambda: len(it.listener.server.connections) == 2)
        it.listener.server.stopping = True
        it.listener.server.close_idle()
        assert await other.read() == b""
        go(it)
        got = await read_message(reader)
        assert (got.body, got.one("Connection")) == (b"ok", b"close")


@pytest.mark.parametrize("handed", [False, True])
async def test_cutting_all_connections_ends_it(handed: bool) -> None:
    """The end of the patience is the end of this too."""
    async with under_way(OK) as (it, reader, writer):
        if handed:
            writer.write(b"GET")
            await until(lambda: it.resumed == [b"/a"])
        await it.listener.server.cut()
        assert it.running == 0
        assert not it.upstream.in_use
        assert await reader.read() == b""
        assert [event.status for event in it.events.of(RequestEnded)] == [499]


async def test_the_idle_time_does_not_run_meanwhile() -> None:
    """It runs from the answer on, and then the connection is closed."""
    async with under_way(OK, OK, keepalive_timeout=0.05) as (it, reader, _):
        await until(lambda: it.resumed == [b"/a"])
        go(it)
        assert (await read_message(reader)).body == b"ok"
        async with asyncio.timeout(PATIENCE):
            assert await reader.read() == b""


async def test_an_answer_gives_the_connection_its_idle_time_again() -> None:
    """Each time; what is left of the time before does not count."""
    loop = asyncio.get_running_loop()
    async with (
        relaying(*[OK] * 5, keepalive_timeout=0.2) as it,
        client(it.listener.port) as (reader, writer),
    ):
        await it.primed(reader, writer)
        begin = loop.time()
        for _ in range(5):
            writer.write(GET)
            assert (await read_message(reader)).body == b"ok"
            await asyncio.sleep(0.1)
        assert loop.time() - begin > 0.4
        assert len(it.begun) >= 3


async def test_whoever_asks_too_often_is_the_listeners() -> None:
    """Each request counts once, whichever way it goes; the connection at hand stays so."""
    asked: list[str] = []

    def admit(address: str) -> Mapping[str, str] | None:
        asked.append(address)
        return {"Retry-After": "1"} if len(asked) > 2 else None

    async with relaying(OK, admit=admit) as it, client(it.listener.port) as (reader, writer):
        await it.primed(reader, writer)
        writer.write(GET)
        assert (await read_message(reader)).status == 200
        assert (asked, it.begun) == (["127.0.0.1"] * 2, [b"/a"])
        writer.write(GET)
        assert (await read_message(reader)).status == 429
        assert it.begun == [b"/a"]
        assert it.origin.connections == 1


@pytest.mark.parametrize("field", [b"Cookie: a=b", b"Authorization: Bearer x"])
async def test_whoever_may_be_limited_as_a_viewer_is_the_listeners(field: bytes) -> None:
    """Who that is has to be looked up."""
    async with (
        relaying(OK, admit=lambda _: None) as it,
        client(it.listener.port) as (reader, writer),
    ):
        await it.primed(reader, writer)
        writer.write(request(b"GET /a", field))
        assert (await read_message(reader)).body == b"ok"
        assert not it.begun


def give(send: Send) -> bool:
    """Answer with what is kept."""
    send([KEPT])
    return True


def at_once(message: RawRequestMessage, _peer: str | None) -> Give | None:
    """Answer what is kept."""
    return give if message.path == "/kept" else None


_ASKED = {
    b"kept": (request(b"GET /kept"),),
    b"pass": (GET,),
    b'{"id":"1_cats"}': (request(b"GET /api/kaltura/video/1_cats"),),
    b"up": (request(b"POST /up", b"Content-Length: %d" % len(GET)), GET),
    b"down": (b"POST /down HTTP/1.1\r\nX: ", GET),
}
"""What is asked, in the pieces that it may come in, by what it is answered. One's body is another's head."""


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(sorted(_ASKED)), min_size=1, max_size=40), st.data())
def test_any_mix_in_any_pieces_is_answered_in_order(kinds: list[bytes], data: st.DataObject) -> None:
    """Kept, relayed, rewritten and what looks like them, however many come at once, wherever they are cut."""
    pieces = [piece for kind in kinds for piece in _ASKED[kind]]
    sent, seams = b"".join(pieces), [*accumulate(map(len, pieces))]
    cuts = data.draw(st.lists(st.integers(0, len(sent)) | st.sampled_from(seams), max_size=12))
    answer = OK.replace(b": 2", b": 4").replace(b"ok", b"pass")

    async def check() -> None:
        async with (
            relaying(*[answer] * (kinds.count(b"pass") + 1), at_once=at_once) as it,
            client(it.listener.port) as (reader, writer),
        ):
            await it.primed(reader, writer)
            writer.write(GET)  # from now on it is known
            begin = 0
            for cut in sorted([*cuts, len(sent)]):
                writer.write(sent[begin:cut])
                begin = cut
                await asyncio.sleep(0.0005)
            assert [(await read_message(reader)).body for _ in [b"pass", *kinds]] == [b"pass", *kinds]
            await until(lambda: not it.running)
            assert len(it.events.of(RequestStarted)) == len(it.events.of(RequestEnded))

    asyncio.run(check())


async def test_what_is_the_listeners_is_not_taken_for_what_was_begun_before() -> None:
    """However often it comes."""
    sent = [GET, request(b"POST /b"), GET, request(b"POST /b"), GET]
    async with relaying(*[OK] * len(sent)) as it, client(it.listener.port) as (reader, writer):
        await it.primed(reader, writer)
        for each in sent:
            writer.write(each)
            assert (await read_message(reader)).body == b"ok"
        asked = [message.start for message in it.script.received]
        assert asked == [each.partition(b"\r\n")[0] for each in sent]
        assert it.begun == [b"/a"] * 3


async def test_a_burst_after_many_requests_is_answered_whole() -> None:
    """The parser lets so many wait at most; those that were relayed wait no more."""
    async with relaying(*[OK] * 42) as it, client(it.listener.port) as (reader, writer):
        await it.primed(reader, writer)
        for _ in range(40):
            writer.write(GET)
            assert (await read_message(reader)).body == b"ok"
        writer.write(GET * 2)
        assert [(await read_message(reader)).body for _ in range(2)] == [b"ok"] * 2
        assert len(it.begun) >= 40


@pytest.mark.parametrize("before", [30, 31, 32])
async def test_what_waits_in_the_parser_is_behind(before: int) -> None:
    """The parser stops after some; what it holds back then was sent later, and is answered later."""
    async with relaying(OK, at_once=at_once) as it, client(it.listener.port) as (reader, writer):
        await it.primed(reader, writer)
        it.script.hold = asyncio.Event()
        writer.write(request(b"GET /kept") * before + GET + request(b"GET /kept"))
        await until(lambda: bool(it.script.received))
        await asyncio.sleep(0.01)
        go(it)
        got = [(await read_message(reader)).body for _ in range(before + 2)]
        assert got == [b"kept"] * before + [b"ok", b"kept"]


async def test_what_is_in_flight_comes_to_nothing() -> None:
    """The gauge goes up once and down once, whichever way a request ends."""
    metrics = Metrics(CollectorRegistry(), mode="auto", version="0")
    async with under_way(OK) as (it, reader, writer):
        go(it)
        await read_message(reader)
        writer.close()
        await until(lambda: not it.listener.server.connections)
        for event in it.events:
            metrics(event)
    text = metrics.exposition("")[0].decode()
    assert 'activity_proxy_in_flight{listener="public"} 0.0' in text
    labels = 'method="GET",route="pass",source="activity",status="200"'
    assert f"activity_proxy_requests_total{{{labels}}} 1.0" in text


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What is parsed of what clients send, from now on."""
    seen: list[bytes] = []
    parse = Ahead.feed_data

    def feed_data(self: Ahead, data: bytes) -> object:
        seen.append(data)
        return parse(self, data)

    monkeypatch.setattr(Ahead, "feed_data", feed_data)
    return seen


async def test_what_comes_again_byte_for_byte_is_not_parsed_again(parsed: list[bytes]) -> None:
    """On the same connection; it is begun, told of and sent on as the first was."""
    other = request(b"GET /b")
    async with relaying(*[OK] * 8) as it, client(it.listener.port) as (reader, writer):
        await it.primed(reader, writer)
        parsed.clear()
        for sent in (GET, GET, GET, GET, other, other, other, GET):
            writer.write(sent)
            assert (await read_message(reader)).body == b"ok"
        assert it.begun == [b"/a"] * 4 + [b"/b"] * 3 + [b"/a"]
        assert parsed == [GET, GET, other, other, GET]  # what came once may never come again
        await until(lambda: not it.running)
        assert [type(event) for event in it.events] == [RequestStarted, RequestEnded] * 8
        assert len({event.request_id for event in it.events.of(RequestEnded)}) == 8
        assert [message.target for message in it.script.received] == it.begun


async def test_what_comes_again_is_handed_over_like_any_other(parsed: list[bytes]) -> None:
    """What the listener then has is the request, whoever parsed it and when."""
    async with relaying(OK, OK, OK, OK) as it, client(it.listener.port) as (reader, writer):
        await it.primed(reader, writer)
        for _ in range(2):
            writer.write(GET)
            assert (await read_message(reader)).body == b"ok"
        it.script.hold = asyncio.Event()
        parsed.clear()
        writer.write(GET)
        await until(lambda: len(it.script.received) == 3)
        writer.write(GET)  # behind it
        await until(lambda: it.resumed == [b"/a"])
        assert parsed == [GET]
        go(it)
        assert [(await read_message(reader)).body for _ in range(2)] == [b"ok"] * 2


async def test_what_was_begun_and_is_kept_now_is_given() -> None:
    """What came so before is asked for at once first, as what comes for the first time is."""
    kept, looked_into = list[bool](), list[bool]()

    def now(_message: RawRequestMessage, _peer: str | None) -> Give | None:
        looked_into.append(bool(kept))
        return give if kept else None

    async with relaying(*[OK] * 4, at_once=now) as it, client(it.listener.port) as (reader, writer):
        await it.primed(reader, writer)
        for body in (b"ok", b"kept"):
            for _ in range(4):
                writer.write(GET)
                assert (await read_message(reader)).body == body
            kept.append(True)
        assert len(it.begun) == 4
        assert sum(looked_into) == 2  # from then on it is known


@pytest.mark.parametrize(
    "before",
    [b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", b"GET /b HTTP/1.1\r\nX-Length: %d\r\nX: "],
)
async def test_what_only_looks_like_a_begun_request_is_what_it_is(before: bytes) -> None:
    """Bytes that a body or the middle of a head brings are no request, though one came so before."""
    async with relaying(*[OK] * 4) as it, client(it.listener.port) as (reader, writer):
        await it.primed(reader, writer)
        for _ in range(2):
            writer.write(GET)
            assert (await read_message(reader)).body == b"ok"
        writer.write(before % len(GET))
        await asyncio.sleep(0.01)
        for _ in range(2):
            writer.write(GET)
            assert (await read_message(reader)).body == b"ok"
        assert [message.target for message in it.script.received] == [b"/a", b"/a", b"/b", b"/a"]
