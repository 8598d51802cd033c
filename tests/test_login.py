"""Asking the gateway's token endpoint, against a real server on loopback."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from email.utils import formatdate

import pytest
from aiohttp import (
    ClientHandlerType,
    ClientRequest,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    TCPConnector,
    web,
)
from aiohttp.test_utils import TestServer

from proxy.call import FailureKind, Subject
from proxy.grant import Grant, TokenEndpointFailed, TokenError, TokenRefused
from proxy.login import MAX_ANSWER, GatewayLogin, TokenEndpointBusy
from tests.clocks import FakeClock
from tests.recordings import Recording, load

SECRET = "s3cr3t-t0ken"
SUBJECT = Subject("service", "80351110224678912", "Nelly", ("Moderator",))


@dataclass
class Site:
    """A token endpoint that answers as told, and what it was asked."""

    answer: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None
    asked: list[tuple[str, str, object]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Note the request and answer it."""
        self.asked.append((request.method, request.path, await request.json()))
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        assert self.answer is not None
        return await self.answer(request)

    def says(self, status: int, body: object = None, **headers: str) -> None:
        """Answer with this from now on; bytes go out as they are, anything else as JSON."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}

        async def answer(_request: web.Request) -> web.StreamResponse:
            return web.Response(status=status, body=raw, headers=named)

        self.answer = answer


@dataclass
class Bench:
    """The site and a login that asks it."""

    site: Site
    login: GatewayLogin
    session: ClientSession

    async def failure(self) -> TokenError:
        """Log in, which must fail, and hold the error against the rule that none tells a secret."""
        with pytest.raises(TokenError) as caught:
            await self.login.refresh(SECRET)
        error = caught.value
        assert error.__cause__ is None
        assert error.__context__ is None
        assert SECRET not in repr(error) + str(error.__dict__)
        return error


async def _refuse(_request: ClientRequest, _handler: ClientHandlerType) -> ClientResponse:
    raise AssertionError("the session's middlewares are not for the token endpoint")


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """Run the site and give a login with a session that itself has middlewares."""
    site = Site()
    app = web.Application()
    app.router.add_route("*", "/{any:.*}", site.handle)
    async with TestServer(app) as server, ClientSession(middlewares=(_refuse,)) as session:
        base = str(server.make_url("/api"))
        yield Bench(site, GatewayLogin(base, session, SUBJECT, 5.0, FakeClock()), session)


async def test_login_asks_as_the_gateway_expects(bench: Bench) -> None:
    """A login sends id, name and roles as JSON and gives token and end."""
    bench.site.says(200, {"token": "a.b.c", "expiresAt": "2026-11-23T01:53:09.332Z", "user": {}})
    grant = await bench.login.login()
    assert grant == Grant("a.b.c", "2026-11-23T01:53:09.332Z")
    question = {"discordId": "80351110224678912", "username": "Nelly", "roles": ["Moderator"]}
    assert bench.site.asked == [("POST", "/api/auth/token", question)]
    headers = bench.site.headers[0]
    assert headers["content-type"] == "application/json"
    assert headers["accept-encoding"] == "identity"
    assert "authorization" not in headers


async def test_refresh_sends_the_token(bench: Bench) -> None:
    """A refresh sends the old token in the body and gives the new one."""
    bench.site.says(200, {"token": "new", "expiresAt": 7})
    assert await bench.login.refresh("old") == Grant("new", None)
    assert bench.site.asked == [("POST", "/api/auth/refresh", {"token": "old"})]


@pytest.mark.parametrize("release", ["gateway-older-kaltura", "gateway-newer-kaltura"])
async def test_the_recorded_gateways_are_understood(bench: Bench, release: Recording) -> None:
    """What both releases really answered to logins and refreshes is read as they meant it."""
    seen = 0
    for exchange in load(release):
        if exchange.path not in {"/api/auth/token", "/api/auth/refresh"}:
            continue
        bench.site.says(exchange.status, exchange.answer)
        seen += 1
        if exchange.status == 200:
            grant = await bench.login.login()
            assert grant.token.count(".") == 2
            assert grant.expires_at is not None
        else:
            expected = TokenEndpointFailed if exchange.status == 500 else TokenRefused
            assert isinstance(await bench.failure(), expected)
    assert seen >= 6


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (400, TokenRefused, FailureKind.STATUS),
        (401, TokenRefused, FailureKind.UNAUTHORIZED),
        (403, TokenRefused, FailureKind.STATUS),
        (404, TokenEndpointFailed, FailureKind.NO_SUCH_ROUTE),
        (405, TokenEndpointFailed, FailureKind.NO_SUCH_ROUTE),
        (408, TokenEndpointBusy, FailureKind.STATUS),
        (425, TokenEndpointBusy, FailureKind.STATUS),
        (429, TokenEndpointBusy, FailureKind.STATUS),
        (500, TokenEndpointFailed, FailureKind.STATUS),
        (503, TokenEndpointFailed, FailureKind.STATUS),
        (520, TokenEndpointFailed, FailureKind.STATUS),
        (201, TokenEndpointFailed, FailureKind.CONTRACT),
        (204, TokenEndpointFailed, FailureKind.CONTRACT),
        (302, TokenEndpointFailed, FailureKind.CONTRACT),
    ],
)
async def test_each_status_has_its_meaning(
    bench: Bench, status: int, error: type[TokenError], kind: FailureKind
) -> None:
    """Refusals, failures and answers off the contract are told apart; the body does not matter."""
    bench.site.says(status, {"token": SECRET}, Location="/elsewhere")
    failure = await bench.failure()
    assert type(failure) is error
    assert (failure.kind, failure.detail) == (kind, f"the token endpoint answered {status}")
    assert len(bench.site.asked) == 1


async def test_retry_after_is_passed_on(bench: Bench) -> None:
    """The endpoint's pause is read as seconds and as a date, by the sidecar's clock."""
    bench.site.says(503, b"<html>", Retry_After="17")
    assert (await bench.failure()).retry_after == 17.0
    until = formatdate(bench.login.clock.time() + 120, usegmt=True)
    bench.site.says(429, b"", Retry_After=until)
    assert (await bench.failure()).retry_after == pytest.approx(120.0, abs=1.0)
    bench.site.says(500, b"")
    assert (await bench.failure()).retry_after is None


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"<html>" + SECRET.encode(), "no JSON object"),
        (b'{"token": "' + SECRET.encode(), "no JSON object"),
        ([SECRET], "no JSON object"),
        (None, "no JSON object"),
        (b"", "no JSON object"),
        ({}, "no token"),
        ({"token": ""}, "no token"),
        ({"token": None}, "no token"),
        ({"token": 7}, "no token"),
        ({"token": {"value": SECRET}}, "no token"),
        ({"token": SECRET + "\r\nX-Evil: 1"}, "no token"),
        ({"token": SECRET + "\n"}, "no token"),
        ({"token": SECRET + " "}, "no token"),
        ({"token": SECRET + "\u00e9"}, "no token"),
        (b'{"token": "' + SECRET.encode() + b'"' + b" " * MAX_ANSWER + b"}", "too large"),
    ],
)
async def test_an_answer_that_holds_no_token_is_a_broken_contract(
    bench: Bench, body: object, why: str
) -> None:
    """A 200 that is not an object with a token fit for a header is refused, and not quoted."""
    bench.site.says(200, body)
    failure = await bench.failure()
    assert failure.kind == FailureKind.CONTRACT
    assert why in failure.detail


async def test_an_endless_answer_is_cut_off(bench: Bench) -> None:
    """An answer that goes on and on is given up at the limit, and its connection closed."""
    cut = asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b" " * 65536)
        finally:
            cut.set()

    bench.site.answer = endless
    assert "too large" in (await bench.failure()).detail
    await asyncio.wait_for(cut.wait(), 5)


async def test_compressed_answers_are_not_unpacked(bench: Bench) -> None:
    """An encoding that nobody asked for is a broken contract, not work for a decompressor."""
    bench.site.says(200, b"\x1f\x8b" + bytes(50), Content_Encoding="gzip")
    assert (await bench.failure()).kind == FailureKind.CONTRACT


async def test_a_hung_endpoint_is_a_timeout(bench: Bench) -> None:
    """An endpoint that does not answer, or stops half-way, fails when the time is over."""

    async def silent(_request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(3600)
        raise AssertionError

    async def halting(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b'{"token"')
        await asyncio.sleep(3600)
        return response

    login = bench.login
    for answer in (silent, halting):
        bench.site.answer = answer
        bench.login = GatewayLogin(login.base, login.session, SUBJECT, 0.05, login.clock)
        async with asyncio.timeout(5):
            assert (await bench.failure()).kind == FailureKind.TIMEOUT


async def test_a_session_s_own_timeout_is_one_too(bench: Bench) -> None:
    """A timeout that aiohttp raises, which is a connection error as well, is told as a timeout."""

    async def silent(_request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(3600)
        raise AssertionError

    bench.site.answer = silent
    async with ClientSession(timeout=ClientTimeout(sock_read=0.05)) as session:
        bench.login = GatewayLogin(bench.login.base, session, SUBJECT, 5.0, bench.login.clock)
        assert (await bench.failure()).kind == FailureKind.TIMEOUT


async def test_no_connection_is_unreachable(bench: Bench) -> None:
    """A refused connection, a reset and an answer cut short are all told as unreachable."""

    async def reset(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async def cut(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.write(b'HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{"token": "')
        request.transport.close()
        return web.Response()

    for answer in (reset, cut):
        bench.site.answer = answer
        assert (await bench.failure()).kind == FailureKind.UNREACHABLE
    closed = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = closed.sockets[0].getsockname()[1]
    closed.close()
    await closed.wait_closed()
    base = f"http://127.0.0.1:{port}/api"
    bench.login = GatewayLogin(base, bench.session, SUBJECT, 5.0, bench.login.clock)
    assert (await bench.failure()).kind == FailureKind.UNREACHABLE


async def test_connections_go_back_to_the_pool(bench: Bench) -> None:
    """With a pool of one connection, logins that failed and ones that did not follow each other."""
    async with ClientSession(connector=TCPConnector(limit=1)) as session:
        login = GatewayLogin(bench.login.base, session, SUBJECT, 5.0, bench.login.clock)
        for status in (503, 401, 302, 200, 200):
            bench.site.says(status, {"token": "t"})
            await asyncio.gather(login.login(), return_exceptions=True)
    assert len(bench.site.asked) == 5
