"""The gateway's stand-in beyond the recordings: the plan's manner, its tokens, its port."""

import asyncio

import pytest
from aiohttp import ClientConnectorError, ClientSession

from proxy.sandbox import Sandbox
from proxy.sandbox_faults import Faults
from tests.clocks import FakeClock
from tests.sandbox_client import Client, Got, logged_in

VOID = {"error": "Invalid or expired token"}


def ids(got: Got) -> list[str]:
    """Return the ids of a list's videos."""
    return [video["id"] for video in got.json()["videos"]]


@pytest.mark.parametrize("size", ["limit", "pageSize"])
async def test_the_plans_list_pages(size: str) -> None:
    """In the plan's manner the list gives the page and the number of videos that are asked for."""
    async with Sandbox(manner="plan") as sandbox:
        client = await logged_in(sandbox.gateway_url)
        assert ids(await client("GET", f"/videos?{size}=2&page=3")) == ["1_e0000091", "1_e0000090"]
        assert len(ids(await client("GET", "/videos?limit=abc"))) == 10


async def test_the_plan_has_sessions() -> None:
    """In the plan's manner a session is the token's user's and may view that video."""
    async with Sandbox(manner="plan") as sandbox:
        client = await logged_in(sandbox.gateway_url)
        wanted = {"userId": "80351110224678912", "type": 0, "privileges": "sview:1_e0000003,a"}
        got = await client("POST", "/videos/1_e0000003/session", json=wanted)
        assert got.status == 200
        assert got.json()["ks"].startswith("djJ85896392|discord_80351110224678912|sview:1_e0000003,a|")
        bare = await client("POST", "/videos/1_e0000003/session")
        assert "|sview:1_e0000003|" in bare.json()["ks"]


async def test_the_plan_lacks_nothing() -> None:
    """In the plan's manner Kaltura's details and every health check exist."""
    async with Sandbox(manner="plan") as sandbox:
        client = await logged_in(sandbox.gateway_url)
        got = await client("GET", "/kaltura/video/1_e0000003")
        assert got.json()["video"]["id"] == "1_e0000003"
        assert (await client("GET", "/health")).json()["status"] == "ok"


async def test_the_manner_changes_at_once() -> None:
    """A route that one release lacks comes and goes with the manner."""
    async with Sandbox(manner="older") as sandbox:
        client = await logged_in(sandbox.gateway_url)
        assert (await client("GET", "/kaltura/video/1_e0000003")).status == 200
        sandbox.gateway.manner = "newer"
        assert (await client("GET", "/kaltura/video/1_e0000003")).status == 404


async def test_unknown_routes_and_methods_get_a_page() -> None:
    """A route that is not there is 404 with a page that names it without its query, escaped."""
    async with Sandbox() as sandbox:
        client = Client(sandbox.gateway_url)
        got = await client("DELETE", "/health?x=1")
        assert got.status == 404
        assert b"<pre>Cannot DELETE /api/health</pre>" in got.body
        assert b"Cannot GET /api/%3Cb%3E&amp;" in (await client("GET", "/<b>&")).body


@pytest.mark.parametrize("path", ["/videos", "/videos/no/such/route", "/kaltura/video/x"])
async def test_tokens_come_before_routes(path: str) -> None:
    """Without a token every call below `/videos` and `/kaltura` is 401, whether it exists or not."""
    async with Sandbox() as sandbox:
        for headers in ({}, {"Authorization": "Bearer "}, {"Authorization": "Bearer"}):
            got = await Client(sandbox.gateway_url, headers)("GET", path)
            assert (got.status, got.json()) == (401, {"error": "Authentication required"})


async def test_a_token_expires() -> None:
    """After its life a token is refused by routes, refresh and validate, and a new login helps."""
    clock = FakeClock()
    async with Sandbox(clock=clock, token_life=60) as sandbox:
        client = await logged_in(sandbox.gateway_url)
        token = {"token": client.headers["Authorization"].removeprefix("Bearer ")}
        clock.shift(59)
        assert (await client("POST", "/auth/refresh", json=token)).status == 200
        clock.shift(1)
        for method, path in (
            ("GET", "/videos"),
            ("POST", "/auth/refresh"),
            ("POST", "/auth/validate"),
        ):
            got = await client(method, path, json=token)
            assert (got.status, got.json()) == (401, VOID)
        again = await logged_in(sandbox.gateway_url)
        assert (await again("GET", "/videos")).status == 200


