"""The Activity server's own answer to a rewritten call: as it is, or as a stand-in."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest

from proxy.activity import MAX_ANSWER, Activity, activity_session
from proxy.call import Answer, Call, Failure, FailureKind, SourceFailed
from proxy.headers import Field, Hop
from proxy.route import Route
from tests.gateway_fakes import HTML, Hang, Part, Step, call_of, http, nowhere, reset, scripted
from tests.origins import PATIENCE, Origin
from tests.tables import a_route

HOP = Hop("10.0.0.9", "https", "discord.example", "1.1")
VIDEO = call_of("plan", "GET", "/api/kaltura/video/1_cats")
TOKEN = call_of("plan", "POST", "/api/token")
CODE = b'{"code":"abc"}'


def sent(call: Call, method: str, target: str, *fields: Field, body: bytes = b"") -> Call:
    """Return the call as a client's request made it."""
    request = replace(call.request, method=method, target=target, hop=HOP, fields=fields, body=body)
    return replace(call, request=request)


@asynccontextmanager
async def activity(*steps: Step, **changes: Any) -> AsyncIterator[tuple[Activity, Origin]]:
    """Put the source in front of an Activity server with that script."""
    async with scripted(*steps) as origin, activity_session() as session:
        settings: dict[str, Any] = {"trusted": (), "timeout": PATIENCE, **changes}
        yield Activity(str(origin.url.origin()), session, **settings), origin
        assert session.connector is not None
        assert not session.connector._acquired


async def failed(source: Activity, call: Call) -> Failure:
    """Ask for what cannot be had, and return why."""
    with pytest.raises(SourceFailed) as caught:
        await source(call)
    return caught.value.failure


async def test_a_request_goes_on_as_it_came() -> None:
    """Method, raw target, body and end-to-end fields are the client's; what is of the hop is not."""
    fields = (
        (b"Host", b"discord.example"),
        (b"Content-Type", b"application/json"),
        (b"Content-Length", b"14"),
        (b"Cookie", b"a=b"),
        (b"Accept-Encoding", b"gzip, br"),
        (b"Expect", b"100-continue"),
        (b"Connection", b"close, x-hop"),
        (b"X-Hop", b"1"),
        (b"X-Forwarded-For", b"1.2.3.4"),
    )
    call = sent(TOKEN, "POST", "/api/token?a=%41%2F", *fields, body=CODE)
    async with activity(http(200, {"access_token": "x"})) as (source, origin):
        await source(call)
    (message,) = origin.received
    assert message.start == b"POST /api/token?a=%41%2F HTTP/1.1"
    assert message.body == CODE
    got = {name.lower(): message.all(name.decode()) for name, _ in message.fields}
    assert got == {
        b"host": [b"discord.example"],
        b"content-type": [b"application/json"],
        b"content-length": [b"14"],
        b"cookie": [b"a=b"],
        b"accept-encoding": [b"identity"],
        b"x-forwarded-for": [b"10.0.0.9"],
        b"x-forwarded-proto": [b"https"],
        b"x-forwarded-host": [b"discord.example"],
        b"via": [b"1.1 activity-proxy"],
    }


async def test_a_trusted_proxys_word_goes_on() -> None:
    """What a trusted peer says of those before it reaches the Activity server."""
    call = sent(VIDEO, "GET", "/", (b"X-Forwarded-For", b"1.2.3.4"))
    async with activity(http(200, {}), trusted=[ip_network("10.0.0.0/8")]) as (source, origin):
        await source(call)
    assert origin.received[0].one("X-Forwarded-For") == b"1.2.3.4, 10.0.0.9"


