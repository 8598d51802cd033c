"""The head of a request as a whole: many lines, each of which is allowed, are not more than `limits.head`."""

from itertools import pairwise
from pathlib import Path

import orjson
import pytest
from aiohttp.http import RawRequestMessage

from proxy.ahead import AtOnce, Give, Send
from proxy.bounds import Bounds
from proxy.connection import ClientConnection
from proxy.events import RequestEnded
from proxy.headers import _sound_host, sound_host
from tests.origins import OK, Message, Writer, answering, client, exchange, read_head, read_message, request
from tests.test_limits import Door, door, ended
from tests.test_limits_job import VIDEO, guarded

LIMIT = 4000
BOUNDS = Bounds(header=1000, headers=100, head=LIMIT)
TOO_LARGE = (431, "head_too_large")


def head(size: int, start: bytes = b"GET /", *fields: bytes) -> bytes:
    """Write a request whose head has so many bytes, in lines that are allowed."""
    lines = list(fields)
    while (left := size - len(request(start, *lines))) > 900:
        lines.append(b"X-%03d: " % len(lines) + b"a" * 500)
    lines.append(b"Y: " + b"b" * (left - 5))
    whole = request(start, *lines)
    assert len(whole) == size
    return whole


def code(message: Message) -> tuple[int, str]:
    """Status and code of an error."""
    body = orjson.loads(message.body)
    assert list(body) == ["error", "message", "code", "requestId"]
    return message.status, body["code"]


def give(send: Send) -> bool:
    """Answer."""
    send((OK,))
    return True


def at_once(_: RawRequestMessage, peer: str | None) -> Give | None:
    """Answer whatever it is."""
    return give if peer else None


def connection(it: Door) -> ClientConnection:
    """The only one."""
    (found,) = it.server.connections
    assert isinstance(found, ClientConnection)
    return found


async def in_pieces(it: Door, writer: Writer, *pieces: bytes) -> None:
    """Send so that each piece is read by itself."""
    for piece in pieces:
        writer.write(piece)
        await it.pass_time(1)


@pytest.mark.parametrize("before", [None, at_once])
async def test_a_head_in_one_piece_is_bounded(before: AtOnce | None) -> None:
    """To the byte, counted as a limit of fields; it is refused even where it could be answered at once."""
    async with door(BOUNDS, before) as it:
        assert (await exchange(it.port, head(LIMIT))).status == 200
        assert it.limits == []
        assert code(await exchange(it.port, head(LIMIT + 1))) == TOO_LARGE
        assert it.limits == ["headers"]
        ends = [event for event in it.events if isinstance(event, RequestEnded)]
        assert [(end.status, end.route, end.source) for end in ends] == [(431, "none", "error")]


@pytest.mark.parametrize("before", [None, at_once])
@pytest.mark.parametrize("sizes", [(2000, 1000, 900, 100, 1), (3999, 2), (10, 4991)])
async def test_a_head_in_pieces_is_bounded(sizes: tuple[int, ...], before: AtOnce | None) -> None:
    """All that came of it counts, whether its last piece is a small one or a large one."""
    ends = [sum(sizes[:count]) for count in range(len(sizes) + 1)]
    whole = head(sum(sizes))
    pieces = [whole[start:end] for start, end in pairwise(ends)]
    async with door(BOUNDS, before) as it, client(it.port) as (reader, writer):
        await in_pieces(it, writer, *pieces)
        assert code(await read_message(reader)) == TOO_LARGE
        assert await ended(reader) in (b"", b"reset")
        assert it.limits == ["headers"]


async def test_a_head_that_does_not_end_is_refused_once_it_is_too_large() -> None:
    """Nobody waits for its end, of which there may be none."""
    async with door(BOUNDS) as it, client(it.port) as (reader, writer):
        await in_pieces(it, writer, head(8000)[:3000], head(8000)[3000:6000])
        assert code(await read_message(reader)) == TOO_LARGE


async def test_a_head_just_under_the_limit_passes_in_pieces() -> None:
    """Each request counts anew, on one connection."""
    async with door(BOUNDS) as it, client(it.port) as (reader, writer):
        for _ in range(3):
            whole = head(LIMIT)
            await in_pieces(it, writer, whole[:2000], whole[2000:3990], whole[3990:])
            assert (await read_message(reader)).status == 200
        assert it.limits == []


@pytest.mark.parametrize("before", [None, at_once])
async def test_each_of_pipelined_heads_is_bounded_by_itself(before: AtOnce | None) -> None:
    """Together they may be larger; one that is not allowed ends the connection behind the answers before."""
    async with door(BOUNDS, before) as it, client(it.port) as (reader, writer):
        writer.write(head(3000) + head(3000))
        assert [(await read_message(reader)).status for _ in range(2)] == [200, 200]
        writer.write(head(3000) + head(LIMIT + 1) + head(1000))
        assert (await read_message(reader)).status == 200
        assert code(await read_message(reader)) == TOO_LARGE
        assert await ended(reader) in (b"", b"reset")
        assert it.limits == ["headers"]


