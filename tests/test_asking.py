"""Rewritten calls begun at once: clients, sources and observers see what they see of the listener's way."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from proxy.ahead import LARGEST
from proxy.call import Answer, Call, Failure, FailureKind, Problem
from proxy.connection import ClientConnection
from proxy.events import Crashed, RequestEnded, RequestStarted
from tests.listener_fakes import Recorded
from tests.origins import client, read_message, request, reset, until
from tests.relaying import Relaying, alike, relaying

VIDEO = request(b"GET /api/kaltura/video/1_cats")
LIST = request(
    b"GET /api/kaltura/videos?page=2&pageSize=3", b"X-Request-Id: mine", b"X-Forwarded-For: 9.9.9.9"
)
_BUSY = Failure("gateway", FailureKind.STATUS, "the gateway answered 500", 500)


@dataclass
class Slow:
    """A source that answers when it is told to. `left` counts the calls that were given up."""

    answer: Answer = field(default_factory=lambda: Answer(200, b"{}", "gateway"))
    go: asyncio.Event = field(default_factory=asyncio.Event)
    calls: list[Call] = field(default_factory=list)
    left: int = 0

    async def __call__(self, call: Call) -> Answer:
        """Answer."""
        self.calls.append(call)
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.left += 1
            raise
        return self.answer


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, b'{"id":"1_cats"}', "gateway", cache="fwd=miss; stored", etag='"e"'),
        Answer(200, b"", "cache", content_type="text/plain", headers=(("X-A", "b"), ("X-A", "c"))),
        Answer(200, b"x" * LARGEST, "gateway"),
        Answer(200, b"{}", "canned", failures=(_BUSY,)),
        Answer(404, b"", "gateway", problem=Problem("Video not found", "Video not found", "not_found")),
        Answer(
            503, b"", None, failures=(_BUSY,), problem=Problem("a", "b", "c"), headers=(("Retry-After", "3"),)
        ),
        Answer(204, b"", None),
        Answer(304, b"x", "activity"),
    ],
)
async def test_an_answer_is_sent_by_whoever_brings_it(answer: Answer) -> None:
    """It is the same to the byte, and told the same; the source is asked for the same."""
    calls: list[list[Call]] = []
    taught: list[tuple[str, Call, Answer]] = []

    async def asked(call: Call) -> Answer:
        calls[-1].append(call)
        return answer

    def learn(target: str, call: Call, given: Answer) -> None:
        taught.append((target, call, given))

    for each in (VIDEO, LIST):
        calls += [[]]
        assert await alike((each, each), answer=asked, learn=learn) == (2, 0)
        at_once, listener = calls[-1][:2], calls[-1][2:]
        assert at_once == listener
        assert len(taught) == 4
        assert taught[:2] == taught[2:]
        taught.clear()


async def test_a_large_answer_is_the_listeners() -> None:
    """The client may have to be waited for."""
    assert await alike((VIDEO, VIDEO), answer=Recorded(Answer(200, b"x" * (LARGEST + 1), "gateway"))) == (
        2,
        2,
    )


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, b"{}", "gateway", headers=(("X-A", "b\r\nX-C: d"),)),
        Answer(404, b"", "gateway", problem=Problem("\ud800", "a", "b")),
    ],
)
async def test_an_answer_that_cannot_be_sent_is_the_listeners(answer: Answer) -> None:
    """It is a defect, of which the client hears, rather than nothing."""
    broken = Recorded(answer)
    async with relaying(answer=broken) as it, client(it.listener.port) as (reader, writer):
        writer.write(VIDEO)
        assert (await read_message(reader)).status == 500
        assert len(it.begun) == len(it.resumed) == len(broken.calls) == 1


async def test_a_defect_is_the_listeners() -> None:
    """It is told once, with its cause, and the client hears of it."""
    error = KeyError("secret")

    async def fail(_call: Call) -> Answer:
        raise error

    assert await alike((VIDEO, VIDEO), answer=fail) == (2, 2)
    async with relaying(answer=fail) as it, client(it.listener.port) as (reader, writer):
        writer.write(VIDEO)
        assert (await read_message(reader)).status == 500
        assert [event.error for event in it.events.of(Crashed)] == [error]


async def test_a_call_that_is_cancelled_elsewhere_keeps_no_client_waiting() -> None:
    """As for the listener, its connection ends: nobody will bring an answer."""

    async def cancelled(_call: Call) -> Answer:
        raise asyncio.CancelledError

    async with relaying(answer=cancelled) as it, client(it.listener.port) as (reader, writer):
        writer.write(VIDEO)
        assert await reader.read() == b""
        await until(lambda: not it.running)
        assert [event.status for event in it.events.of(RequestEnded)] == [499]


@pytest.mark.parametrize(
    "sent",
    [
        request(b"HEAD /api/kaltura/video/1_cats"),
        request(b"POST /api/kaltura/session", b"Content-Length: 0"),
        request(b"GET /api/kaltura/video/1_cats", b"If-None-Match: *"),
        request(b"GET /api/kaltura/video/1_cats", b"Content-Length: 1", body=b"x"),
        request(b"GET /api/kaltura/video/1_cats", b"Via: 1.1 activity-proxy"),
        request(b"GET /api/kaltura/video/1_cats", b"Expect: 100-continue"),
        request(b"GET /api/kaltura/video/1_cats", b"Connection: close"),
        request(b"GET /api/kaltura/video/1_cats").replace(b"HTTP/1.1", b"HTTP/1.0"),
        request(b"GET http://activity.example/api/kaltura/video/1_cats"),
        request(b"GET /api/kaltura/video/%2e%2e"),
        request(b"GET /api/kaltura/video/a%20b"),
        request(b"GET /api/kaltura/videos/search"),
    ],
)
async def test_all_other_requests_are_the_listeners(sent: bytes) -> None:
    """Those that are more than plain, and those that are refused."""
    assert await alike((sent,)) == (0, 0)


@pytest.mark.parametrize("changes", [{"max_age": None}, {"as_": "user"}])
async def test_what_is_not_anybodys_is_the_listeners(changes: Mapping[str, Any]) -> None:
    """Who asks has to be found out, and what may not be kept is seldom small and plain."""
    async with relaying() as it, client(it.listener.port) as (reader, writer):
        ask = it.beginning.ask
        other = replace(ask, route=lambda name: ask.route(name).model_copy(update=changes))
        it.built[0] = replace(it.beginning, ask=other)
        writer.write(VIDEO)
        assert (await read_message(reader)).status == 200
        assert not it.begun


async def under_way(it: Relaying, source: Slow) -> ClientConnection:
    """Wait until the first call is under way."""
    await until(lambda: len(source.calls) == 1)
    assert len(it.begun) == it.running == 1
    (connection,) = cast("list[ClientConnection]", it.listener.server.connections)
    return connection


async def test_more_bytes_have_it_handed_over() -> None:
    """The call goes on, and what came behind is answered behind it."""
    source = Slow()
    async with relaying(answer=source) as it, client(it.listener.port) as (reader, writer):
        writer.write(VIDEO)
        await under_way(it, source)
        writer.write(LIST)
        await until(lambda: len(it.resumed) == 1)
        source.go.set()
        assert (await read_message(reader)).one("X-Request-Id") != b"mine"
        assert (await read_message(reader)).one("X-Request-Id") == b"mine"
        await until(lambda: not it.running)
        assert [call.route.name for call in source.calls] == ["video", "videos"]
        assert [type(event) for event in it.events] == [RequestStarted, RequestEnded] * 2


async def test_its_answer_ends_the_connection_while_the_server_stops() -> None:
    """As every answer does then."""
    source = Slow()
    async with relaying(answer=source) as it, client(it.listener.port) as (reader, writer):
        writer.write(VIDEO)
        await under_way(it, source)
        it.listener.server.stopping = True
        source.go.set()
        assert (await read_message(reader)).one("Connection") == b"close"
        assert await reader.read() == b""


@pytest.mark.parametrize("handed", [False, True])
async def test_a_client_that_leaves_gives_up_the_call(handed: bool) -> None:
    """Nobody waits for it; it is told as 499, once."""
    source = Slow()
    async with relaying(answer=source) as it, client(it.listener.port) as (_, writer):
        writer.write(VIDEO)
        await under_way(it, source)
        if handed:
            writer.write(b"GET")
            await until(lambda: len(it.resumed) == 1)
        reset(writer)
        await until(lambda: not it.running and source.left == 1)
        started, ended = it.events
        assert started == RequestStarted("public")
        assert isinstance(ended, RequestEnded)
        assert (ended.route, ended.status, ended.source, ended.bytes_sent) == ("video", 499, "error", 0)


async def test_a_client_that_leaves_as_it_is_handed_over() -> None:
    """Before the listener has it: the call is given up, and that is told once."""
    source = Slow()
    async with relaying(answer=source) as it, client(it.listener.port) as (_, writer):
        writer.write(VIDEO)
        connection = await under_way(it, source)
        connection.hand_over()
        transport = connection.transport
        assert transport is not None
        connection.connection_lost(None)
        transport.abort()
        await until(lambda: not it.running and source.left == 1)
        assert not it.resumed
        assert [type(event) for event in it.events] == [RequestStarted, RequestEnded]


async def test_whoever_asks_too_often_is_the_listeners() -> None:
    """Each request counts once, whichever way it goes."""
    asked: list[str] = []

    def admit(address: str) -> Mapping[str, str] | None:
        asked.append(address)
        return {"Retry-After": "1"} if len(asked) > 1 else None

    async with relaying(admit=admit) as it, client(it.listener.port) as (reader, writer):
        writer.write(VIDEO)
        assert (await read_message(reader)).status == 200
        assert (len(asked), len(it.begun)) == (1, 1)
        writer.write(VIDEO)
        assert (await read_message(reader)).status == 429
        assert len(it.begun) == 1


@pytest.mark.parametrize("field", [b"Cookie: a=b", b"Authorization: Bearer x"])
async def test_whoever_may_be_limited_as_a_viewer_is_the_listeners(field: bytes) -> None:
    """Who that is has to be looked up."""
    async with relaying(admit=lambda _: None) as it, client(it.listener.port) as (reader, writer):
        writer.write(request(b"GET /api/kaltura/video/1_cats", field))
        assert (await read_message(reader)).status == 200
        assert not it.begun