async def test_its_own_answer_comes_back_as_it_is() -> None:
    """For a route of its own whatever the Activity server answers is the answer: status, fields, body."""
    refused = http(
        400, {"error": "invalid_grant"}, Set_Cookie="s=1; HttpOnly", X_Request_Id="theirs", Connection="close"
    )
    async with activity(refused) as (source, _):
        answer = await source(sent(TOKEN, "POST", "/api/token", body=CODE))
    assert answer == Answer(
        400,
        b'{"error": "invalid_grant"}',
        "activity",
        content_type="application/json; charset=utf-8",
        headers=(("Set-Cookie", "s=1; HttpOnly"), ("Cache-Control", "no-store")),
    )


async def test_repeated_fields_come_back_repeated() -> None:
    """Every cookie of an answer reaches the client."""
    answer = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nContent-Length: 2\r\n\r\n{}"
    async with activity(answer) as (source, _):
        got = await source(sent(TOKEN, "POST", "/api/token", body=CODE))
    assert [value for name, value in got.headers if name == "Set-Cookie"] == ["a=1", "b=2"]


async def test_it_does_not_speak_as_the_sidecar() -> None:
    """What the sidecar says of an answer is not the Activity server's to say."""
    said = {"Activity_Proxy_Source": "gateway", "Cache_Status": "x; hit", "Proxy_Status": "x", "X_Own": "1"}
    async with activity(http(200, {}, **said)) as (source, _):
        answer = await source(sent(TOKEN, "POST", "/api/token", body=CODE))
    assert answer.headers == (("X-Own", "1"), ("Cache-Control", "no-store"))


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nX-A: b\x01c\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Type: a\x7f\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 000 None\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 600 Six\r\nContent-Length: 2\r\n\r\n{}",
    ],
)
async def test_what_cannot_be_passed_on_is_no_answer(answer: bytes) -> None:
    """A field with a control character, or a status that no answer has, is the Activity server's failure."""
    async with activity(answer) as (source, _):
        failure = await failed(source, sent(TOKEN, "POST", "/api/token", body=CODE))
    assert (failure.source, failure.kind) == ("activity", FailureKind.CONTRACT)


async def test_an_answer_without_a_type_is_json() -> None:
    """The Activity server's calls answer JSON, so an answer that does not say is taken for it."""
    async with activity(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}") as (source, _):
        answer = await source(sent(VIDEO, "GET", "/api/kaltura/video/1_cats"))
    assert answer == Answer(200, b"{}", "activity")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_stand_in_comes_without_its_fields(method: str) -> None:
    """Where it stands in for the gateway only its JSON counts, and a HEAD asks for it with a GET."""
    conditional = ((b"If-None-Match", b'"a"'), (b"Range", b"bytes=0-1"), (b"If-Modified-Since", b"x"))
    call = sent(VIDEO, method, "/api/kaltura/video/1_cats", *conditional)
    async with activity(http(200, {"id": "1_cats"}, ETag='"a"', Set_Cookie="a=1")) as (source, origin):
        answer = await source(call)
    assert answer == Answer(200, b'{"id": "1_cats"}', "activity")
    (message,) = origin.received
    assert message.start == b"GET /api/kaltura/video/1_cats HTTP/1.1"
    assert not [name for name, _ in conditional if message.one(name.decode())]


async def test_its_own_calls_may_be_conditional() -> None:
    """For a route of its own the client's conditions go on, and the answer to them comes back."""
    unchanged = b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n"
    async with activity(unchanged) as (source, origin):
        answer = await source(sent(TOKEN, "GET", "/api/token", (b"If-None-Match", b"x")))
    assert origin.received[0].one("If-None-Match") == b"x"
    assert (answer.status, answer.body) == (304, b"")


@pytest.mark.parametrize(
    "answer", [http(404, HTML), http(500, {"error": "x"}), http(200, HTML), http(304, b""), http(302, b"")]
)
async def test_a_poor_answer_stands_in_for_nothing(answer: bytes) -> None:
    """Anything but a 200 with JSON is a failure of this source, and the ladder goes on."""
    async with activity(answer) as (source, _):
        failure = await failed(source, sent(VIDEO, "GET", "/api/kaltura/video/1_cats"))
    assert (failure.source, failure.kind) == ("activity", FailureKind.STATUS)
    assert failure.detail == f"the Activity server answered {failure.status}"


