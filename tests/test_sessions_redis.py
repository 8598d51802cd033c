"""Sessions in a Redis: shared, encrypted, gone in time, and at no request's cost when Redis fails."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.clock import SystemClock
from proxy.credentials import COOKIE, bearer_key, cookie_key
from proxy.redis_sessions import NAMESPACE
from proxy.sandbox import Sandbox
from proxy.sessions import Session, SessionStore
from proxy.store import StoreTrouble
from proxy.stores import open_sessions, open_store
from proxy.units import Refused
from tests.redis_server import RedisServer, free_port, running
from tests.running import configured, watched
from tests.stores import entry
from tests.viewers import sign_in

KEY = "a-secret-text-of-32-characters-or-more"
ALICE = Session("80351110224678912", "Alice", 1e10, "twin")
PLACE = cookie_key("s3cret")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis."""
    with running(tmp_path_factory.mktemp("redis")) as server:
        yield server


@asynccontextmanager
async def opened(url: str, key: str = KEY) -> AsyncIterator[tuple[SessionStore, list[StoreTrouble]]]:
    """Open the sessions there for a while, and give what they tell."""
    troubles: list[StoreTrouble] = []
    sessions = open_sessions(url, key, SystemClock(), troubles.append)
    try:
        yield sessions, troubles
    finally:
        await sessions.aclose()


async def found(sessions: SessionStore, key: str) -> Session | None:
    """Look until the connection has come about, which may take longer than a request waits."""
    for _ in range(20):
        session = await sessions.get(key)
        if session is not None:
            return session
        await asyncio.sleep(0.01)
    return None


async def test_sidecars_share_their_sessions(server: RedisServer) -> None:
    """Who signed in at one is known at the others, until they sign out at any."""
    async with opened(server.url) as (one, _), opened(server.url) as (other, troubles):
        assert await one.put(PLACE, ALICE, 60)
        assert await found(other, PLACE) == ALICE
        assert await one.put("twin", ALICE, 60)
        assert await other.end(PLACE, "never-there") == [ALICE]
        assert await one.get(PLACE) is None
        assert await one.get("twin") is None
        assert await other.end(PLACE) == []
        assert other.size() is None
        assert troubles == []


async def test_redis_holds_digests_and_nothing_to_read(server: RedisServer) -> None:
    """Its keys are of a namespace of their own, its values end by themselves, and neither tells anything."""
    async with opened(server.url) as (sessions, _):
        await sessions.put(PLACE, ALICE, 60)
    with server.client() as redis:
        (key,) = redis.keys(f"{NAMESPACE}:*")
        value = redis.get(key)
        left = redis.pttl(key)
        redis.flushall()
    assert key == f"{NAMESPACE}:{PLACE}".encode()
    assert b"s3cret" not in key
    assert b"8035" not in value
    assert b"Alice" not in value
    assert 0 < left <= 60_000


async def test_a_purge_of_answers_signs_nobody_out(server: RedisServer) -> None:
    """The cache's keys go, the sessions stay."""
    cache = open_store(server.url, 1024**2, SystemClock(), print)
    async with opened(server.url) as (sessions, _):
        await sessions.put(PLACE, ALICE, 60)
        await cache.set("video:1", entry(), 60)
        assert await cache.purge()
        assert await cache.get("video:1") is None
        assert await found(sessions, PLACE) == ALICE
    await cache.aclose()


@pytest.mark.parametrize("value", [b"", b"{}", b"\x01" + bytes(60), b"x" * 100])
async def test_what_is_none_of_ours_is_nobody(server: RedisServer, value: bytes) -> None:
    """Bytes that another wrote make no session, and are told."""
    with server.client() as redis:
        redis.set(f"{NAMESPACE}:{PLACE}", value)
    async with opened(server.url) as (sessions, troubles):
        assert await found(sessions, PLACE) is None
        assert set(troubles) - {"slow"} == {"foreign"}


async def test_another_key_knows_nobody(server: RedisServer) -> None:
    """A changed `identity.key` signs everyone out."""
    async with opened(server.url) as (one, _), opened(server.url, "x" * 32) as (other, _):
        await one.put(PLACE, ALICE, 60)
        assert await found(other, PLACE) is None


