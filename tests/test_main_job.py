"""The main job from end to end: a viewer, the sidecar, and a sandbox behind it, over real sockets."""

from pathlib import Path
from typing import get_args

import pytest
from aiohttp import ClientSession

from proxy.clock import SystemClock
from proxy.sandbox import Sandbox
from proxy.sandbox_faults import Fault, Faults
from proxy.sandbox_releases import GatewayManner
from proxy.sidecar import Sidecar
from tests.clocks import until
from tests.running import SEVEN, Viewer, configured, watched, watching

MANNERS = get_args(GatewayManner)


@pytest.mark.parametrize("manner", MANNERS)
async def test_the_seven_calls_are_answered_by_every_release(tmp_path: Path, manner: GatewayManner) -> None:
    """Each call has a real answer from each release, but for the details that newer ones do not have."""
    async with watching(tmp_path, manner=manner) as (_, _, viewer):
        replies = {target: await viewer.ask(method, target, body) for method, target, body in SEVEN}
    details = replies.pop("/api/kaltura/video/1_e0000003/details")
    token = replies.pop("/api/token")
    assert (token.status, token.source) == (200, "activity")
    assert token.headers["Cache-Control"] == "no-store"
    assert set(token.json) >= {"access_token", "token_type", "expires_in", "scope"}
    assert {(reply.status, reply.source) for reply in replies.values()} == {(200, "gateway")}
    if manner in {"plan", "older"}:
        assert (details.status, details.json["id"]) == (200, "1_e0000003")
    else:
        assert (details.status, details.json["code"]) == (502, "gateway_no_such_route")


@pytest.mark.parametrize("manner", ["plan", "older", "newer"])
async def test_the_list_pages_honestly_on_every_release(tmp_path: Path, manner: GatewayManner) -> None:
    """Page 2 of 3 a page is the fourth to sixth newest video, whatever the gateway makes of paging."""
    async with watching(tmp_path, manner=manner) as (_, _, viewer):
        reply = await viewer.ask("GET", "/api/kaltura/videos?page=2&pageSize=3")
    assert [video["id"] for video in reply.json["videos"]] == ["1_e0000092", "1_e0000091", "1_e0000090"]
    assert (reply.json["page"], reply.json["pageSize"]) == (2, 3)


@pytest.mark.parametrize("dialect", ["plan", "newer"])
async def test_a_fixed_dialect_pages_too(tmp_path: Path, dialect: str) -> None:
    """With the dialect fixed, a gateway that honours paging gives the page asked for."""
    manner: GatewayManner = "plan" if dialect == "plan" else "newer"
    async with watching(tmp_path, f"gateway: {{dialect: {dialect}}}", manner=manner) as (_, _, viewer):
        reply = await viewer.ask("GET", "/api/kaltura/videos?page=4&pageSize=25")
    assert [video["id"] for video in reply.json["videos"]] == [f"1_e{n:07}" for n in range(20, 0, -1)]


async def test_a_video_is_the_flat_object_that_clients_expect(tmp_path: Path) -> None:
    """The gateway's video comes flat, with the configured partner id."""
    async with watching(tmp_path, "kaltura: {partner_id: 5896392}") as (_, _, viewer):
        reply = await viewer.ask("GET", "/.proxy/api/kaltura/video/1_e0000003")
    assert reply.json == {
        "id": "1_e0000003",
        "title": "Lecture 3: cats and networks",
        "description": "Recorded session 3",
        "duration": 111,
        "thumbnailUrl": "https://cfvod.kaltura.com/p/5896392/thumbnail/entry_id/1_e0000003",
        "partnerId": "5896392",
        "createdAt": "2025-02-22T21:20:00.000Z",
        "views": 33,
        "userId": "teacher0@example.edu",
        "playUrl": "https://www.kaltura.com/api_v3/p/5896392/embedPlaykitJs/uiconf_id/46022343"
        "?entry_id=1_e0000003",
    }


