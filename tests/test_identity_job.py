"""Viewers as themselves, from end to end: a sidecar between sandbox Activity server, gateway and Discord."""

import asyncio
import gc
import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.call import Subject
from proxy.credentials import COOKIE, bearer_key, cookie_key
from proxy.grant import Grant
from proxy.sandbox_faults import Fault, Faults
from proxy.sandbox_releases import GatewayManner
from proxy.sessions import Session
from proxy.term import Moment
from tests.gateway_fakes import http
from tests.hostile import ONE_TRY, TOKEN, attacked
from tests.running import watching
from tests.token_bench import jwt
from tests.viewers import VIDEO, asked, claims_of, played_by, sign_in

PLAY = f"/api/kaltura/video/{VIDEO}/play"
SESSION = "/api/kaltura/session"
USERS = 10_000
MALLORY = {"videoId": VIDEO, "userId": "666"}


async def test_signing_in_adds_to_the_activity_servers_answer(tmp_path: Path) -> None:
    """The exchange is made once; the token is the user's own, by Discord's word, and there is a cookie."""
    async with watching(tmp_path) as (sandbox, _, viewer):
        alice = await sign_in(viewer, "alice")
        assert alice.reply.source == "activity"
        assert alice.reply.json["access_token"] in sandbox.discord.users
        claims = claims_of(alice.token)
        assert (claims["discordId"], claims["discordUsername"]) == ("80351110224678912", "Alice")
        assert alice.reply.json["api_token_expires_at"].endswith("Z")
        assert len(alice.cookie) == 43
        assert alice.reply.headers["Cache-Control"] == "no-store"
        assert dict(sandbox.discord.calls) == {"GET /api/users/@me": 1}


@pytest.mark.parametrize("manner", ["newer", "older", "plan"])
@pytest.mark.parametrize("prefix", ["", "/.proxy"])
async def test_calls_are_made_as_the_viewer_who_asks(
    tmp_path: Path, manner: GatewayManner, prefix: str
) -> None:
    """Session and play URL are theirs by cookie and by token, whatever body and path say."""
    async with watching(tmp_path, manner=manner) as (_, _, viewer):
        alice, bob = await sign_in(viewer, "alice"), await sign_in(viewer, "bob")
        for person in (alice, bob, alice):
            for headers in (person.by_cookie, person.by_token, {**person.by_cookie, **person.by_token}):
                play = await asked(viewer, "POST", prefix + PLAY, {}, headers)
                session = await asked(viewer, "POST", prefix + SESSION, MALLORY, headers)
                assert (play.source, session.source) == ("gateway", "gateway")
                assert played_by(play.json["playUrl"]) == played_by(session.json["ks"]) == person.id


async def test_viewers_have_the_roles_of_the_configuration(tmp_path: Path) -> None:
    """In the token that they are given, and in whatever is made for them later."""
    async with watching(tmp_path, "identity: {roles: [Moderator]}") as (_, _, viewer):
        alice = await sign_in(viewer, "alice")
        assert claims_of(alice.token)["kalturaRole"] == "moderator"
        session = await alice.ask("POST", SESSION, {"videoId": VIDEO})
        assert f"|discord_{alice.id}|moderator|" in session.json["ks"]


async def test_an_unknown_caller_goes_as_the_service(tmp_path: Path) -> None:
    """Without credentials, with made-up ones, and with two people's at once."""
    async with watching(tmp_path) as (_, _, viewer):
        alice, bob = await sign_in(viewer, "alice"), await sign_in(viewer, "bob")
        for headers in (
            {},
            {"Cookie": f"{COOKIE}=guess"},
            {"Authorization": "Bearer guess"},
            {**alice.by_cookie, "Authorization": "Bearer guess"},
            {**alice.by_cookie, **bob.by_token},
            {"Cookie": f"{COOKIE}={alice.cookie}; {COOKIE}={bob.cookie}"},
        ):
            play = await asked(viewer, "POST", PLAY, {}, headers)
            assert played_by(play.json["playUrl"]) == "activity-proxy"