async def test_a_redis_that_is_away_keeps_nobody_waiting() -> None:
    """A caller is unknown, and who signs in or out is told that it was not kept, at once."""
    async with opened(f"redis://127.0.0.1:{free_port()}/0") as (sessions, troubles):
        assert await sessions.get(PLACE) is None
        assert not await sessions.put(PLACE, ALICE, 60)
        assert await sessions.end(PLACE) is None
        assert "unreachable" in troubles


async def test_signing_out_is_worth_a_wait(server: RedisServer) -> None:
    """A Redis too slow for a look-up may do for this: a session that is said to be over must be."""
    async with opened(server.url) as (sessions, _):
        await sessions.put(PLACE, ALICE, 60)
        await sessions.put("twin", ALICE, 60)
        server.freeze()
        ending = asyncio.create_task(sessions.end(PLACE))
        await asyncio.sleep(0.1)
        server.thaw()
        assert await ending == [ALICE]
        assert [await found(sessions, key) for key in (PLACE, "twin")] == [None, None]


async def test_a_redis_that_hangs_holds_nobody_up(server: RedisServer) -> None:
    """A look-up waits for a twentieth of a second; once Redis is left alone, not at all."""
    async with opened(server.url) as (sessions, troubles):
        await sessions.put(PLACE, ALICE, 60)
        server.freeze()
        try:
            start = time.monotonic()
            for _ in range(10):
                assert await sessions.get(PLACE) is None
            assert time.monotonic() - start < 1.0
        finally:
            server.thaw()
        assert set(troubles) == {"slow"}


def test_the_missing_extra_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the packages the error says how to get them, and shows no password."""
    import sys

    for name in ("proxy.redis_link", "proxy.redis_sessions", "proxy.seal"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    with pytest.raises(Refused, match=r"redis://cache:6379/0 needs the packages redis and cryptography"):
        open_sessions("redis://:geheim@cache", KEY, SystemClock(), print)


async def test_a_viewer_survives_a_restart_of_the_sidecar(server: RedisServer, tmp_path: Path) -> None:
    """Cookie and token are known to the next one, and end with a sign-out there; Redis has neither."""
    async with Sandbox() as sandbox:
        configuration = configured(
            tmp_path,
            f'cache: {{url: "{server.url}"}}\nidentity: {{key: {KEY}}}',
            activity=sandbox.activity_url,
            gateway=sandbox.gateway_url,
            discord=sandbox.discord_url,
        )
        async with watched(configuration) as (_, viewer):
            alice = await sign_in(viewer, "alice")
        async with watched(configuration) as (sidecar, viewer):
            alice.viewer = viewer
            assert sidecar.parts.sessions is not None
            assert sidecar.parts.sessions.size() is None
            assert await found(sidecar.parts.sessions, cookie_key(alice.cookie)) is not None
            assert [await alice.play(), await alice.play(alice.by_token)] == [alice.id] * 2
            with server.client() as redis:
                kept = b" ".join([redis.get(key) or b"" for key in redis.keys("*")] + redis.keys("*"))
            for secret in (alice.cookie, alice.token, alice.id, COOKIE):
                assert secret.encode() not in kept
            assert (await alice.ask("POST", "/api/logout")).status == 204
            assert await sidecar.parts.sessions.get(bearer_key(alice.token)) is None
            assert await alice.play() == "activity-proxy"


async def test_signing_in_without_redis_gives_discords_tokens(tmp_path: Path) -> None:
    """The viewer is told that they are not known here; signing out says that it may have failed."""
    async with Sandbox() as sandbox:
        configuration = configured(
            tmp_path,
            f'cache: {{url: "redis://127.0.0.1:{free_port()}/0"}}\nidentity: {{key: {KEY}}}',
            activity=sandbox.activity_url,
            gateway=sandbox.gateway_url,
            discord=sandbox.discord_url,
        )
        async with watched(configuration) as (_, viewer):
            alice = await sign_in(viewer, "alice")
            assert alice.reply.json["api_error"]["code"] == "sessions_unavailable"
            assert alice.reply.json["access_token"]
            assert "Set-Cookie" not in alice.reply.headers
            left = await alice.ask("POST", "/api/logout", headers={"Cookie": f"{COOKIE}=x"})
            assert (left.status, left.json["code"]) == (503, "sessions_unavailable")
