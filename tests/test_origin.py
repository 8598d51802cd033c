"""Connections to the Activity server: which is used, how long it is kept, and what is no answer."""

import asyncio
import gc
import gzip
import ssl
import zlib
from collections.abc import Awaitable
from pathlib import Path

import pytest
from aiohttp import ClientPayloadError, StreamReader
from aiohttp.base_protocol import BaseProtocol
from yarl import URL

from proxy.errors import ActivityAway
from proxy.exchange import READ_BUFFER, OriginConnection, OriginRequest, OriginResponse
from proxy.origin import Origin
from proxy.tls import TlsFiles, server_context
from tests.certificates import Authority
from tests.origins import (
    OK,
    PATIENCE,
    Reader,
    Writer,
    answering,
    passing,
    pour,
    raw_origin,
    read_head,
    read_message,
    request,
    talking,
    until,
)
from tests.tunnels import ASK, SWITCH

GET = OriginRequest(request(b"GET /"))


async def body(answer: Awaitable[OriginResponse]) -> bytes:
    """The whole body of an answer."""
    async with asyncio.timeout(PATIENCE):
        return await (await answer).content.read()


async def away(origin: Origin) -> str:
    """Why there is no answer."""
    with pytest.raises(ActivityAway) as caught:
        await origin.ask(GET)
    return caught.value.reason


async def test_an_idle_connection_is_closed_after_a_while() -> None:
    """Each one when its own time is over, and before the Activity server would."""
    ended: list[bytes] = []

    async def serve(reader: Reader, writer: Writer) -> None:
        target = (await read_head(reader)).target
        writer.write(OK)
        await reader.read()
        ended.append(target)

    async with raw_origin(serve) as server, Origin(server.url, keep=0.05) as origin:
        first, second = await origin.ask(GET), await origin.ask(OriginRequest(request(b"GET /second")))
        origin.release(first.connection)
        await asyncio.sleep(0.02)
        origin.release(second.connection)
        await until(lambda: bool(ended))
        assert ended == [b"/"]
        await until(lambda: len(ended) == 2)


async def test_a_connection_that_was_idle_for_too_long_is_not_used() -> None:
    """Even where nobody has closed it yet."""
    async with answering(OK) as server, Origin(server.url, keep=0.0) as origin:
        first = await origin.ask(GET)
        origin.release(first.connection)
        assert (await origin.ask(GET)).connection is not first.connection


async def test_the_connection_used_last_is_used_next() -> None:
    """So that those that a peak has left behind come to their end."""
    async with answering(OK) as server, Origin(server.url) as origin:
        first, second = await origin.ask(GET), await origin.ask(GET)
        origin.release(first.connection)
        origin.release(second.connection)
        assert (await origin.ask(GET)).connection is second.connection


async def test_one_dead_connection_is_enough_to_know_of_the_others() -> None:
    """Behind an address that another server has now, all kept connections are dead, and only one is tried."""

    async def serve(reader: Reader, writer: Writer) -> None:
        await read_head(reader)
        writer.write(OK)
        await read_head(reader)
        writer.transport.abort()

    async with raw_origin(serve) as server, Origin(server.url) as origin:
        for answer in [await origin.ask(GET) for _ in range(3)]:
            origin.release(answer.connection)
        assert await away(origin) == "reset"
        assert await body(origin.ask(GET)) == b"ok"
        assert server.connections == 4


async def test_what_nobody_asked_for_is_no_answer() -> None:
    """Bytes on an idle connection end it, so that the next request gets its own answer."""

    async def serve(reader: Reader, writer: Writer) -> None:
        await read_head(reader)
        writer.write(OK)
        await more.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-")
        await reader.read()
        over.set()

    more, over = asyncio.Event(), asyncio.Event()
    async with raw_origin(serve) as server, Origin(server.url) as origin:
        origin.release((await origin.ask(GET)).connection)
        more.set()
        async with asyncio.timeout(PATIENCE):
            await over.wait()
        assert await body(origin.ask(GET)) == b"ok"
        assert server.connections == 2


async def test_a_second_answer_is_not_kept_for_the_next_request() -> None:
    """Who gets two answers to one request takes the first, and never uses the connection again."""
    other = OK.replace(b"ok", b"no")
    async with answering(OK + other, OK) as server, talking(server.url) as (_, reader, writer):
        for _ in range(2):
            writer.write(GET.sent)
            assert (await read_message(reader)).body == b"ok"
    assert server.connections == 2