async def test_unknown_callers_are_turned_away_on_request(tmp_path: Path) -> None:
    """With a 401 in the error shape and no fallback; videos are for everyone, and viewers get theirs."""
    async with watching(tmp_path, "identity: {required: true}") as (sandbox, _, viewer):
        for target, body in ((PLAY, {}), (SESSION, MALLORY)):
            refused = await viewer.ask("POST", target, body)
            assert (refused.status, refused.json["code"], refused.source) == (401, "login_required", None)
            assert set(refused.json) == {"error", "message", "code", "requestId"}
            assert refused.headers["WWW-Authenticate"] == "Bearer"
        assert sandbox.gateway.calls["POST /api/videos/{id}/play"] == 0
        assert (await viewer.ask("GET", f"/api/kaltura/video/{VIDEO}")).status == 200
        alice = await sign_in(viewer, "alice")
        assert await alice.play() == alice.id


@pytest.mark.parametrize(("environment", "who"), [("development", "666"), ("production", "anonymous")])
async def test_a_canned_session_is_for_nobody_that_a_body_names(
    tmp_path: Path, environment: str, who: str
) -> None:
    """In production an unverified caller is `anonymous`; a verified one is who Discord says, offline too."""
    text = f"""
    environment: {environment}
    mode: offline
    routes: {{session: {{fallback: [canned]}}}}
    """
    async with watching(tmp_path, text) as (sandbox, _, viewer):
        mocked = await viewer.ask("POST", SESSION, MALLORY)
        assert mocked.json["ks"].startswith(f"mock_ks_{VIDEO}_{who}_")
        alice = await sign_in(viewer, "alice")
        assert alice.reply.json["api_error"]["code"] == "gateway_off"
        own = await alice.ask("POST", SESSION, MALLORY)
        assert own.json["ks"].startswith(f"mock_ks_{VIDEO}_{alice.id}_")
        assert sandbox.gateway.calls == {}


@pytest.mark.parametrize(("environment", "who"), [("development", "u"), ("production", "anonymous")])
async def test_what_the_gateway_is_told_of_an_unknown_caller(
    tmp_path: Path, environment: str, who: str
) -> None:
    """The call goes with the service's token, and names in production nobody whom a body names."""
    async with attacked(tmp_path, f"environment: {environment}\n{ONE_TRY}") as stage:
        stage.gateway_says = http(200, {"ks": "djJ8ks"})
        body = b'{"videoId": "1_cats", "userId": "u"}'
        fields = (b"Content-Type: application/json", b"Content-Length: %d" % len(body))
        got = await stage.ask(b"POST " + SESSION.encode(), *fields, b"Authorization: Bearer guess", body=body)
        assert got.status == 200
        (message,) = stage.gateway.received
    assert json.loads(message.body)["userId"] == who
    assert message.one("Authorization") == b"Bearer " + TOKEN.encode()


async def test_the_activity_server_stands_in_for_the_viewer_who_counts(tmp_path: Path) -> None:
    """In production, where the operator lets it: what a body claims does not get there."""
    text = f"environment: production\nroutes: {{session: {{fallback: [activity]}}}}\n{ONE_TRY}"
    async with attacked(tmp_path, text) as stage:
        stage.gateway_says = http(500, {"error": "x"})
        stage.activity_says = http(200, {"ks": "djJ8ks"}).replace(b"text/html", b"application/json")
        body = b'{"videoId": "1_cats", "userId": "mallory"}'
        fields = (b"Content-Type: application/json", b"Content-Length: %d" % len(body))
        got = await stage.ask(b"POST " + SESSION.encode(), *fields, body=body)
        (message,) = stage.activity.received
    assert (got.status, json.loads(got.body)) == (200, {"ks": "djJ8ks"})
    assert json.loads(message.body) == {"videoId": "1_cats", "userId": "anonymous"}