async def test_a_head_behind_more_requests_than_are_queued_is_bounded() -> None:
    """It is parsed only when those before it have been answered."""
    async with door(BOUNDS) as it, client(it.port) as (reader, writer):
        writer.write(request(b"GET /") * 40 + head(LIMIT + 1))
        assert [(await read_message(reader)).status for _ in range(40)] == [200] * 40
        assert code(await read_message(reader)) == TOO_LARGE


async def test_what_follows_a_head_that_is_too_large_is_not_kept() -> None:
    """Though it is answered only when the request before it has been."""
    async with door(BOUNDS) as it, client(it.port) as (reader, writer):
        writer.write(request(b"GET /stream"))
        await read_head(reader)
        whole = head(12_001)
        await in_pieces(it, writer, *(whole[at : at + 3000] for at in range(0, 12_000, 3000)))
        assert len(connection(it)._messages) == 1
        it.more.set()
        assert b"ended" in (rest := await ended(reader))
        assert rest.endswith(b"}")
        assert b"head_too_large" in rest


async def test_a_body_does_not_count() -> None:
    """Neither one that comes with its head nor one behind it, nor does its end count for the next head."""
    large, piece = bytes(20_000), bytes(3000)
    async with door(BOUNDS) as it, client(it.port) as (reader, writer):
        writer.write(head(LIMIT, b"POST /", b"Content-Length: %d" % len(large)) + large)
        assert (await read_message(reader)).status == 200
        await in_pieces(it, writer, head(LIMIT, b"POST /", b"Content-Length: 9000"), piece, piece, piece)
        assert (await read_message(reader)).status == 200
        whole = head(LIMIT)
        await in_pieces(it, writer, whole[:2000], whole[2000:])
        assert (await read_message(reader)).status == 200
        writer.write(head(LIMIT + 1, b"POST /", b"Content-Length: %d" % len(large)) + large)
        assert code(await read_message(reader)) == TOO_LARGE


async def test_a_head_behind_a_body_is_bounded() -> None:
    """Where the body came in pieces too."""
    async with door(BOUNDS) as it, client(it.port) as (reader, writer):
        await in_pieces(it, writer, request(b"POST /", b"Content-Length: 9"), b"a" * 9)
        assert (await read_message(reader)).status == 200
        await in_pieces(it, writer, head(8000)[:3000], head(8000)[3000:6000])
        assert code(await read_message(reader)) == TOO_LARGE


async def test_what_waits_behind_a_full_queue_is_not_taken_for_a_head() -> None:
    """It may be read while it is not parsed yet."""
    async with door(BOUNDS) as it, client(it.port) as (reader, writer):
        await in_pieces(it, writer, request(b"GET /stream") + request(b"GET /") * 40)
        for _ in range(4):
            connection(it).data_received(request(b"GET /") * 70)
        it.more.set()
        assert (await read_message(reader)).body == b"begun ended"
        assert [(await read_message(reader)).status for _ in range(320)] == [200] * 320


async def test_what_follows_an_upgrade_is_no_head() -> None:
    """It is another protocol's."""
    async with door(BOUNDS) as it, client(it.port) as (reader, writer):
        asked = request(b"GET /stream", b"Connection: upgrade", b"Upgrade: websocket")
        await in_pieces(it, writer, asked, *[b"a" * 3000] * 3)
        assert not connection(it)._messages
        it.more.set()
        assert (await read_message(reader)).status == 200
        assert it.limits == []


async def test_the_heads_size_is_the_configurations(tmp_path: Path) -> None:
    """On each way a request may go, a head just under it passes: relayed, rewritten, with a body."""
    post = b"Content-Length: 50000"
    async with (
        answering(OK) as activity,
        guarded(tmp_path, "limits: {head: 8KiB}", activity=str(activity.url)) as it,
        client(it.port) as (reader, writer),
    ):
        for _ in range(3):
            for sent in (head(8192), head(8192, VIDEO), head(8192, b"POST /", post) + bytes(50_000)):
                writer.write(sent)
                assert (await read_message(reader)).status == 200
        assert len(activity.received) == 6
        for start in (b"GET /", VIDEO, b"POST /"):
            assert code(await exchange(it.port, head(8193, start))) == TOO_LARGE
        assert len(activity.received) == 6
        assert await it.limited() == {"headers": 3}


def test_no_long_host_is_remembered() -> None:
    """A client may send many of them."""
    _sound_host.cache_clear()
    assert sound_host("a" * 256)
    assert not sound_host("/" * 256)
    assert _sound_host.cache_info().currsize == 0
    assert sound_host("a" * 255)
    assert _sound_host.cache_info().currsize == 1