@pytest.mark.parametrize(
    "first",
    [
        OK,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\n\r\n",
    ],
)
@pytest.mark.parametrize(
    "part",
    [
        b"H",
        b"HTTP/1.1 200 O",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Whose: ",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r",
    ],
)
async def test_part_of_a_second_answer_is_not_kept_either(first: bytes, part: bytes) -> None:
    """It would be the beginning of what the next client gets."""
    async with answering(first + part, OK) as server, talking(server.url) as (_, reader, writer):
        for _ in range(2):
            writer.write(GET.sent)
            await read_message(reader)
    assert server.connections == 2


async def test_an_answer_whose_last_chunk_fills_the_buffer_holds_up_no_other() -> None:
    """Reading stops where too many chunks wait; that ends with the answer, and the next one comes whole."""
    chunks = b"1\r\nx\r\n" * (READ_BUFFER // 16 + 1)  # as many as aiohttp's stream holds, and one more
    many = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
    async with answering(many, OK) as server, Origin(server.url) as origin:
        for whole in (b"x" * (READ_BUFFER // 16 + 1), b"ok"):
            answer = await origin.ask(GET)
            async with asyncio.timeout(PATIENCE):
                assert await answer.content.read() == whole
            origin.release(answer.connection)
    assert server.connections == 1


async def test_blank_lines_behind_an_answer_are_nothing() -> None:
    """Some servers send one too many (RFC 9112 section 2.2); the connection is as good as before."""
    async with answering(OK + b"\r\n", OK) as server, talking(server.url) as (_, reader, writer):
        for _ in range(2):
            writer.write(GET.sent)
            assert (await read_message(reader)).body == b"ok"
    assert server.connections == 1


async def test_a_connection_is_not_used_again_when_the_upload_has_just_broken() -> None:
    """What is sent next would be read as the rest of that body."""

    async def serve(reader: Reader, writer: Writer) -> None:
        await read_head(reader)
        writer.write(OK)
        await reader.read()

    async with raw_origin(serve) as server, Origin(server.url) as origin:
        upload = StreamReader(BaseProtocol(asyncio.get_running_loop()), 1)
        upload._protocol.transport = asyncio.Transport()
        answer = await origin.ask(OriginRequest(request(b"POST /", b"Content-Length: 9"), upload))
        assert await answer.content.read() == b"ok"
        upload.set_exception(ConnectionResetError())
        await asyncio.sleep(0)  # the upload has ended, and nobody was told
        assert not answer.connection.release(0.0)


async def test_an_answer_does_not_end_because_the_upload_broke() -> None:
    """One that ends with its connection would be taken for a whole, were the connection just closed."""

    async def serve(reader: Reader, writer: Writer) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        await reader.read()

    async with raw_origin(serve) as server, Origin(server.url) as origin:
        upload = StreamReader(BaseProtocol(asyncio.get_running_loop()), 1)
        upload._protocol.transport = asyncio.Transport()
        answer = await origin.ask(OriginRequest(request(b"POST /", b"Content-Length: 9"), upload))
        assert await answer.content.readany() == b"half"
        upload.set_exception(ConnectionResetError())
        with pytest.raises(ClientPayloadError):
            await answer.content.readany()
        origin.release(answer.connection)


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (b"4\r\nhalf\r\n", b"zz\r\n"),
        (b"4\r\nhalf", b"\r\nzz\r\n"),  # whoever waits for more is told of the chunk's end in the same breath
    ],
)
async def test_an_answer_that_loses_its_framing_breaks_off(good: bytes, bad: bytes) -> None:
    """A bad chunk after good ones ends the client's connection, though the Activity server stays."""

    async def serve(reader: Reader, writer: Writer) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + good)
        await seen.wait()
        writer.write(bad)
        await reader.read()

    seen = asyncio.Event()
    async with raw_origin(serve) as server, talking(server.url) as (_, reader, writer):
        writer.write(GET.sent)
        await read_head(reader)
        assert await reader.readexactly(4)
        seen.set()
        async with asyncio.timeout(PATIENCE):
            assert not (await reader.read()).endswith(b"0\r\n\r\n")


async def test_an_answer_whose_coding_is_lost_breaks_off() -> None:
    """Also where what cannot be decoded comes with the end of a good chunk, though the server stays."""
    packer = zlib.compressobj(wbits=31)
    good = packer.compress(b"half") + packer.flush(zlib.Z_SYNC_FLUSH)

    async def serve(reader: Reader, writer: Writer) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n")
        writer.write(b"%x\r\n%b" % (len(good), good))
        await seen.wait()
        writer.write(b"\r\n4\r\n\xff\xff\xff\xff\r\n")
        await reader.read()

    seen = asyncio.Event()
    async with raw_origin(serve) as server, Origin(server.url, decoding=True) as origin:
        answer = await origin.ask(GET)
        assert await answer.content.readany() == b"half"
        asyncio.get_running_loop().call_soon(seen.set)  # when what follows is waited for
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(ClientPayloadError):
                await answer.content.readany()
        origin.release(answer.connection)