async def test_signing_out_ends_it_all(tmp_path: Path) -> None:
    """Cookie and token are of no use afterwards, and the user's gateway token is dropped."""
    async with watching(tmp_path) as (_, sidecar, viewer):
        alice, bob = await sign_in(viewer, "alice"), await sign_in(viewer, "bob")
        assert sidecar.parts.sessions is not None
        used, entries = sidecar.parts.sessions.size() or (0, 0)
        assert (sidecar.status()["identity"]) == {
            "required": False,
            "users": 2,
            "sessions": {"bytes": used, "entries": entries},
        }
        assert entries == 4  # by cookie and by token
        left = await alice.ask("POST", "/.proxy/api/logout")
        assert (left.status, left.source) == (204, None)
        assert "Max-Age=0" in left.headers["Set-Cookie"]
        assert "Content-Type" not in left.headers
        for headers in (alice.by_cookie, alice.by_token):
            assert await alice.play(headers) == "activity-proxy"
        assert await bob.play() == bob.id
        assert sidecar.parts.users is not None
        assert len(sidecar.parts.users) == 1


async def test_a_session_ends_at_its_time(tmp_path: Path) -> None:
    """After `identity.ttl` a viewer is unknown, and the cookie says so to the browser."""
    async with watching(tmp_path, "identity: {ttl: 300ms}") as (_, _, viewer):
        alice = await sign_in(viewer, "alice")
        assert "Max-Age=0" in alice.reply.headers["Set-Cookie"]
        await asyncio.sleep(0.31)
        assert await alice.play() == "activity-proxy"


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault(status=500), "discord_error"),
        (Fault(status=429), "discord_busy"),
        (Fault(status=401), "discord_refused"),
        (Fault(answer="html"), "discord_unusable_answer"),
        (Fault(answer="wrong_types"), "discord_unusable_answer"),
        (Fault(answer="truncated"), "discord_unreachable"),
        (Fault(answer="reset"), "discord_unreachable"),
        (Fault(answer="hang"), "discord_timeout"),
    ],
)
async def test_a_failing_discord_costs_the_client_nothing_of_its_own(
    tmp_path: Path, fault: Fault, code: str
) -> None:
    """Discord's tokens come all the same, with the reason; nobody is known."""
    text = "gateway: {timeout: {connect: 200ms, attempt: 200ms, total: 400ms}, breaker: {slow_call: 200ms}}"
    async with watching(tmp_path, text) as (sandbox, _, viewer):
        sandbox.discord.faults = Faults(all=fault)
        alice = await sign_in(viewer, "alice")
        assert alice.reply.json["access_token"]
        assert alice.reply.json["api_error"]["code"] == code
        assert "api_token" not in alice.reply.json
        assert "Set-Cookie" not in alice.reply.headers


async def test_a_gateway_that_fails_at_signing_in_is_asked_again_by_the_next_call(tmp_path: Path) -> None:
    """The viewer is known by Discord's word, and goes as themselves as soon as the gateway is back."""
    async with watching(tmp_path) as (sandbox, _, viewer):
        sandbox.gateway.faults = Faults(auth=Fault(status=503))
        alice = await sign_in(viewer, "alice")
        assert alice.reply.json["api_error"]["code"] == "gateway_error"
        sandbox.gateway.faults = Faults()
        assert await alice.play() == alice.id


async def test_a_revoked_token_is_replaced_by_the_same_users(tmp_path: Path) -> None:
    """A 401 makes that user log in anew, once for all who ask."""
    async with watching(tmp_path) as (sandbox, _, viewer):
        alice, bob = await sign_in(viewer, "alice"), await sign_in(viewer, "bob")
        sandbox.gateway.tokens.revoke()
        before = sandbox.gateway.calls["POST /api/auth/token"]
        played = await asyncio.gather(*(person.play() for person in (alice, bob) * 5))
        assert played == [alice.id, bob.id] * 5
        assert sandbox.gateway.calls["POST /api/auth/token"] - before <= 3


async def test_a_failed_exchange_signs_nobody_in(tmp_path: Path) -> None:
    """The Activity server's own error passes as it is, and Discord is not asked."""
    async with watching(tmp_path) as (sandbox, _, viewer):
        for body, status in (({}, 400), ({"code": "invalid"}, 500)):
            reply = await viewer.ask("POST", "/api/token", body)
            assert reply.status == status
            assert not {"api_token", "api_error"} & set(reply.json)
        assert sandbox.discord.calls == {}