async def test_a_video_that_does_not_exist_is_a_404(tmp_path: Path) -> None:
    """The shell of a video that the gateway sends with 200 is a 404 to the client, never a mock."""
    async with watching(tmp_path) as (_, _, viewer):
        reply = await viewer.ask("GET", "/api/kaltura/video/1_absent00")
    assert (reply.status, reply.source, reply.json["code"]) == (404, "gateway", "not_found")


@pytest.mark.parametrize(
    "fault",
    [
        None,
        Faults(routes=Fault(status=500)),
        Faults(routes=Fault(status=502)),
        Faults(routes=Fault(answer="html")),
        Faults(routes=Fault(answer="truncated")),
        Faults(routes=Fault(answer="reset")),
        Faults(routes=Fault(answer="wrong_types")),
        Faults(auth=Fault(status=503)),
    ],
    ids=lambda fault: "offline" if fault is None else None,
)
async def test_viewers_see_canned_answers_while_the_gateway_fails(
    tmp_path: Path, fault: Faults | None
) -> None:
    """Whatever is wrong with the gateway, lists, searches and videos are 200 and say `canned`."""
    quick = "gateway: {timeout: {attempt: 1s, total: 2s}, retry: {initial: 1ms, max: 1ms}}"
    async with watching(tmp_path, quick) as (sandbox, _, viewer):
        if fault is None:
            await sandbox.gateway.offline()
        else:
            sandbox.gateway.tokens.revoke()
            sandbox.gateway.faults = fault
        for method, target, body in SEVEN[:3]:
            reply = await viewer.ask(method, target, body)
            assert (reply.status, reply.source) == (200, "canned"), target
            assert reply.headers["Cache-Control"] == "no-store"
            assert "activity-proxy; next-hop=gateway" in reply.headers["Proxy-Status"]


async def test_live_answers_come_back_with_the_gateway(tmp_path: Path) -> None:
    """When the gateway is back, so are its answers."""
    text = "gateway: {retry: {initial: 1ms, max: 1ms}}"
    async with watching(tmp_path, text) as (sandbox, _, viewer):
        await viewer.ask(*SEVEN[0])
        await sandbox.gateway.offline()
        away = await viewer.ask("GET", "/api/kaltura/video/1_e0000004")
        await sandbox.gateway.online()
        back = await viewer.ask("GET", "/api/kaltura/video/1_e0000005")
    assert (away.source, back.source) == ("canned", "gateway")


async def test_revoked_tokens_cost_viewers_nothing(tmp_path: Path) -> None:
    """A 401 gets a new token, and the viewer the real answer."""
    async with watching(tmp_path) as (sandbox, _, viewer):
        before = await viewer.ask(*SEVEN[0])
        sandbox.gateway.tokens.revoke()
        after = await viewer.ask("GET", "/api/kaltura/video/1_e0000004")
    assert (before.source, after.source) == ("gateway", "gateway")


async def test_production_never_mocks_a_credential(tmp_path: Path) -> None:
    """In production session and play are an honest 503 while the gateway is away; videos are canned."""
    async with watched(configured(tmp_path, "environment: production")) as (_, viewer):
        session = await viewer.ask(*SEVEN[3])
        play = await viewer.ask(*SEVEN[4])
        video = await viewer.ask(*SEVEN[0])
    for reply in (session, play):
        assert (reply.status, reply.source) == (503, None)
        assert int(reply.headers["Retry-After"]) >= 1
        assert set(reply.json) == {"error", "message", "code", "requestId"}
    assert (video.status, video.source) == (200, "canned")


async def test_production_mocks_a_credential_where_the_operator_says_so(tmp_path: Path) -> None:
    """A fallback that the operator writes out for a route counts, also in production."""
    text = "{environment: production, routes: {session: {fallback: [canned]}}}"
    async with watched(configured(tmp_path, text)) as (_, viewer):
        session = await viewer.ask(*SEVEN[3])
        play = await viewer.ask(*SEVEN[4])
    assert (session.source, play.status) == ("canned", 503)


async def test_live_gives_no_stand_in(tmp_path: Path) -> None:
    """In mode `live` a gateway that is away is an honest error."""
    async with watched(configured(tmp_path, "mode: live")) as (_, viewer):
        reply = await viewer.ask(*SEVEN[0])
    assert (reply.status, reply.json["code"]) == (503, "gateway_token_unavailable")


