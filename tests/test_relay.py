"""Requests relayed at once: what both sides and the observers see is what they see of the listener's way."""

import asyncio
from ipaddress import ip_network
from typing import Any

import pytest

from proxy import beginning as module
from proxy.ahead import LARGEST
from proxy.events import RequestEnded, RequestStarted, SourceFailedEvent
from proxy.headers import Network
from tests.origins import OK, client, read_message, request, until
from tests.relaying import alike, relaying

GET = request(b"GET /a")
_CLOSE = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"


@pytest.mark.parametrize(
    "answer",
    [
        OK,
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 \r\nContent-Length: 0\r\nDate: now\r\n\r\n",
        b"HTTP/1.1 404 Nicht da\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nContent-Length: 2\r\n\r\nno",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n3\r\nyes\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\nX-A: b\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nETag: x\r\nContent-Length: 7\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + OK,
        OK.replace(b"OK", b"OK\r\nConnection: X-Gone\r\nX-Gone: a\r\nKeep-Alive: 5\r\nX-Kept: \xe9"),
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGEST + b"x" * LARGEST,
        _CLOSE,
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        OK + b"HTTP/1.1 200",
        OK + OK,
    ],
)
async def test_a_whole_answer_ends_at_once(answer: bytes) -> None:
    """It is the same to the byte, and told the same; the next request gets its own."""
    assert await alike((GET, request(b"GET /b")), (answer, OK)) in [(2, 0), (1, 0)]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (LARGEST + 1) + b"x" * (LARGEST + 1),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nwh", b"at"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", b"0\r\n\r\n"),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 000 None\r\nContent-Length: 2\r\n\r\nok",
        b"SSH-2.0-OpenSSH\r\n",
    ],
)
async def test_all_other_answers_are_the_listeners(answer: Any) -> None:
    """Those that are not whole at once, or too large, or none: they stream, break off or fail as ever."""
    begun, resumed = await alike((GET, request(b"GET /b")), (answer, OK))
    assert begun >= 1
    assert resumed == 1


async def test_an_answer_that_ends_with_its_connection() -> None:
    """The end is not known until it comes."""
    answer = (b"HTTP/1.1 200 OK\r\n\r\nwh", b"at")
    async with relaying(answer, None) as it, client(it.listener.port) as (reader, writer):
        await it.primed(reader, writer)
        writer.write(GET)
        await until(lambda: bool(it.resumed))
        it.upstream.close()
        assert it.begun == it.resumed == [b"/a"]


async def test_a_connection_that_turns_out_dead_is_no_viewers_trouble() -> None:
    """The request is made once more, on another connection, as the listener does it."""
    assert await alike((GET,), (None, OK)) == (1, 1)


async def test_an_activity_server_that_never_answers_is_a_502() -> None:
    """Once more, and no more; the failure is told."""
    assert await alike((GET,), (None, None)) == (1, 1)
    async with relaying(None, None) as it, client(it.listener.port) as (reader, writer):
        await it.primed(reader, writer)
        writer.write(GET)
        assert (await read_message(reader)).status == 502
        assert len(it.script.received) == 2
        await until(lambda: not it.running)
        assert [type(event) for event in it.events] == [RequestStarted, SourceFailedEvent, RequestEnded]


@pytest.mark.parametrize(
    "sent",
    [
        GET,
        request(b"GET /.proxy/a?b=%41/../c"),
        request(b"GET /a//b/%2e%2e/\\?x#")[:-4].replace(b"#", b"") + b"\r\n\r\n",
        request(b"GET /a", b"X-Request-Id: mine-1", b"Cookie: a=1; __Host-activity-proxy=secret; b=2"),
        request(b"GET /a", b"Cookie: __Host-activity-proxy=secret", b"Authorization: Bearer x"),
        request(b"GET /a", b"X-Forwarded-For: 1.2.3.4", b"X-Forwarded-Proto: https", b"Forwarded: for=a"),
        request(b"GET /a", b"Connection: keep-alive, X-Gone", b"X-Gone: a", b"TE: trailers"),
        request(b"GET /a", b"Content-Length: 0", b"If-None-Match: x", b"Range: bytes=0-1"),
        request(b"GET /a", b"Activity-Proxy-Source: me", b"X_Real-IP: 1.1.1.1", b"X-Odd: \xff\xe9"),
        b"GET /a HTTP/1.1\r\nhost: h:1\r\nx-a:   b  \r\n\r\n",
        b"GET /api HTTP/1.1\r\nHost: h\r\n\r\n",
    ],
)
@pytest.mark.parametrize("trusted", [(), (ip_network("127.0.0.0/8"),)])
async def test_a_request_is_asked_the_same(sent: bytes, trusted: tuple[Network, ...]) -> None:
    """What the Activity server gets, by whom and for what, does not depend on the way."""
    assert await alike((sent,), (OK,), trusted=trusted) == (1, 0)


