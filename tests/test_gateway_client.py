"""The client of the gateway: what it sends, which answers it takes, and how an exchange can fail."""

import asyncio
import gzip
import json
import socket
import zlib
from collections.abc import Awaitable

import pytest

from proxy.attempts import AttemptFailed
from proxy.call import FailureKind
from proxy.events import AttemptEnded, ContractViolated, RetryScheduled, RetrySuppressed
from proxy.exchange import OriginRequest
from proxy.gateway_client import GatewayClient, GatewayRequest, GatewayResponse
from proxy.wire import MAX_ANSWER
from tests.gateway_fakes import (
    CATS,
    FOUND,
    Hang,
    Part,
    Retry,
    Step,
    bench,
    content,
    gateway_clients,
    http,
    reset,
    scripted,
)
from tests.origins import PATIENCE, Reader, Writer, answering, raw_origin, read_head

ONCE = Retry(attempts=1)
BODY = json.dumps({"video": CATS}).encode()


@pytest.mark.parametrize(
    "step",
    [
        Part(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n" + BODY[:9]),
        Part(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n" + BODY[:5] + b"\r\n"),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\n" + BODY[:5],
        Part(
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 20\r\n\r\n"
            + gzip.compress(BODY)[:20]
        ),
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 9000 + b"\r\n\r\n",
        http(200, BODY, Content_Encoding="br"),
        http(200, gzip.compress(BODY), Content_Encoding="a-coding-of-its-own"),
        http(200, gzip.compress(BODY)[:-9] + b"nonsense!", Content_Encoding="gzip"),
    ],
)
async def test_what_is_no_whole_answer_breaks_the_contract(step: Step) -> None:
    """An answer that is cut short, or no HTTP, is one that cannot be used: a violation by its body."""
    async with bench(step, retry=ONCE) as (it, _):
        failure = await it.fail()
    assert failure.kind is FailureKind.CONTRACT
    assert failure.detail in {
        "the answer was cut short",
        "the answer is no HTTP",
        "the gateway's answer is not JSON",
    }
    assert it.events == [ContractViolated("video", "body"), AttemptEnded("video", "contract", 0.0)]
    assert it.breaker.told == ["failure"]


@pytest.mark.parametrize("step", [Part(), Part(b"HTTP/1.1 200 OK\r\n"), reset])
async def test_a_connection_that_breaks_before_the_answer_is_one(step: Step) -> None:
    """Where not even the head came, the gateway is unreachable."""
    async with bench(step, retry=ONCE) as (it, _):
        failure = await it.fail()
    assert (failure.kind, failure.detail) == (FailureKind.UNREACHABLE, "the connection broke")
    assert it.events == [AttemptEnded("video", "unreachable", 0.0)]
    assert it.breaker.told == ["failure"]


@pytest.mark.parametrize("coding", ["gzip", "identity"])
async def test_an_answer_that_is_too_large_is_given_up(coding: str) -> None:
    """Reading stops at the limit, also where few bytes unfold into many."""
    body = b'"' + b"x" * MAX_ANSWER + b'"'
    sent = gzip.compress(body) if coding == "gzip" else body
    async with bench(http(200, sent, Content_Encoding=coding), retry=ONCE) as (it, _):
        failure = await it.fail()
    assert (failure.kind, failure.detail) == (FailureKind.CONTRACT, "the answer is too large")
    assert it.events.of(ContractViolated) == [ContractViolated("video", "body")]
    assert it.breaker.told == ["failure"]


@pytest.mark.parametrize(
    ("coding", "coded"),
    [
        ("gzip", gzip.compress(BODY)),
        ("deflate", zlib.compress(BODY)),
        ("deflate", zlib.compress(BODY)[2:-4]),  # as some servers have it, without zlib's frame
    ],
)
async def test_a_coded_answer_is_decoded(coding: str, coded: bytes) -> None:
    """An answer that the gateway, or a CDN before it, compressed is read all the same."""
    async with bench(http(200, coded, Content_Encoding=coding)) as (it, origin):
        answer = await it.ask()
    assert content(answer)["title"] == "Cats"
    assert origin.received[0].one("Accept-Encoding") == b"gzip, deflate"


async def test_an_answer_in_pieces_is_read_whole() -> None:
    """A chunked answer of any number of chunks is one answer."""
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in BODY)
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with bench(head + chunks + b"0\r\n\r\n") as (it, _):
        answer = await it.ask()
    assert content(answer)["title"] == "Cats"


async def test_an_answer_may_end_with_its_connection() -> None:
    """Without a length it lasts until the gateway closes, and the next call has another connection."""
    async with bench(Part(b"HTTP/1.1 200 OK\r\n\r\n" + BODY)) as (it, origin):
        for _ in range(2):
            assert content(await it.ask())["title"] == "Cats"
    assert origin.connections == 2


async def test_a_switch_of_protocols_is_no_answer() -> None:
    """Nobody asked for one: it is a status like another that a call cannot use."""
    async with bench(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n") as (
        it,
        origin,
    ):
        failure = await it.fail()
    assert (failure.kind, failure.status) == (FailureKind.STATUS, 101)
    assert origin.connections == 1


async def test_what_comes_before_the_answer_is_none() -> None:
    """Interim answers (RFC 9110 section 15.2) are skipped."""
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n"
    async with bench(early + FOUND) as (it, _):
        assert content(await it.ask())["title"] == "Cats"


@pytest.mark.parametrize("size", [300_000, MAX_ANSWER - 2])
async def test_a_large_answer_is_read_whole(size: int) -> None:
    """Up to the limit, however many pieces it comes in."""
    body = b'"' + b"x" * size + b'"'
    async with scripted(http(200, body)) as origin, gateway_clients() as clients:
        response = await clients(str(origin.url))(GatewayRequest("GET", "/", "r1"))
    assert response.body == body


async def test_an_answer_that_says_little_at_length_is_too_large() -> None:
    """The limit holds for what came as well as for what it decodes to."""
    packer = zlib.compressobj(wbits=31)
    empty = packer.flush(zlib.Z_SYNC_FLUSH) + b"\0\0\0\xff\xff" * (MAX_ANSWER // 5)
    coded = empty + packer.compress(BODY) + packer.flush()
    async with bench(http(200, coded, Content_Encoding="gzip"), retry=ONCE) as (it, _):
        failure = await it.fail()
    assert (failure.kind, failure.detail) == (FailureKind.CONTRACT, "the answer is too large")


async def test_an_endless_answer_is_cut() -> None:
    """Reading stops at the limit and closes the connection; nothing is read to an end that never comes."""
    sent = 0

    async def pour(_: Reader, writer: Writer) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b" " * 65536)
            sent += 65536
            await writer.drain()

    async with bench(pour, retry=ONCE) as (it, _):
        failure = await it.fail()
    assert failure.detail == "the answer is too large"
    assert sent < MAX_ANSWER + 16 * 1024 * 1024


@pytest.mark.parametrize(
    ("base", "target", "host"),
    [
        ("http://gateway.example:8080/api", b"/api/videos", b"gateway.example:8080"),
        ("http://gateway.example:80/a/b%2Fc", b"/a/b%2Fc/videos", b"gateway.example"),
        ("http://gateway.example", b"/videos", b"gateway.example"),
        ("http://[::1]:3000/api", b"/api/videos", b"[::1]:3000"),
    ],
)
async def test_where_a_call_goes(
    base: str, target: bytes, host: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base URL's path goes before the call's, and `Host` has a port that is not the scheme's own."""
    async with answering(FOUND) as there:
        made = asyncio.get_running_loop().getaddrinfo

        async def found(*_: object, **__: object) -> object:
            return await made("127.0.0.1", there.url.port, type=socket.SOCK_STREAM)

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", found)
        async with GatewayClient(base, connect_timeout=PATIENCE) as client:
            await client(GatewayRequest("GET", "/videos", "r1"))
    (message,) = there.received
    assert (message.target, message.one("Host")) == (target, host)
    assert (message.one("User-Agent") or b"").startswith(b"activity-proxy/")


@pytest.mark.parametrize(("method", "length"), [("GET", None), ("POST", b"0"), ("PUT", b"0")])
async def test_a_call_without_a_body_says_so_where_one_is_expected(method: str, length: bytes | None) -> None:
    """RFC 9110 section 8.6: some servers answer 411 to a POST without a length."""
    async with scripted(FOUND) as origin, gateway_clients() as clients:
        await clients(str(origin.url))(GatewayRequest(method, "/", "r1"))
    (message,) = origin.received
    assert (message.one("Content-Length"), message.one("Content-Type")) == (length, None)


@pytest.mark.parametrize("target", ["/a b", "/a\r\nX: y", "/\0", "/ä", ""])
def test_what_no_request_line_can_hold_is_not_sent(target: str) -> None:
    """A target with white space, or letters that are none of ASCII's, is refused at once."""
    with pytest.raises(ValueError, match="path"):
        GatewayRequest("GET", target, "r1")


async def test_neither_request_nor_answer_tells_what_is_in_it() -> None:
    """Wherever one should be written: there are tokens and credentials in them."""
    request = GatewayRequest("POST", "/", "r1", b"secret")
    request.authorization = b"Bearer secret"
    told = repr([request, OriginRequest(b"secret"), GatewayResponse("POST", 200, None, b"secret")])
    assert "secret" not in told
    assert "GatewayResponse(POST, 200, 6 bytes)" in told


async def ended_when_used(reader: Reader, writer: Writer) -> None:
    """Answer one request, and close the connection when the next one comes."""
    await read_head(reader)
    writer.write(FOUND)
    await read_head(reader)


async def test_a_kept_connection_that_ends_as_it_is_used_is_a_failed_attempt() -> None:
    """It is told, counted and made again as the route allows: nothing is sent twice unseen."""
    async with raw_origin(ended_when_used) as origin, bench(FOUND) as (it, _):
        it.base = f"{origin.url.origin()}/api"
        await it.ask()
        await it.ask()
    assert [event.outcome for event in it.events.of(AttemptEnded)] == ["ok", "unreachable", "ok"]
    assert it.events.of(RetryScheduled) == [RetryScheduled("video", "unreachable", 0.0)]
    assert it.breaker.told == ["success", "failure", "success"]
    assert origin.connections == 2


async def test_what_must_not_be_repeated_is_not_on_a_kept_connection_either() -> None:
    """The gateway may have seen the request before it closed."""
    async with raw_origin(ended_when_used) as origin, bench(FOUND) as (it, _):
        it.base = f"{origin.url.origin()}/api"
        await it.ask()
        failure = await it.fail("play")
    assert (failure.kind, failure.detail) == (FailureKind.UNREACHABLE, "the connection broke")
    assert it.events.of(RetrySuppressed) == [RetrySuppressed("play", "unsafe")]


async def test_one_dead_connection_is_enough_to_know_of_the_others() -> None:
    """Where the gateway was replaced, one attempt is lost and not one for each connection that was kept."""
    async with raw_origin(ended_when_used) as origin, bench(FOUND) as (it, _):
        it.base = f"{origin.url.origin()}/api"
        await asyncio.gather(*(it.ask() for _ in range(3)))
        await it.ask()
    assert [event.outcome for event in it.events.of(AttemptEnded)].count("unreachable") == 1
    assert origin.connections == 4


def limited(allowed: float) -> GatewayRequest:
    """Return a request with that many seconds for its exchange."""
    request = GatewayRequest("GET", "/", "r1")
    request.allowed = allowed
    return request


async def outcome(exchange: Awaitable[GatewayResponse]) -> tuple[str, bool, float]:
    """Why an exchange failed, whether it was sent, and how long that took."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    with pytest.raises(AttemptFailed) as caught:
        await exchange
    return caught.value.failure.detail, caught.value.sent, loop.time() - start


async def test_each_exchange_has_a_limit_of_its_own() -> None:
    """One that begins later and ends sooner, and one that ends after others, are each cut at their time."""
    async with scripted(Hang()) as origin, gateway_clients() as clients:
        client = clients(str(origin.url))
        limits = (0.12, 0.04, 0.08, 0.04)
        told = await asyncio.gather(*(outcome(client(limited(allowed))) for allowed in limits))
        for allowed, (detail, sent, seconds) in zip(limits, told, strict=True):
            assert (detail, sent) == ("no answer in time", True)
            assert allowed - 0.001 < seconds < allowed + 1.0
        first, *others = [seconds for _, _, seconds in told]
        assert first > max(others)
        assert (await outcome(client(limited(0.02))))[0] == "no answer in time"


async def test_a_limit_that_was_kept_cuts_nothing_later() -> None:
    """A connection that is used again has the limit of its new exchange."""
    async with answering(FOUND) as origin, gateway_clients() as clients:
        client = clients(str(origin.url))
        await client(limited(0.02))
        await asyncio.sleep(0.03)
        assert (await client(limited(PATIENCE))).status == 200
    assert origin.connections == 1


async def test_what_was_cut_at_its_limit_is_no_answer() -> None:
    """Not even where an answer ends with its connection, so that half of one looks like a whole."""
    async with bench(Hang(b"HTTP/1.1 200 OK\r\n\r\n" + BODY), attempt_timeout=0.05, retry=ONCE) as (it, _):
        failure = await it.fail()
    assert (failure.kind, failure.detail) == (FailureKind.TIMEOUT, "no answer in time")


async def test_a_connection_that_does_not_come_about_in_time_saw_nothing() -> None:
    """Neither within the exchange's limit nor within that of making a connection: it may be made again."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        base = f"http://127.0.0.1:{full.getsockname()[1]}"
        fillers = [socket.socket() for _ in range(4)]
        try:
            for filler in fillers:  # so many that the next one is left waiting
                filler.setblocking(False)
                filler.connect_ex(full.getsockname())
            for allowed, connect in ((0.05, PATIENCE), (PATIENCE, 0.05)):
                async with GatewayClient(base, connect_timeout=connect) as client:
                    detail, sent, seconds = await outcome(client(limited(allowed)))
                assert (detail, sent) == ("no answer in time", False)
                assert seconds < 1.0
        finally:
            for filler in fillers:
                filler.close()