async def test_an_upload_that_goes_on_after_its_answer_ends_the_connection() -> None:
    """What is left of one request's body must not be taken for the next request."""

    async def serve(reader: Reader, writer: Writer) -> None:
        await read_head(reader)
        writer.write(OK)
        await reader.read()

    async with raw_origin(serve) as server, talking(server.url) as (proxy, reader, writer):
        writer.write(request(b"PUT /", b"Content-Length: 5", body=b"abc"))
        assert (await read_message(reader)).body == b"ok"
        await until(lambda: not proxy.upstream.in_use)
        writer.write(b"de" + GET.sent)
        assert (await read_message(reader)).body == b"ok"
        assert server.connections == 2


async def test_an_answer_that_was_given_up_takes_no_memory() -> None:
    """What it had brought goes with its connection, and does not wait for the garbage collector."""

    async def serve(reader: Reader, writer: Writer) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + bytes(100_000))
        await reader.read()
        over.set()

    def alive() -> int:
        return sum(isinstance(thing, OriginConnection) for thing in gc.get_objects())

    over = asyncio.Event()
    gc.collect()
    before = alive()
    gc.disable()
    try:
        async with raw_origin(serve) as server, Origin(server.url) as origin:
            origin.release((await origin.ask(GET)).connection)
            async with asyncio.timeout(PATIENCE):
                await over.wait()
            await until(lambda: alive() == before)
    finally:
        gc.enable()


async def test_looking_up_the_name_counts_as_connecting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolver that does not answer is given up as a server is that does not accept."""

    async def getaddrinfo(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    async with Origin(URL("http://activity.example"), connect_timeout=0.01) as origin:
        assert await away(origin) == "timeout"


async def test_a_connection_lost_at_once_is_no_place_to_ask() -> None:
    """It counts as one that broke before an answer came."""
    with pytest.raises(ActivityAway, match="reset"):
        await OriginConnection(asyncio.get_running_loop(), 1).ask(GET)


async def test_closing_cuts_what_is_idle_and_what_runs() -> None:
    """Nothing is left open."""
    async with answering(OK) as server:
        async with Origin(server.url) as origin:
            idle, running = [await origin.ask(GET) for _ in range(2)]
            origin.release(idle.connection)
        await until(lambda: idle.connection.transport is running.connection.transport is None)


async def test_the_activity_server_is_always_told_a_host() -> None:
    """A client that speaks HTTP/1.0 may leave it out, HTTP/1.1 may not (RFC 9112 section 3.2)."""
    async with answering(OK) as server, talking(server.url) as (_, reader, writer):
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        await read_message(reader)
    assert server.received[0].one("Host") == server.url.authority.encode()


@pytest.mark.parametrize("answer", [b"HTTP/1.1 099 Odd\r\n\r\n", b"HTTP/1.1 101 Switching Protocols\r\n\r\n"])
async def test_an_odd_status_is_no_answer(answer: bytes) -> None:
    """Neither a status that there is not, nor a switch that does not say to what."""
    upgrade = [b"Connection: Upgrade", b"Upgrade: websocket"]
    async with answering(answer) as server, passing(server.url) as proxy:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            writer.write(request(b"GET /", *upgrade))
            assert (await read_message(reader)).status == 502
            writer.close()


async def test_what_follows_a_switch_waits_to_be_taken_over() -> None:
    """It is no HTTP any more, and only so much of it is taken in before somebody does take it over."""

    async def serve(reader: Reader, writer: Writer) -> None:
        await read_head(reader)
        writer.write(SWITCH)
        await switched.wait()
        await pour(writer, 20_000_000)

    switched = asyncio.Event()
    async with raw_origin(serve) as server, Origin(server.url) as origin:
        connection = (await origin.ask(OriginRequest(ASK))).connection
        switched.set()
        await until(lambda: connection.transport is None or not connection.transport.is_reading())
        assert 0 < len(connection.tail) < 1_000_000
        assert not connection.tail.strip(b"\0")


async def test_what_cannot_wait_is_asked_on_a_connection_at_hand() -> None:
    """None is made for it; where there is one, the answer is told by a call."""
    told: list[OriginResponse | ActivityAway] = []
    async with answering(OK) as server, Origin(server.url) as origin:
        assert origin.at_hand() is None
        origin.release((await origin.ask(GET)).connection)
        connection = origin.at_hand()
        assert connection is not None
        assert connection in origin.in_use
        connection.send(GET, told.append)
        await until(lambda: bool(told))
        (answer,) = told
        assert isinstance(answer, OriginResponse)
        assert answer.connection is connection
        assert await answer.content.read() == b"ok"
        origin.release(connection)
        assert not origin.in_use
        assert server.connections == 1


async def test_a_connection_that_was_not_used_is_put_back() -> None:
    """It is as it was before, and the next to be used."""
    async with answering(OK) as server, Origin(server.url) as origin:
        origin.release((await origin.ask(GET)).connection)
        connection = origin.at_hand()
        assert connection is not None
        origin.put_back(connection)
        assert not origin.in_use
        assert (await origin.ask(GET)).connection is connection
        assert server.connections == 1


async def test_whoever_gives_a_connection_up_is_told_nothing_more() -> None:
    """The exchange ends with its connection, as the answer could be any request's."""
    told: list[OriginResponse | ActivityAway] = []
    async with answering(OK) as server, Origin(server.url) as origin:
        origin.release((await origin.ask(GET)).connection)
        connection = origin.at_hand()
        assert connection is not None
        connection.send(GET, told.append)
        origin.release(connection)
        assert await body(origin.ask(GET)) == b"ok"
        assert server.connections == 2
        assert not told


