"""What the two questions find out, of gateways of every manner and in every kind of trouble."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientSession

from proxy.call import FailureKind
from proxy.dialects import Finding, Questions
from proxy.grant import TokenEndpointFailed
from proxy.protocols import Tokens
from proxy.route import Route
from proxy.sandbox import Sandbox
from proxy.sandbox_faults import Fault, Faults
from proxy.sandbox_releases import GatewayManner
from proxy.sandbox_tokens import User
from proxy.tokens import Token
from tests.gateway_fakes import (
    CATS,
    HTML,
    FakeTokens,
    Hang,
    Part,
    Step,
    gateway_session,
    http,
    nowhere,
)
from tests.origins import PATIENCE, Origin, raw_origin, read_message
from tests.tables import a_route, routes

PLAN = routes("plan")
NO_SESSION = Finding("newer", "the session call does not exist (404)")
NO_PAGES = Finding("newer", "the list ignores paging (10 videos for a page of 1)")
SESSION = http(200, {"ks": "djJ8"})
ONE = http(200, {"videos": [CATS]})


@asynccontextmanager
async def gateway(session: Step, videos: Step) -> AsyncIterator[Origin]:
    """Run a gateway that gives one answer to the session call and one to the list."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            message = await read_message(reader)
            origin.received.append(message)
            step = session if message.start.startswith(b"POST") else videos
            if not isinstance(step, bytes):
                await step(reader, writer)
                return
            writer.write(step)
            await writer.drain()

    async with raw_origin(serve) as origin:
        yield origin


def questions(
    base: str,
    session: ClientSession,
    tokens: Tokens,
    *,
    plan: Mapping[str, Route] = PLAN,
    timeout: float = PATIENCE,
    scope: Callable[[], Mapping[str, object]] = dict,
) -> Questions:
    """Return the questions to a gateway."""
    return Questions(base, session, lambda: tokens, plan, timeout, scope)


async def found(session: Step, videos: Step = ONE, tokens: FakeTokens | None = None, **kw: Any) -> Any:
    """Return what is found of a gateway that answers so."""
    async with gateway(session, videos) as origin, gateway_session() as client:
        ask = questions(f"{origin.url.origin()}/api", client, tokens or FakeTokens(), **kw)
        return {name: finding.dialect for name, finding in (await ask()).items()}


class Issued:
    """Gives a token of the sandbox's."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.value = sandbox.gateway.tokens.issue(User("1", "activity-proxy", "viewer"))

    def at_hand(self) -> Token | None:
        """Return none: each is asked for."""
        return None

    async def get(self) -> Token:
        """Return it."""
        return Token(self.value, 1)

    def void(self, generation: int) -> None:
        """Refuse: nothing here may void it."""
        raise AssertionError(generation)


@pytest.mark.parametrize(
    ("manner", "dialect"),
    [("plan", "plan"), ("older", "newer"), ("newer", "newer"), ("development", "newer")],
)
async def test_every_release_is_told_apart(manner: GatewayManner, dialect: str) -> None:
    """The questions find which table fits each manner, and why, without changing anything there."""
    async with Sandbox(manner=manner) as sandbox, gateway_session() as client:
        findings = await questions(sandbox.gateway_url, client, Issued(sandbox))()
        assert {name: it.dialect for name, it in findings.items()} == {"session": dialect, "videos": dialect}
        if manner == "newer":
            assert findings == {"session": NO_SESSION, "videos": NO_PAGES}
        assert sum(sandbox.gateway.calls.values()) == 2


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=401),
        Fault(status=429, retry_after=1),
        Fault(status=500),
        Fault(status=502),
        Fault(status=503),
        Fault(answer="html"),
        Fault(answer="reset"),
        Fault(answer="truncated"),
    ],
    ids=str,
)
async def test_trouble_settles_nothing(fault: Fault) -> None:
    """A gateway of the plan's manner that is in trouble is not taken for one with or without the calls."""
    async with Sandbox(manner="plan") as sandbox, gateway_session() as client:
        tokens = FakeTokens() if fault.status == 401 else Issued(sandbox)
        sandbox.gateway.faults = Faults(routes=fault)
        assert await questions(sandbox.gateway_url, client, tokens)() == {}


@pytest.mark.parametrize("status", [401, 403, 408, 429, 500, 501, 502, 503, 504])
async def test_errors_in_json_settle_nothing_either(status: int) -> None:
    """An error that any call could have got does not say that this one exists."""
    error = http(status, {"error": "Internal Server Error"})
    assert await found(error, error) == {}


@pytest.mark.parametrize("status", [400, 404, 405, 409, 413, 422])
async def test_an_error_of_the_call_itself_says_that_it_exists(status: int) -> None:
    """A session call that refuses the video, or what was sent, is there."""
    assert await found(http(status, {"error": "Video not found"})) == {"session": "plan", "videos": "plan"}


@pytest.mark.parametrize("status", [404, 405])
@pytest.mark.parametrize("body", [HTML, {"message": "Cannot POST"}, ["error"], None])
async def test_no_such_route_is_a_404_without_an_error(status: int, body: object) -> None:
    """A 404 or 405 that is no JSON error means that there is no such call."""
    assert (await found(http(status, body)))["session"] == "newer"


@pytest.mark.parametrize("answer", [http(200, HTML), http(200, []), http(302, {})])
async def test_an_answer_of_another_kind_settles_no_session(answer: bytes) -> None:
    """A page for everything, or an answer from elsewhere, is no sign of the call."""
    assert await found(answer) == {"videos": "plan"}


