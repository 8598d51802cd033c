"""The sandbox's switches at its Activity server."""

import pytest

from proxy.sandbox import Sandbox
from proxy.sandbox_faults import Fault, Faults
from tests.sandbox_client import Client, logged_in


async def test_faults_are_shown_and_set() -> None:
    """A PUT replaces the whole set and is answered with it; GET shows it."""
    async with Sandbox() as sandbox:
        control = Client(sandbox.activity_url)
        put = await control("PUT", "/sandbox/faults", json={"auth": {"status": 503}, "seed": 2})
        assert put.status == 200
        assert sandbox.gateway.faults == Faults(auth=Fault(status=503), seed=2)
        got = (await control("GET", "/sandbox/faults")).json()
        assert got == put.json()
        assert (got["offline"], got["auth"]["status"], got["all"]["status"]) == (False, 503, None)
        assert (await control("PUT", "/sandbox/faults", json=got)).json() == got
        await control("PUT", "/sandbox/faults", json={})
        assert sandbox.gateway.faults == Faults()


async def test_the_gateway_is_taken_offline_and_back() -> None:
    """`offline` closes the gateway's port; a set without it opens the port again."""
    async with Sandbox() as sandbox:
        control, gateway = Client(sandbox.activity_url), Client(sandbox.gateway_url)
        put = await control("PUT", "/sandbox/faults", json={"offline": True})
        assert put.json()["offline"] is True
        with pytest.raises(OSError, match="Connect call failed"):
            await gateway("GET", "/health")
        assert (await control("GET", "/sandbox/faults")).json()["offline"] is True
        assert (await control("PUT", "/sandbox/faults", json={})).json()["offline"] is False
        assert (await gateway("GET", "/health")).status == 200


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("faults", [], "faults: wants an object"),
        ("faults", {"slow": 1}, "faults: unknown key 'slow', known are offline, all, auth, routes, seed"),
        ("faults", {"offline": 1}, "offline: wants true or false"),
        ("faults", {"routes": {"rate": "x"}}, "routes.rate: wants a number"),
        ("manner", [], "manner: wants an object"),
        ("manner", {}, "manner: wants one of plan, older, newer, development"),
        ("manner", {"manner": "oldest"}, "manner: wants one of plan, older"),
        ("manner", {"manner": "older", "x": 1}, "manner: wants one of plan, older"),
    ],
)
async def test_a_mistake_changes_nothing(path: str, body: object, said: str) -> None:
    """What cannot be is refused with 400 and its field, and all stays as it was."""
    async with Sandbox() as sandbox:
        sandbox.gateway.faults = Faults(seed=9)
        await sandbox.gateway.offline()
        got = await Client(sandbox.activity_url)("PUT", f"/sandbox/{path}", json=body)
        assert got.status == 400
        assert got.json()["error"].startswith(said)
        assert sandbox.gateway.faults == Faults(seed=9)
        assert not sandbox.gateway.is_online
        assert sandbox.gateway.manner == "newer"


@pytest.mark.parametrize("path", ["faults", "manner"])
async def test_a_body_that_is_no_json_is_refused(path: str) -> None:
    """An empty body is no JSON."""
    async with Sandbox() as sandbox:
        got = await Client(sandbox.activity_url)("PUT", f"/sandbox/{path}")
        assert got.status == 400
        assert got.json() == {"error": f"{path}: the body is no JSON"}


async def test_the_manner_is_shown_and_set() -> None:
    """The release imitated can be changed while it runs."""
    async with Sandbox(manner="older") as sandbox:
        control = Client(sandbox.activity_url)
        assert (await control("GET", "/sandbox/manner")).json() == {"manner": "older"}
        put = await control("PUT", "/sandbox/manner", json={"manner": "plan"})
        assert (put.status, put.json()) == (200, {"manner": "plan"})
        assert sandbox.gateway.manner == "plan"


async def test_tokens_are_revoked_and_calls_are_shown() -> None:
    """A revocation voids the tokens in use; the calls say what the gateway was asked."""
    async with Sandbox() as sandbox:
        control, client = Client(sandbox.activity_url), await logged_in(sandbox.gateway_url)
        assert (await control("POST", "/sandbox/revoke")).json() == {"revoked": True}
        assert (await client("GET", "/videos")).status == 401
        assert (await control("GET", "/sandbox/calls")).json() == {
            "GET /api/videos": 1,
            "POST /api/auth/token": 1,
        }