async def test_revoking_voids_all_tokens() -> None:
    """After a revocation the token is refused at once, and a new login helps."""
    async with Sandbox() as sandbox:
        client = await logged_in(sandbox.gateway_url)
        sandbox.gateway.tokens.revoke()
        got = await client("GET", "/videos")
        assert (got.status, got.json()) == (401, VOID)
        again = await logged_in(sandbox.gateway_url)
        assert (await again("GET", "/videos")).status == 200


async def test_validate_wants_a_token() -> None:
    """Without a token there is nothing to validate."""
    async with Sandbox() as sandbox:
        got = await Client(sandbox.gateway_url)("POST", "/auth/validate", json={})
        assert (got.status, got.json()) == (400, {"error": "Missing token"})


@pytest.mark.parametrize(
    ("roles", "role"),
    [
        (["Moderator"], "moderator"),
        (["x", "ADMIN", "moderator"], "admin"),
        (["x"], "viewer"),
        (None, "viewer"),
    ],
)
async def test_roles_of_discord_are_mapped(roles: list[str] | None, role: str) -> None:
    """The highest known role becomes Kaltura's; any other user is a viewer."""
    async with Sandbox() as sandbox:
        who = {"discordId": "1", "username": "x", "roles": roles}
        user = (await Client(sandbox.gateway_url)("POST", "/auth/token", json=who)).json()["user"]
        assert user["kalturaRole"] == role


async def test_calls_are_counted_by_route() -> None:
    """Each request counts under its route's template, those without a route together."""
    async with Sandbox() as sandbox:
        client = await logged_in(sandbox.gateway_url)
        for path in ("/videos/a", "/videos/b", "/nothing", "/else"):
            await client("GET", path)
        assert sandbox.gateway.calls == {
            "POST /api/auth/token": 1,
            "GET /api/videos/{id}": 2,
            "GET other": 2,
        }


async def test_offline_refuses_connections_and_online_takes_them_again() -> None:
    """Off, the port refuses whoever comes and cuts who is there; on again it has its old number."""
    async with Sandbox() as sandbox, ClientSession() as kept:
        url = sandbox.gateway_url
        async with kept.get(f"{url}/health") as got:
            assert got.status == 200
        for _ in range(2):
            await sandbox.gateway.offline()
            await sandbox.gateway.offline()
            online = [sandbox.gateway.is_online]
            with pytest.raises(ClientConnectorError) as refused:
                await kept.get(f"{url}/health")
            assert isinstance(refused.value.os_error, ConnectionRefusedError)
            await sandbox.gateway.online()
            await sandbox.gateway.online()
            assert [*online, sandbox.gateway.is_online] == [False, True]
            assert sandbox.gateway_url == url
            async with kept.get(f"{url}/health") as got:
                assert got.status == 200


async def test_being_offline_keeps_tokens_faults_and_counts() -> None:
    """An outage is no restart: what was issued and set before goes on."""
    async with Sandbox() as sandbox:
        client = await logged_in(sandbox.gateway_url)
        sandbox.gateway.faults = Faults(seed=4)
        await sandbox.gateway.offline()
        await sandbox.gateway.online()
        assert (await client("GET", "/videos")).status == 200
        assert sandbox.gateway.faults == Faults(seed=4)
        assert sandbox.gateway.calls["POST /api/auth/token"] == 1


async def test_nobody_else_gets_the_port_of_a_gateway_that_is_offline() -> None:
    """While it is offline its port stays taken, so that it can come back."""
    async with Sandbox() as sandbox:
        await sandbox.gateway.offline()
        port = int(sandbox.gateway_url.split(":")[2].removesuffix("/api"))
        with pytest.raises(OSError, match="in use"):
            await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", port, reuse_address=False)
