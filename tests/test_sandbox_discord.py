"""The stand-in for Discord: whose a token is, as long as it is good, and faults on demand."""

from proxy.sandbox import Sandbox
from proxy.sandbox_discord import user_of
from tests.sandbox_client import Client


async def given(sandbox: Sandbox, code: str) -> Client:
    """Return a client of Discord's with the access token that the Activity server gives for a code."""
    got = await Client(sandbox.activity_url)("POST", "/api/token", json={"code": code})
    return Client(sandbox.discord_url, {"Authorization": f"Bearer {got.json()['access_token']}"})


async def test_a_token_is_its_codes_user() -> None:
    """In the shape of Discord's own answer; every exchange has a token of its own."""
    async with Sandbox() as sandbox:
        alice, again = await given(sandbox, "alice"), await given(sandbox, "alice")
        assert alice.headers != again.headers
        for client in (alice, again):
            assert (await client("GET", "/users/@me")).json() == {
                "id": "80351110224678912",
                "username": "alice",
                "global_name": "Alice",
                "discriminator": "0",
                "avatar": None,
            }


def test_every_code_has_a_user() -> None:
    """The same one each time, and another for another code; ids are snowflakes."""
    codes = ["alice", "bob", "carol", "", "a-code", "x" * 100, "é\ud800"]
    users = [user_of(code) for code in codes]
    assert users == [user_of(code) for code in codes]
    assert len({user.id for user in users}) == len(codes)
    assert all(user.id.isdecimal() and len(user.id) in {17, 18} for user in users)
    assert all(user.username.isascii() and user.username for user in users)


async def test_an_unknown_token_is_refused() -> None:
    """None, another scheme, a made-up one, and one that was revoked."""
    async with Sandbox() as sandbox:
        alice = await given(sandbox, "alice")
        for headers in ({}, {"Authorization": "Basic x"}, {"Authorization": "Bearer x"}):
            assert (await Client(sandbox.discord_url, headers)("GET", "/users/@me")).status == 401
        revoked = await Client(sandbox.activity_url)("POST", "/sandbox/discord/revoke")
        assert revoked.json() == {"revoked": True}
        assert (await alice("GET", "/users/@me")).status == 401
        calls = await Client(sandbox.activity_url)("GET", "/sandbox/discord/calls")
        assert calls.json() == {"GET /api/users/@me": 4}


async def test_faults_are_set_from_outside() -> None:
    """An error in place of the answer, and no connection at all; then it is as it should be."""
    async with Sandbox() as sandbox:
        alice, control = await given(sandbox, "alice"), Client(sandbox.activity_url)
        await control("PUT", "/sandbox/discord/faults", json={"all": {"status": 429, "retry_after": 1}})
        got = await alice("GET", "/users/@me")
        assert (got.status, got.headers["Retry-After"]) == (429, "1")
        off = await control("PUT", "/sandbox/discord/faults", json={"offline": True})
        assert off.json()["offline"] is True
        assert not sandbox.discord.is_online
        await control("PUT", "/sandbox/discord/faults", json={})
        assert (await alice("GET", "/users/@me")).status == 200