async def test_offline_never_contacts_the_gateway(tmp_path: Path) -> None:
    """In mode `offline` answers are canned, and the gateway hears nothing, not even a login."""
    async with watching(tmp_path, "mode: offline") as (sandbox, sidecar, viewer):
        replies = [await viewer.ask(*call) for call in SEVEN]
        assert sidecar.status()["breakers"] == {}
        assert sandbox.gateway.calls == {}
    assert [reply.source for reply in replies] == ["canned"] * 5 + ["activity", None]
    assert replies[-1].json["code"] == "gateway_off"


async def test_the_activity_servers_own_mock_stands_in_where_it_is_asked_to(tmp_path: Path) -> None:
    """A ladder that names `activity` gives the Activity server's own answer when the gateway is away."""
    text = "routes: {video: {fallback: [activity, canned]}}"
    async with watching(tmp_path, text) as (sandbox, _, viewer):
        await sandbox.gateway.offline()
        reply = await viewer.ask(*SEVEN[0])
    assert (reply.source, reply.json["title"]) == ("activity", "Sample Video (1_e0000003)")


async def test_an_activity_server_that_is_away_is_a_502_while_routes_go_on(tmp_path: Path) -> None:
    """Without the Activity server what passes through is a 502 in the error shape; the rest is answered."""
    async with watching(tmp_path) as (sandbox, _, viewer):
        await sandbox.activity.close()
        page = await viewer.ask("GET", "/index.html")
        video = await viewer.ask(*SEVEN[0])
        token = await viewer.ask(*SEVEN[5])
    assert (page.status, page.json["code"]) == (502, "activity_unreachable")
    assert (video.status, video.source) == (200, "gateway")
    assert (token.status, token.json["code"]) == (502, "activity_unreachable")
    assert "Activity server" in page.headers["Proxy-Status"]


async def test_the_token_exchange_passes_errors_as_they_are(tmp_path: Path) -> None:
    """What the Activity server says to a bad code is what the client reads."""
    async with watching(tmp_path) as (_, _, viewer):
        missing = await viewer.ask("POST", "/api/token", {})
        invalid = await viewer.ask("POST", "/api/token", {"code": "invalid"})
    assert (missing.status, missing.source) == (400, "activity")
    assert (invalid.status, set(invalid.json)) == (500, {"error", "message"})


class Shifted(SystemClock):
    """The machine's clock, put forward."""

    ahead = 0.0

    def monotonic(self) -> float:
        """Seconds, with those that were skipped."""
        return super().monotonic() + self.ahead


async def test_another_release_after_a_short_outage_is_noticed(tmp_path: Path) -> None:
    """A gateway that comes back as a newer release pages honestly, though no breaker ever opened."""
    clock = Shifted()
    async with Sandbox(manner="plan") as sandbox:
        text = "gateway: {retry: {initial: 1ms, max: 1ms}}"
        configuration = configured(tmp_path, text, activity=sandbox.activity_url, gateway=sandbox.gateway_url)
        async with (
            Sidecar(configuration, clock=clock, drain=0.0, grace=1.0) as sidecar,
            ClientSession() as session,
        ):
            viewer, chosen = Viewer(session, f"http://{sidecar.listen}"), sidecar.parts.dialects.chosen
            await until(lambda: len(chosen()) == 2)
            await sandbox.gateway.offline()
            for number in range(4, 7):
                away = await viewer.ask("GET", f"/api/kaltura/video/1_e{number:07}")
                assert away.source == "canned"
            assert all(breaker.state == "closed" for breaker in sidecar.parts.breakers.values())
            sandbox.gateway.manner = "newer"
            await sandbox.gateway.online()
            clock.ahead = 31.0
            await viewer.ask("GET", "/api/kaltura/video/1_e0000007")
            await until(lambda: {found.dialect for found in chosen().values()} == {"newer"})
            reply = await viewer.ask("GET", "/api/kaltura/videos?page=2&pageSize=3")
    assert [video["id"] for video in reply.json["videos"]] == ["1_e0000092", "1_e0000091", "1_e0000090"]
