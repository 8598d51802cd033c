"""What can go wrong on the wire between the sidecar and the gateway."""

import gzip
import json
from typing import cast

import pytest
from aiohttp import (
    ClientRequest,
    ClientResponse,
    ConnectionTimeoutError,
    ServerDisconnectedError,
    SocketTimeoutError,
)

from proxy.attempts import AttemptFailed
from proxy.call import FailureKind
from proxy.events import AttemptEnded, ContractViolated
from proxy.wire import MAX_ANSWER, exchanged
from tests.gateway_fakes import CATS, Part, Retry, Step, bench, content, http, reset

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
    ("error", "kind", "was_sent"),
    [
        (ConnectionTimeoutError("x"), FailureKind.TIMEOUT, False),
        (SocketTimeoutError("x"), FailureKind.TIMEOUT, True),
        (ServerDisconnectedError("x"), FailureKind.UNREACHABLE, True),
        (BrokenPipeError("x"), FailureKind.UNREACHABLE, True),
    ],
)
async def test_whether_it_was_sent_is_known(error: Exception, kind: FailureKind, was_sent: bool) -> None:
    """Only where no connection came about is it certain that the gateway has not seen the request."""

    async def send(_request: ClientRequest) -> ClientResponse:
        raise error

    with pytest.raises(AttemptFailed) as caught:
        await exchanged(cast("ClientRequest", None), send, 1.0)
    assert (caught.value.failure.kind, caught.value.sent) == (kind, was_sent)


async def test_a_coded_answer_is_decoded() -> None:
    """An answer that the gateway, or a CDN before it, compressed is read all the same."""
    async with bench(http(200, gzip.compress(BODY), Content_Encoding="gzip")) as (it, _):
        answer = await it.ask()
    assert content(answer)["title"] == "Cats"


async def test_an_answer_in_pieces_is_read_whole() -> None:
    """A chunked answer of any number of chunks is one answer."""
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in BODY)
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with bench(head + chunks + b"0\r\n\r\n") as (it, _):
        answer = await it.ask()
    assert content(answer)["title"] == "Cats"