async def test_an_answer_with_another_behind_it_is_the_last_on_its_connection() -> None:
    """The first is whole and was asked for; the second is nobody's."""
    async with answering(OK + OK, OK) as server, Origin(server.url) as origin:
        answer = await origin.ask(GET)
        assert await answer.content.read() == b"ok"
        origin.release(answer.connection)
        assert await body(origin.ask(GET)) == b"ok"
        assert server.connections == 2


async def test_whether_the_server_may_have_seen_a_request_is_told() -> None:
    """Not where no connection came about, nor on one that had ended before anything was written."""

    async def serve(reader: Reader, writer: Writer) -> None:
        await read_head(reader)

    async with raw_origin(serve) as server, Origin(server.url) as origin:
        ended = await origin.open(PATIENCE)
        for sent in (True, False):
            with pytest.raises(ActivityAway, match="reset") as caught:
                await ended.ask(GET)
            assert caught.value.sent is sent
        origin.release(ended)
    async with Origin(server.url) as origin:
        with pytest.raises(ActivityAway, match="refused") as caught:
            await origin.open(PATIENCE)
        assert not caught.value.sent


async def test_answers_are_decoded_where_that_is_wanted() -> None:
    """Else they come as they are."""
    packed = gzip.compress(b"ok")
    answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    async with answering(answer + packed) as server:
        for decoding, wanted in ((True, b"ok"), (False, packed)):
            async with Origin(server.url, decoding=decoding) as origin:
                assert await body(origin.ask(GET)) == wanted


@pytest.mark.parametrize(
    ("name", "known", "words"),
    [
        ("127.0.0.1", False, "certificate verify failed: unable to get local issuer certificate"),
        ("other.example", True, "certificate verify failed: IP address mismatch"),
    ],
)
async def test_what_is_wrong_with_a_certificate_is_told(
    tmp_path: Path, name: str, known: bool, words: str
) -> None:
    """In OpenSSL's words, but for the names that were wanted."""
    authority = Authority(tmp_path)
    certificate, key = authority.issue(name)
    trusted = ssl.create_default_context(cafile=authority.file if known else None)

    async def serve(_reader: Reader, _writer: Writer) -> None:
        raise AssertionError("nobody is believed")

    context = server_context(TlsFiles(None, certificate, key).read())
    async with raw_origin(serve, context) as server, Origin(server.url, tls=trusted) as origin:
        with pytest.raises(ActivityAway, match="tls") as caught:
            await origin.open(PATIENCE)
    assert (caught.value.detail, caught.value.sent) == (words, False)


async def test_an_answer_is_whole_though_its_connection_has_ended_meanwhile(tmp_path: Path) -> None:
    """Who reads slowly gets what came before the end; TLS tells of the end at once."""
    authority = Authority(tmp_path)
    certificate, key = authority.issue("127.0.0.1")
    size, part = 700, b"x" * 1000

    async def serve(reader: Reader, writer: Writer) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        writer.write(b"3e8\r\n%b\r\n" % part * size + b"0\r\n\r\n")

    context = server_context(TlsFiles(None, certificate, key).read())
    trusted = ssl.create_default_context(cafile=authority.file)
    async with raw_origin(serve, context) as server, Origin(server.url, tls=trusted) as origin:
        answer = await origin.ask(GET)
        got = b""
        async with asyncio.timeout(PATIENCE):
            while read := await answer.content.readany():
                got += read
                if not answer.content.is_eof():
                    await asyncio.sleep(0.01)
        origin.release(answer.connection)
    assert got == part * size
