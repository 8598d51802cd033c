"""The stand-in for Kaltura's API v3, as the contract describes it."""

from collections.abc import AsyncIterator
from random import Random
from typing import Any

import pytest
from aiohttp import ClientSession

from proxy.sandbox import Sandbox
from proxy.sandbox_faults import Fault, Faults
from proxy.sandbox_kaltura import Kaltura
from proxy.sandbox_port import Port
from tests.clocks import FakeClock
from tests.sandbox_client import Client


@pytest.fixture
async def kaltura() -> AsyncIterator[Kaltura]:
    """A stand-in on a clock of its own."""
    kaltura = Kaltura(FakeClock(), Random(1), Port())  # noqa: S311  (sample data)
    await kaltura.online()
    yield kaltura
    await kaltura.close()


async def ask(kaltura: Kaltura, called: str, **form: str) -> Any:
    """Make a call like `media.get` and return its JSON."""
    service, action = called.split(".")
    async with (
        ClientSession() as session,
        session.post(
            f"{kaltura.url}/service/{service}/action/{action}", data={"format": "1", **form}
        ) as response,
    ):
        assert response.status == 200
        return await response.json()


async def start(kaltura: Kaltura, kind: int = 2, privileges: str = "", **form: str) -> str:
    """Start a session and return its KS."""
    asked = {"partnerId": kaltura.partner_id, "secret": kaltura.secret, "type": str(kind), **form}
    ks = await ask(kaltura, "session.start", privileges=privileges, **asked)
    assert isinstance(ks, str)
    return ks


async def test_a_session_keeps_to_what_it_was_started_with(kaltura: Kaltura) -> None:
    """A KS has the type, user, privileges and end that were asked for, and a wrong secret gets none."""
    ks = await start(kaltura, 0, "sview:1_e0000001", userId="nelly", expiry="60")
    session = kaltura.sessions[ks]
    assert (session.type, session.user, *session.privileges) == (0, "nelly", "sview:1_e0000001")
    assert session.expiry == kaltura.clock.time() + 60
    for wrong in ({"secret": "x"}, {"partnerId": "1"}, {"type": "7"}):
        refused = await ask(
            kaltura,
            "session.start",
            **{"partnerId": kaltura.partner_id, "secret": kaltura.secret, "type": "0", **wrong},
        )
        assert (refused["objectType"], refused["code"]) == ("KalturaAPIException", "START_SESSION_ERROR")


async def test_privileges_decide_what_may_be_read(kaltura: Kaltura) -> None:
    """A viewer's KS reads its own entry only; one for listing lists; an administrator's does both."""
    viewer, lister, admin = (
        await start(kaltura, 0, "sview:1_e0000001"),
        await start(kaltura, 0, "list:*"),
        await start(kaltura),
    )
    assert (await ask(kaltura, "media.get", ks=viewer, entryId="1_e0000001"))["id"] == "1_e0000001"
    assert (await ask(kaltura, "media.get", ks=viewer, entryId="1_e0000002"))["code"] == "SERVICE_FORBIDDEN"
    assert (await ask(kaltura, "media.list", ks=viewer))["code"] == "SERVICE_FORBIDDEN"
    assert (await ask(kaltura, "media.list", ks=lister))["totalCount"] == 95
    assert (await ask(kaltura, "media.get", ks=lister, entryId="1_e0000001"))["code"] == "SERVICE_FORBIDDEN"
    assert (await ask(kaltura, "media.get", ks=admin, entryId="1_e0000002"))["id"] == "1_e0000002"


async def test_an_entry_is_kalturas(kaltura: Kaltura) -> None:
    """An entry has Kaltura's names, its times in epoch seconds, and an absent one is an exception."""
    ks = await start(kaltura)
    entry = await ask(kaltura, "media.get", ks=ks, entryId="1_e0000003")
    assert entry["name"] == "Lecture 3: cats and networks"
    assert (entry["createdAt"], entry["partnerId"], entry["views"]) == (1_740_259_200, 5896392, 33)
    absent = await ask(kaltura, "media.get", ks=ks, entryId="1_absent00")
    assert absent["code"] == "ENTRY_ID_NOT_FOUND"