async def test_a_user_is_counted_and_not_named(tmp_path: Path) -> None:
    """Metrics have the subject's kind; neither they nor the status have an id, a name or a token."""
    async with watching(tmp_path) as (_, sidecar, viewer):
        alice = await sign_in(viewer, "alice")
        await alice.ask("POST", "/api/logout")
        shown = sidecar.parts.metrics.exposition("")[0].decode() + str(sidecar.status())
        assert 'activity_proxy_token_requests_total{outcome="login",subject="user"} 1.0' in shown
        assert 'route="token",source="activity",status="200"} 1.0' in shown
        assert 'route="logout",source="none",status="204"} 1.0' in shown
        for secret in (alice.id, "Alice", alice.token, alice.cookie):
            assert secret not in shown


@pytest.mark.parametrize("start", [b"POST /api/token", b"GET /index.html", b"GET /.proxy/ws"])
async def test_the_cookie_never_gets_to_the_activity_server(tmp_path: Path, start: bytes) -> None:
    """Neither through a route that it answers nor through what passes; other cookies do."""
    async with attacked(tmp_path) as stage:
        ours = f"{COOKIE}=s3cret-of-ours".encode()
        await stage.ask(start, b"Cookie: a=b; " + ours + b"; c=d", b"cookie: " + ours, b"X-Own: 1")
        (message,) = stage.activity.received
    assert b"s3cret" not in b"".join(value for _, value in message.fields)
    assert [value for name, value in message.fields if name.lower() == b"cookie"] == [b"a=b; c=d"]
    assert message.one("X-Own") == b"1"


async def test_the_activity_servers_answer_changes_in_no_byte(tmp_path: Path) -> None:
    """Numbers that no parser keeps come out as they were, with what is added behind them."""
    said = b'{"access_token":"acc","expires_in":12345678901234567890123,"ratio":1.10,"n":{"a" : 1e5}}'
    async with attacked(tmp_path) as stage:
        stage.activity_says = http(200, said, date="Thu, 01 Jan 1970 00:00:00 GMT").replace(
            b"text/html", b"application/json"
        )
        got = await stage.ask(b"POST /api/token", b"Content-Length: 0")
    assert got.body.startswith(said[:-1] + b',"api_error":{"code":"discord_unreachable"')
    for name in (b"date", b"content-length", b"content-type"):
        assert len([field for field in got.fields if field[0].lower() == name]) == 1


async def test_ten_thousand_signed_in_users_cost_less_than_50_mib(tmp_path: Path) -> None:
    """Their gateway tokens, keepers and sessions, as the sidecar makes them; a quarter is measured."""
    async with watching(tmp_path) as (_, sidecar, _):
        users, sessions = sidecar.parts.users, sidecar.parts.sessions
        assert users is not None
        assert sessions is not None
        gc.collect()
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            for number in range(USERS // 4):
                user = Subject("user", str(10**17 + number), f"viewer number {number}")
                keeper = users.make(user)
                claims = {"discordId": user.discord_id, "discordUsername": user.username, "serial": number}
                grant = Grant(jwt(**claims, kalturaUserId=f"discord_{user.discord_id}", iat=1, exp=4e9))
                keeper._take(grant, Moment(0.0, 1.0), "login")  # type: ignore[attr-defined]  # without a login
                users._keep(user, keeper)
                own, twin = cookie_key(str(number)), bearer_key(grant.token)
                session = Session(user.discord_id, user.username, 4e9, twin)
                await sessions.put(own, session, 43200)
                await sessions.put(twin, replace(session, twin=own), 43200)
            gc.collect()
            taken = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        size = sessions.size()
        assert (len(users), size and size[1]) == (USERS // 4, USERS // 2)
        assert users.most == USERS
        print(f"{4 * taken / 1024**2:.1f} MiB for {USERS} users")  # noqa: T201  (shown by pytest -s)
        assert 4 * taken < 50 * 1024**2
