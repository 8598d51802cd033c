"""How a request can end other than well: a defect, a client that leaves, no Activity server."""

import asyncio
import logging

import pytest
from aiohttp import ClientPayloadError, web

from proxy.call import Answer, Call, Failure, FailureKind
from proxy.errors import ActivityAway, MalformedBody
from proxy.events import Crashed, RequestEnded, RequestStarted, SourceFailedEvent
from proxy.origin import Origin
from proxy.passthrough import PassThrough
from tests.clocks import FakeClock
from tests.gateway_fakes import Part, http, scripted
from tests.listener_fakes import Passing, Recorded, listening
from tests.origins import PATIENCE, client, read_head, request, until

VIDEO = "/api/kaltura/video/1_cats"


def raising(error: BaseException) -> Passing:
    """Return a pass-through that comes to nothing."""

    async def pass_through(_request: web.BaseRequest, _target: str) -> web.StreamResponse:
        raise error

    return pass_through


async def test_a_defect_is_a_500_that_says_nothing() -> None:
    """What goes wrong in the sidecar itself is told to the log with its cause, to the client without."""
    error = RuntimeError("token djJ8-secret at /srv/app.py")

    async def answer(_call: Call) -> Answer:
        raise error

    async with listening(answer) as it:
        got = await it.send("GET", VIDEO)
        ended = await it.ended()
    assert got.status == 500
    assert got.json() == {
        "error": "Internal server error",
        "message": "Internal server error",
        "code": "internal_error",
        "requestId": got.headers["X-Request-Id"],
    }
    assert "secret" not in str(got.headers)
    assert it.crashed == [Crashed(ended.request_id, error)]
    assert (ended.route, ended.status, ended.source) == ("video", 500, "error")
    assert ended.bytes_sent == len(got.body)


async def test_a_defect_of_the_pass_through_is_the_same() -> None:
    """Before anything was sent, a defect there is a 500 too."""
    async with listening(passing=raising(KeyError("secret"))) as it:
        assert await it.refused("GET", "/") == (500, "internal_error")
        ended = await it.ended()
    assert len(it.crashed) == 1
    assert (ended.route, ended.status, ended.source) == ("pass", 500, "error")


async def test_a_defect_in_the_middle_of_an_answer_breaks_it_off() -> None:
    """Once an answer has begun no second one follows: the connection is closed before its end."""

    async def pass_through(request: web.BaseRequest, _target: str) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = 10
        await response.prepare(request)
        await response.write(b"12345")
        raise KeyError("secret")

    async with listening(passing=pass_through) as it, client(it.port) as (reader, writer):
        writer.write(request(b"GET /"))
        async with asyncio.timeout(PATIENCE):
            got = await reader.read()
        ended = await it.ended()
    assert got.startswith(b"HTTP/1.1 200 OK")
    assert got.endswith(b"12345")
    assert got.count(b"HTTP/1.1") == 1
    assert len(it.crashed) == 1
    assert (ended.route, ended.status) == ("pass", 500)


@pytest.mark.parametrize("reason", ["refused", "timeout", "reset", "malformed"])
async def test_an_activity_server_that_is_away_is_a_502(reason: str) -> None:
    """What would pass through is answered in the error shape, with what was wrong."""
    away = ActivityAway(reason)  # type: ignore[arg-type]  # each is one of the reasons
    async with listening(passing=raising(away)) as it:
        got = await it.send("GET", "/assets/x.js")
        ended = await it.ended()
    assert (got.status, got.json()["code"]) == (502, "activity_unreachable")
    assert got.json()["message"] == "The Activity is not available right now. Please try again later."
    assert got.headers["Retry-After"] == "5"
    detail = f"the Activity server is away ({reason})"
    failure = Failure("activity", FailureKind.UNREACHABLE, detail)
    assert got.headers["Proxy-Status"] == (
        f'activity-proxy; next-hop=activity; error=destination_unavailable; details="{detail}"'
    )
    assert (ended.route, ended.status, ended.source) == ("pass", 502, "error")
    assert ended.failures == (failure,)
    assert it.events.of(SourceFailedEvent) == [SourceFailedEvent("pass", failure, ended.request_id)]
    assert not it.crashed


async def test_an_answer_that_broke_off_is_an_error_with_its_own_status() -> None:
    """What the Activity server did not finish is told as its failure, with the status that was sent."""
    broken = http(200, b"x" * 10)[:-5]
    async with scripted(Part(broken)) as origin, Origin(origin.url) as upstream:

        async def splice(*_: object) -> web.StreamResponse:
            raise AssertionError

        async with listening(passing=PassThrough(upstream, splice)) as it:
            with pytest.raises(ClientPayloadError):
                await it.send("GET", "/assets/x.js")
            ended = await it.ended()
    failure = Failure("activity", FailureKind.UNREACHABLE, "the answer broke off")
    assert (ended.route, ended.status, ended.source) == ("pass", 200, "error")
    assert ended.failures == (failure,)
    assert it.events.of(SourceFailedEvent) == [SourceFailedEvent("pass", failure, ended.request_id)]