async def test_a_coded_answer_stands_in_for_nothing() -> None:
    """The coding would be lost with its fields, and the client could not read the body."""
    async with activity(http(200, {"id": "1_cats"}, Content_Encoding="gzip")) as (source, _):
        failure = await failed(source, sent(VIDEO, "GET", "/api/kaltura/video/1_cats"))
    assert (failure.source, failure.kind) == ("activity", FailureKind.CONTRACT)


@pytest.mark.parametrize(
    "step", [Part(), reset, Part(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"), b"nonsense\r\n\r\n"]
)
async def test_a_broken_answer_is_none(step: Step) -> None:
    """A connection that breaks, or is no HTTP, means that the Activity server is away. It is asked once."""
    async with activity(step) as (source, origin):
        failure = await failed(source, sent(TOKEN, "POST", "/api/token", body=CODE))
    assert (failure.kind, failure.detail) == (FailureKind.UNREACHABLE, "the Activity server is away")
    assert len(origin.received) == 1


async def test_without_an_activity_server_there_is_no_answer() -> None:
    """A refused connection is said so, without its address."""
    with nowhere() as base:
        async with activity(http(200, {})) as (source, _):
            elsewhere = replace(source, origin=base.removesuffix("/api"))
            failure = await failed(elsewhere, sent(TOKEN, "POST", "/api/token", body=CODE))
    assert failure.kind is FailureKind.UNREACHABLE
    assert "127.0.0.1" not in repr(failure)


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"])
async def test_it_is_not_waited_for_for_ever(said: bytes) -> None:
    """An answer that does not come, or not whole, ends with the time that is allowed."""
    hang = Hang(said)
    async with activity(hang, timeout=0.05) as (source, _):
        failure = await failed(source, sent(VIDEO, "GET", "/"))
        await asyncio.wait_for(hang.left.wait(), PATIENCE)
    assert failure.kind is FailureKind.TIMEOUT


async def test_a_client_that_leaves_stops_it() -> None:
    """Cancelling a call closes its connection."""
    hang = Hang(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{")
    async with activity(hang) as (source, _):
        asking = asyncio.create_task(source(sent(VIDEO, "GET", "/")))
        await asyncio.wait_for(hang.reached.wait(), PATIENCE)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await asyncio.wait_for(hang.left.wait(), PATIENCE)


async def test_an_answer_may_be_large() -> None:
    """An answer up to the limit is read whole, and one beyond it is no answer."""
    longer = Part(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (MAX_ANSWER + 1))
    async with activity(http(200, b"x" * MAX_ANSWER), longer) as (source, _):
        call = sent(TOKEN, "POST", "/api/token", body=CODE)
        assert len((await source(call)).body) == MAX_ANSWER
        failure = await failed(source, call)
    assert (failure.kind, failure.detail) == (
        FailureKind.CONTRACT,
        "the Activity server's answer is too large",
    )


@pytest.mark.parametrize(
    ("route", "said"),
    [
        (a_route(call=None, reply=None, fallback=["activity"]), ["public, max-age=60"]),
        (a_route(call=None, reply=None, fallback=["activity"], credential=True), ["no-store"]),
        (a_route(fallback=["activity"]), []),
        (a_route(fallback=["activity"], credential=True), ["no-store"]),
        (TOKEN.route, ["no-store"]),
    ],
)
async def test_a_credential_is_not_kept(route: Route, said: list[str]) -> None:
    """Of a credential nobody keeps a copy, whatever the Activity server says; other answers are its own."""
    async with activity(http(200, {"id": "1"}, cache_control="public, max-age=60")) as (source, _):
        answer = await source(replace(sent(TOKEN, "POST", "/api/token"), route=route))
    assert [value for name, value in answer.headers if name.lower() == "cache-control"] == said