@pytest.mark.parametrize(
    "sent",
    [
        request(b"HEAD /a"),
        request(b"POST /a", b"Content-Length: 0"),
        request(b"GET /a", b"Content-Length: 1", body=b"x"),
        request(b"GET /a", b"Via: 1.1 other"),
        request(b"GET /a", b"Via: 1.1 activity-proxy"),
        request(b"GET /a", b"Expect: 100-continue"),
        request(b"GET /a", b"Connection: close"),
        request(b"GET /a", b"Connection: Upgrade", b"Upgrade: h2c"),
        request(b"GET /api//kaltura/videos"),
        request(b"GET /a#b"),
        request(b"GET http://other.example/a"),
        request(b"GET http://activity.example/a?b"),
        request(b"GET /a").replace(b"HTTP/1.1", b"HTTP/1.0"),
        request(b"GET /a").replace(b"activity.example", b"a b"),
        request(b"GET /\xff\xe9"),
        b"GET /a HTTP/1.1\r\n\r\n",
    ],
)
async def test_all_other_requests_are_the_listeners(sent: bytes) -> None:
    """Those that are more than plain, or pass nothing through."""
    assert await alike((sent,), (OK,)) == (0, 0)


async def test_each_request_has_fields_of_its_own() -> None:
    """What is remembered of a connection's requests is for those that are alike in every field."""
    fields = [(b"X-A: 1",), (b"X-A: 1",), (b"X-A: 2",), (b"X-A: 1", b"Cookie: a=b"), (b"X-A: 1",)]
    sent = tuple(request(b"GET /a", *each) for each in fields)
    assert await alike(sent, (OK,) * len(sent)) == (len(sent), 0)
    sent = (request(b"GET /a"), request(b"GET /a", b"Via: 1.1 other"), request(b"GET /a"))
    assert await alike(sent, (OK,) * len(sent)) == (2, 0)


async def test_the_same_fields_are_another_clients_on_another_connection() -> None:
    """Who asks is no part of the fields."""
    async with relaying(OK, OK, trusted=(ip_network("127.0.0.0/8"),)) as it:
        for peer in ("127.0.0.1", "127.0.0.2"):
            address = (peer, 0)
            reader, writer = await asyncio.open_connection("127.0.0.1", it.listener.port, local_addr=address)
            await it.primed(reader, writer)
            writer.write(GET)
            assert (await read_message(reader)).body == b"ok"
            assert it.script.received[0].one("X-Forwarded-For") == peer.encode()
            assert it.events.of(RequestEnded)[0].client == peer
            writer.close()
        assert it.begun.count(b"/a") == 2


async def test_little_is_remembered_of_a_connection() -> None:
    """As there may be thousands of them: fields of a common size or nothing."""
    async with relaying(OK, OK) as it, client(it.listener.port) as (reader, writer):
        await it.primed(reader, writer)
        for field, remembered in ((b"X-A: b", True), (b"X-A: " + b"b" * 5000, False)):
            writer.write(request(b"GET /a", field))
            assert (await read_message(reader)).body == b"ok"
            (connection,) = it.listener.server.connections
            assert (connection.memory is not None) is remembered  # type: ignore[attr-defined]  # it is ours
        assert it.begun == [b"/a"] * 2


async def test_few_targets_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The latest, of a common length; which it is makes no difference to what is asked."""
    monkeypatch.setattr(module, "TARGETS", 2)
    targets = [b"/1", b"/2", b"/3", b"/1", b"/" + b"x" * 600, b"/3?" + b"y" * 600, b"/3"]
    async with relaying(*[OK] * len(targets)) as it, client(it.listener.port) as (reader, writer):
        await it.primed(reader, writer)
        for target in targets:
            writer.write(request(b"GET " + target))
            assert (await read_message(reader)).body == b"ok"
        assert [message.target for message in it.script.received] == targets
        assert it.begun == targets
        assert it.beginning.remembered == 2


async def test_nothing_is_begun_without_a_connection_at_hand() -> None:
    """To make one has to be waited for, and may fail."""
    async with relaying(OK) as it, client(it.listener.port) as (reader, writer):
        writer.write(GET)
        assert (await read_message(reader)).body == b"ok"
        assert not it.begun


async def test_nothing_is_begun_on_a_connection_that_is_of_no_use() -> None:
    """What is kept may have ended meanwhile; the request gets a new one by the listener."""
    async with relaying(OK) as it, client(it.listener.port) as (reader, writer):
        await it.primed(reader, writer)
        it.upstream.idle[0].reusable = False
        writer.write(GET)
        assert (await read_message(reader)).body == b"ok"
        assert not it.begun
        assert it.origin.connections == 2


async def test_any_part_of_an_answer_may_come_first() -> None:
    """Wherever an answer is cut in two, the client gets the same."""
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nDate: now\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    cuts = range(1, len(answer))
    pieces = [(answer[:cut], answer[cut:]) for cut in cuts]
    async with relaying(*pieces) as it, client(it.listener.port) as (reader, writer):
        await it.primed(reader, writer)
        for _ in cuts:
            writer.write(GET)
            got = await read_message(reader)
            assert (got.start, got.body, got.one("Date")) == (b"HTTP/1.1 200 OK", b"ok", b"now")
        assert len(it.begun) == len(cuts)
        in_the_head = answer.index(b"\r\n\r\n") + 3
        assert len(it.resumed) == len(cuts) - in_the_head