@pytest.mark.parametrize("error", [MalformedBody("x"), web.RequestPayloadError("x")])
async def test_a_malformed_upload_is_a_400(error: Exception) -> None:
    """A body that breaks its framing on the way through is the client's mistake, and ends its connection."""
    async with listening(passing=raising(error)) as it:
        got = await it.send("POST", "/upload", data=b"x")
        ended = await it.ended()
    assert (got.status, got.json()["code"]) == (400, "malformed_body")
    assert got.headers["Connection"] == "close"
    assert (ended.route, ended.status) == ("pass", 400)
    assert not it.crashed


async def test_a_client_that_leaves_stops_the_call() -> None:
    """A client that goes away while it waits cancels what is done for it, and is told as 499, once."""
    began, stopped = asyncio.Event(), asyncio.Event()

    async def answer(_call: Call) -> Answer:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        raise AssertionError

    async with listening(answer) as it:
        async with client(it.port) as (_, writer):
            writer.write(request(b"GET " + VIDEO.encode()))
            await asyncio.wait_for(began.wait(), PATIENCE)
        await asyncio.wait_for(stopped.wait(), PATIENCE)
        ended = await it.ended()
    assert (ended.route, ended.status, ended.source, ended.bytes_sent) == ("video", 499, "error", 0)
    assert not it.crashed


LARGE = Answer(200, b" " * 32_000_000, "gateway")


async def test_an_answer_ends_when_it_was_taken() -> None:
    """A request is over when its client has the answer, not when the answer was made."""
    async with listening(Recorded(LARGE)) as it, client(it.port) as (reader, writer):
        writer.write(request(b"GET " + VIDEO.encode()))
        await read_head(reader)
        assert not it.events.of(RequestEnded)
        async with asyncio.timeout(PATIENCE):
            assert await reader.readexactly(len(LARGE.body)) == LARGE.body
        ended = await it.ended()
    assert (ended.status, ended.bytes_sent) == (200, len(LARGE.body))


async def test_a_client_that_leaves_in_the_middle_of_the_answer_is_told() -> None:
    """Who does not take the whole answer has left as well."""
    async with listening(Recorded(LARGE)) as it:
        async with client(it.port) as (reader, writer):
            writer.write(request(b"GET " + VIDEO.encode()))
            await read_head(reader)
        ended = await it.ended()
    assert (ended.route, ended.status, ended.source) == ("video", 499, "gateway")
    assert not it.crashed


async def test_a_client_that_leaves_during_its_upload_is_no_defect() -> None:
    """A body whose rest never comes ends with its client."""
    async with listening() as it:
        async with client(it.port) as (_, writer):
            writer.write(request(b"POST /api/kaltura/session", b"Content-Length: 100", body=b"{"))
            await until(lambda: bool(it.events.of(RequestStarted)))
        ended = await it.ended()
    assert (ended.route, ended.status) == ("session", 499)
    assert not it.source.calls
    assert not it.crashed


async def test_a_broken_client_connection_is_the_clients(caplog: pytest.LogCaptureFixture) -> None:
    """A write that fails because the client left is no defect, and leaves no traceback."""
    caplog.set_level(logging.INFO)
    async with listening(passing=raising(ConnectionResetError("gone"))) as it:
        async with client(it.port) as (reader, writer):
            writer.write(request(b"GET /"))
            async with asyncio.timeout(PATIENCE):
                await reader.read(1)
        ended = await it.ended()
    assert (ended.route, ended.status) == ("pass", 499)
    assert not it.crashed
    assert not [record for record in caplog.records if record.exc_info]


async def test_each_request_begins_and_ends_once() -> None:
    """On one connection, whatever becomes of them, requests have one start and one end each, in order."""
    targets = [VIDEO, "/api/kaltura/videos/search", "/", "/api//kaltura/videos", "/x"]
    async with listening() as it, client(it.port) as (reader, writer):
        for target in targets:
            writer.write(request(b"GET " + target.encode()))
        await until(lambda: len(it.events.of(RequestEnded)) == len(targets))
        assert await reader.read(1) == b"H"
    kinds = [type(event) for event in it.events]
    assert kinds == [RequestStarted, RequestEnded] * len(targets)
    assert [event.target for event in it.events.of(RequestEnded)] == targets
    assert [event.status for event in it.events.of(RequestEnded)] == [200, 400, 204, 400, 204]


async def test_the_duration_is_the_clocks() -> None:
    """The seconds of a request lie between its two readings of the clock."""
    clock = FakeClock()

    async def answer(_call: Call) -> Answer:
        clock.shift(1.5)
        return Answer(200, b"{}", "gateway")

    async with listening(answer, clock=clock) as it:
        await it.send("GET", VIDEO)
        ended = await it.ended()
    assert ended.seconds == 1.5