@pytest.mark.parametrize("number", [0, 1])
async def test_a_page_of_one_is_one(number: int) -> None:
    """A list with at most the one video that was asked for honours paging."""
    videos = http(200, {"videos": [CATS] * number})
    assert await found(SESSION, videos) == {"session": "plan", "videos": "plan"}


@pytest.mark.parametrize("body", [{"videos": None}, {}, [CATS], "videos"])
async def test_a_list_that_is_none_settles_nothing(body: object) -> None:
    """An answer without a list says nothing of paging."""
    assert await found(SESSION, http(200, body)) == {"session": "plan"}


async def test_a_long_list_is_read_whole() -> None:
    """A list that comes in many pieces is a list still."""
    body = json.dumps({"videos": [CATS] * 50}).encode()

    async def pieces(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
        for start in range(0, len(body), 1000):
            writer.write(body[start : start + 1000])
            await writer.drain()
            await asyncio.sleep(0.001)

    assert await found(SESSION, pieces) == {"session": "plan", "videos": "newer"}


async def test_an_endless_list_is_given_up() -> None:
    """A list that does not end is not read to its end."""
    endless = Part(b"HTTP/1.1 200 OK\r\n\r\n{" + b" " * 2_000_000)
    assert await found(SESSION, endless) == {"session": "plan"}


async def test_one_question_does_not_wait_for_ever() -> None:
    """A gateway that hangs settles nothing, and the connection is closed."""
    hang = Hang(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{")
    assert await found(SESSION, hang, timeout=0.05) == {"session": "plan"}
    await asyncio.wait_for(hang.left.wait(), PATIENCE)


async def test_a_token_is_not_waited_for_for_ever() -> None:
    """Nor does a question wait for its token without end."""
    tokens = FakeTokens()
    tokens.given.clear()
    assert await found(SESSION, tokens=tokens, timeout=0.05) == {}


async def test_without_a_gateway_nothing_is_settled() -> None:
    """A gateway that is away answers no question."""
    with nowhere() as base:
        async with gateway_session() as client:
            assert await questions(base, client, FakeTokens())() == {}


async def test_without_a_token_nothing_is_asked() -> None:
    """No token, no question."""
    tokens = FakeTokens(error=TokenEndpointFailed(FailureKind.UNREACHABLE, "away"))
    async with gateway(SESSION, ONE) as origin, gateway_session() as client:
        assert await questions(f"{origin.url.origin()}/api", client, tokens)() == {}
    assert not origin.received


async def test_a_refused_token_is_void() -> None:
    """A 401 voids the token that got it, so that the next question goes with another."""
    tokens = FakeTokens()
    refused = http(401, {"error": "Invalid or expired token"})
    async with gateway(refused, refused) as origin, gateway_session() as client:
        assert await questions(f"{origin.url.origin()}/api", client, tokens)() == {}
    assert set(tokens.voided) == {1}
    assert tokens.generation == 2
    assert all(message.one("Authorization") == b"Bearer token-1" for message in origin.received)


async def test_the_questions_are_harmless() -> None:
    """One video of the list is asked for, and a session of a video that nobody has, for nobody."""
    async with gateway(SESSION, ONE) as origin, gateway_session() as client:
        await questions(f"{origin.url.origin()}/api", client, FakeTokens())()
    sent = sorted(origin.received, key=lambda message: message.start)
    assert sent[0].start == b"GET /api/videos?page=1&pageSize=1&limit=1 HTTP/1.1"
    assert sent[1].start == b"POST /api/videos/1_00000000/session HTTP/1.1"
    assert json.loads(sent[1].body) == {"userId": "anonymous", "type": 0, "privileges": "sview:1_00000000"}


async def test_an_edited_table_asks_its_own_calls() -> None:
    """Whatever inputs and values the operator's own table wants are there."""
    session = a_route(
        name="session",
        match="POST /api/kaltura/session",
        input={
            "videoId": {"from": "body", "required": "videoId is required", "pattern": "[A-Za-z0-9_-]+"},
            "role": {"from": "body", "default": "guest"},
            "minutes": {"from": "body", "type": "integer", "default": 60},
        },
        call="POST /v2/{videoId}/sessions",
        send={"who": "{{subject.username}}", "role": "{{role}}", "minutes": "{{minutes}}", "at": "{{now}}"},
        reply="{ks: ks}",
    )
    scope = {"subject.username": "Activity Proxy", "now": 0.0}
    async with gateway(SESSION, ONE) as origin, gateway_session() as client:
        ask = questions(
            f"{origin.url.origin()}/api",
            client,
            FakeTokens(),
            plan={**PLAN, "session": session},
            scope=lambda: scope,
        )
        assert (await ask())["session"].dialect == "plan"
    (sent,) = (message for message in origin.received if message.body)
    assert sent.target == b"/api/v2/1_00000000/sessions"
    assert json.loads(sent.body) == {
        "who": "Activity Proxy",
        "role": "guest",
        "minutes": 1,
        "at": "1970-01-01T00:00:00.000Z",
    }


async def test_a_route_that_calls_nothing_is_not_asked_about() -> None:
    """Where the operator's own table has no session call there is no question to ask."""
    assert await found(SESSION, plan={**PLAN, "session": PLAN["token"]}) == {"videos": "plan"}