async def test_lists_are_filtered_and_paged(kaltura: Kaltura) -> None:
    """Both text filters find, the pager cuts, and the total is that of all that was found."""
    ks = await start(kaltura)
    found = await ask(
        kaltura,
        "media.list",
        ks=ks,
        **{"filter[freeText]": "cats", "pager[pageSize]": "2", "pager[pageIndex]": "2"},
    )
    assert [entry["id"] for entry in found["objects"]] == ["1_e0000091", "1_e0000089"]
    assert found["totalCount"] == 48
    oldest = await ask(
        kaltura,
        "media.list",
        ks=ks,
        **{"filter[searchTextMatchAnd]": "dogs", "filter[orderBy]": "+createdAt", "pager[pageSize]": "1"},
    )
    assert [entry["id"] for entry in oldest["objects"]] == ["1_e0000002"]
    other = await ask(kaltura, "media.list", ks=ks, **{"filter[objectType]": "KalturaUserFilter"})
    assert other["code"] == "OBJECT_TYPE_ABSTRACT"


async def test_a_session_ends_by_its_expiry_and_by_revocation(kaltura: Kaltura) -> None:
    """A KS past its end, a revoked one and a made-up one are refused by quoting them; so is none at all."""
    assert isinstance(kaltura.clock, FakeClock)
    ks, other = await start(kaltura, expiry="60"), await start(kaltura)
    kaltura.clock.shift(60)
    expired = await ask(kaltura, "media.list", ks=ks)
    assert (expired["code"], expired["message"]) == ("INVALID_KS", f'Invalid KS "{ks}", Error "-2,EXPIRED"')
    assert (await ask(kaltura, "media.list", ks=other))["totalCount"] == 95
    kaltura.revoke()
    assert (await ask(kaltura, "media.list", ks=other))["code"] == "INVALID_KS"
    assert (await ask(kaltura, "media.list"))["code"] == "MISSING_KS"


async def test_what_it_does_not_know_is_no_json_or_an_exception(kaltura: Kaltura) -> None:
    """Without `format=1` the answer is XML, and an unknown service is an exception."""
    assert (await ask(kaltura, "user.get"))["code"] == "SERVICE_DOES_NOT_EXISTS"
    got = await Client(kaltura.url)("POST", "/service/media/action/get")
    assert got.body.startswith(b"<xml>")
    assert (await Client(kaltura.url)("GET", "/service/media/action/get")).status == 405


async def test_faults_and_switches_are_its_own() -> None:
    """Kaltura's switches leave the gateway alone: faults by class, offline, revocation, calls."""
    async with Sandbox() as sandbox:
        control = Client(sandbox.activity_url)
        put = await control("PUT", "/sandbox/kaltura/faults", json={"auth": {"status": 503}})
        assert sandbox.kaltura.faults == Faults(auth=Fault(status=503)) != sandbox.gateway.faults
        assert (await control("GET", "/sandbox/kaltura/faults")).json() == put.json()
        kaltura = Client(sandbox.kaltura.url)
        assert (await kaltura("POST", "/service/session/action/start")).status == 503
        assert (await kaltura("POST", "/service/media/action/get")).status == 200
        calls = (await control("GET", "/sandbox/kaltura/calls")).json()
        assert calls == {"media.get": 1, "session.start": 1}
        await control("PUT", "/sandbox/kaltura/faults", json={})
        await start(sandbox.kaltura)
        assert (await control("POST", "/sandbox/kaltura/revoke")).json() == {"revoked": True}
        assert sandbox.kaltura.sessions == {}
        await control("PUT", "/sandbox/kaltura/faults", json={"offline": True})
        with pytest.raises(OSError, match="Connect call failed"):
            await kaltura("POST", "/service/media/action/get")
        assert sandbox.gateway.is_online
