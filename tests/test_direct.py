"""Direct Kaltura in a whole sidecar: before the sandbox, with its gateway failing."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientSession

from proxy.sandbox import Sandbox
from proxy.sandbox_faults import Fault, Faults
from proxy.sandbox_kaltura import ADMIN_SECRET
from proxy.sidecar import Sidecar
from tests.clocks import until
from tests.origins import answering
from tests.running import SEVEN, Reply, Viewer, configured, watched
from tests.viewers import sign_in

VIDEO, VIDEOS, SEARCH, SESSION, PLAY = SEVEN[:5]
FAILING = Faults(routes=Fault(status=503))
NEWER = "gateway: {dialect: newer, retry: {attempts: 1}}\n"
PRODUCTION = "environment: production\n"


def switched_on(url: str, secret: str = ADMIN_SECRET) -> str:
    """Return the settings of direct Kaltura at that endpoint."""
    return f"kaltura: {{enabled: true, url: '{url}', partner_id: 5896392, admin_secret: {secret}}}\n"


@asynccontextmanager
async def directly(
    folder: Path, text: str = "", gateway: str = NEWER
) -> AsyncIterator[tuple[Sandbox, Sidecar, Viewer]]:
    """Run a sandbox with a sidecar in front that may ask its Kaltura."""
    async with Sandbox() as sandbox:
        text = switched_on(sandbox.kaltura.url) + gateway + text
        configuration = configured(
            folder,
            text,
            activity=sandbox.activity_url,
            gateway=sandbox.gateway_url,
            discord=sandbox.discord_url,
        )
        async with watched(configuration) as (sidecar, viewer):
            yield sandbox, sidecar, viewer


async def ask_all(viewer: Viewer) -> list[Reply]:
    """Ask for what Kaltura can answer."""
    return [await viewer.ask(*request) for request in (VIDEO, VIDEOS, SEARCH, SESSION)]


async def post(sidecar: Sidecar, path: str) -> None:
    """Post to the admin listener."""
    async with ClientSession() as session, session.post(f"http://{sidecar.admin}{path}") as response:
        assert response.status == 200


async def test_kaltura_answers_for_a_gateway_that_fails(tmp_path: Path) -> None:
    """In production too: video, list, search and session are Kaltura's, and each answer says so."""
    async with directly(tmp_path, PRODUCTION) as (sandbox, _, viewer):
        await sandbox.gateway.offline()
        video, videos, found, session = replies = await ask_all(viewer)
        play = await viewer.ask(*PLAY)
    assert {(reply.status, reply.source) for reply in replies} == {(200, "kaltura")}
    assert (video.json["title"], videos.json["totalCount"]) == ("Lecture 3: cats and networks", 95)
    assert [item["id"] for item in found.json["videos"]] == ["1_e0000095", "1_e0000093"]
    assert session.headers["Cache-Control"] == "no-store"
    assert "Cache-Control" not in video.headers
    assert video.headers["Cache-Status"] == "activity-proxy; fwd=miss"
    for reply in replies:
        assert reply.headers["Proxy-Status"].startswith("activity-proxy; next-hop=gateway; ")
    started = sandbox.kaltura.sessions[session.json["ks"]]
    assert (started.user, *started.privileges) == ("anonymous", "sview:1_e0000003")  # nobody signed in
    assert (play.status, play.source) == (503, None)


async def test_what_was_kept_comes_before_kaltura_and_kaltura_before_mocks(tmp_path: Path) -> None:
    """Kaltura's answers are not kept: what it said once is asked anew, the gateway first."""
    async with directly(tmp_path, "routes: {video: {max_age: 0.001ms, stale_while_revalidate: 0.001ms}}") as (
        sandbox,
        _,
        viewer,
    ):
        assert (await viewer.ask(*VIDEO)).source == "gateway"
        sandbox.gateway.faults = FAILING
        assert (await viewer.ask(*VIDEO)).source == "stale"
        assert (await viewer.ask(*SEARCH)).source == "kaltura"
        sandbox.gateway.faults = Faults()
        assert (await viewer.ask(*SEARCH)).source == "gateway"
        sandbox.gateway.faults = FAILING
        await sandbox.kaltura.offline()
        canned = await viewer.ask(*VIDEOS)
    assert canned.source == "canned"
    hops = canned.headers["Proxy-Status"].split(", activity-proxy; ")
    assert [hop.split("next-hop=")[1].split(";")[0] for hop in hops] == ["gateway", "kaltura"]


async def test_viewers_who_ask_for_the_same_share_kalturas_answer(tmp_path: Path) -> None:
    """Twenty at once cost Kaltura one call."""
    async with directly(tmp_path) as (sandbox, _, viewer):
        sandbox.gateway.faults = FAILING
        sandbox.kaltura.faults = Faults(routes=Fault(latency=0.2))
        replies = await asyncio.gather(*(viewer.ask(*VIDEO) for _ in range(20)))
        assert {reply.source for reply in replies} == {"kaltura"}
        assert sandbox.kaltura.calls["media.get"] == 1
        assert {reply.headers["Cache-Status"] for reply in replies} == {
            "activity-proxy; fwd=miss",
            "activity-proxy; fwd=miss; collapsed",
        }


async def test_a_gateway_that_hangs_leaves_kaltura_its_time(tmp_path: Path) -> None:
    """One that answers nothing until its time is over is covered for before any breaker knows of it."""
    times = "timeout: {connect: 100ms, attempt: 500ms, total: 1s}, breaker: {slow_call: 1s}"
    text = f"gateway: {{dialect: newer, {times}}}"
    async with directly(tmp_path, text, gateway="") as (sandbox, sidecar, viewer):
        await until(lambda: sidecar.parts.tokens is not None and sidecar.parts.tokens.status.age is not None)
        sandbox.gateway.faults = Faults(routes=Fault(answer="hang"))
        reply = await viewer.ask(*VIDEO)
        assert {breaker.state for breaker in sidecar.parts.breakers.values()} == {"closed"}
    assert (reply.status, reply.source) == (200, "kaltura")
    assert "error=http_response_timeout" in reply.headers["Proxy-Status"]


async def test_an_absent_video_is_a_404_of_kaltura(tmp_path: Path) -> None:
    """With the gateway away Kaltura's word that there is no such video is the answer."""
    async with directly(tmp_path) as (sandbox, _, viewer):
        await sandbox.gateway.offline()
        reply = await viewer.ask("GET", "/api/kaltura/video/1_absent00")
    assert (reply.status, reply.source, reply.json["code"]) == (404, "kaltura", "not_found")


@pytest.mark.parametrize(
    "text",
    [
        "kaltura: {{enabled: false, url: '{url}', partner_id: 1, admin_secret: s}}",
        "mode: live\nkaltura: {{enabled: true, url: '{url}', partner_id: 1, admin_secret: s}}",
        "mode: offline\nkaltura: {{enabled: true, url: '{url}', partner_id: 1, admin_secret: s}}",
        (
            "mode: live\nroutes: {{session: {{prefer: kaltura}}}}\n"
            "kaltura: {{enabled: true, url: '{url}', partner_id: 1, admin_secret: s}}"
        ),
    ],
)
async def test_switched_off_it_is_never_contacted(tmp_path: Path, text: str) -> None:
    """Not one connection is opened, at start or with the gateway failing; nor in modes live and offline."""
    async with answering(b"") as kaltura, Sandbox() as sandbox:
        configuration = configured(
            tmp_path,
            NEWER + text.format(url=kaltura.url.origin()),
            activity=sandbox.activity_url,
            gateway=sandbox.gateway_url,
        )
        sandbox.gateway.faults = FAILING
        async with watched(configuration) as (sidecar, viewer):
            replies = await ask_all(viewer)
            assert "kaltura" not in sidecar.parts.breakers
            assert sidecar.status()["kaltura"] is None
        assert kaltura.connections == 0
    assert "kaltura" not in {reply.source for reply in replies}


async def test_a_preferred_kaltura_gives_sessions_their_privilege(tmp_path: Path) -> None:
    """The gateway is not asked while Kaltura answers, and answers when it does not."""
    async with directly(tmp_path, PRODUCTION + "routes: {session: {prefer: kaltura}}") as (
        sandbox,
        _,
        viewer,
    ):
        await until(lambda: bool(sandbox.gateway.calls) and bool(sandbox.kaltura.calls))
        sandbox.gateway.calls.clear()
        preferred = await viewer.ask(*SESSION)
        assert not sandbox.gateway.calls
        assert "Proxy-Status" not in preferred.headers
        assert sandbox.kaltura.sessions[preferred.json["ks"]].privileges == {"sview:1_e0000003"}
        assert (await viewer.ask(*VIDEO)).source == "gateway"
        await sandbox.kaltura.offline()
        other = await viewer.ask(*SESSION)
        await sandbox.gateway.offline()
        neither = await viewer.ask(*SESSION)
    assert (preferred.source, other.source) == ("kaltura", "gateway")
    assert other.headers["Proxy-Status"].startswith("activity-proxy; next-hop=kaltura; ")
    assert (neither.status, neither.json["code"]) == (503, "gateway_unreachable")


async def test_a_viewer_who_signed_in_has_a_session_of_their_own(tmp_path: Path) -> None:
    """The user of Kaltura's session is who Discord says, named as the gateway names them."""
    async with directly(tmp_path, PRODUCTION) as (sandbox, _, viewer):
        people = [await sign_in(viewer, code) for code in ("one", "two")]
        await sandbox.gateway.offline()
        for person in people:
            body = {"videoId": "1_e0000003", "userId": people[0].id}
            reply = await person.ask("POST", "/api/kaltura/session", body)
            assert reply.source == "kaltura"
            assert sandbox.kaltura.sessions[reply.json["ks"]].user == f"discord_{person.id}"
    assert people[0].id != people[1].id


async def test_its_breaker_is_its_own_and_the_operators(tmp_path: Path) -> None:
    """`kaltura` stands beside the gateway's: in the status, in the metrics, and under the operator's hand."""
    async with directly(tmp_path) as (sandbox, sidecar, viewer):
        sandbox.gateway.faults = FAILING
        assert (await viewer.ask(*VIDEO)).source == "kaltura"
        await post(sidecar, "/breakers/kaltura/force_open")
        assert (await viewer.ask(*VIDEO)).source == "canned"
        status = sidecar.status()
        assert status["breakers"]["kaltura"]["state"] == "forced_open"  # type: ignore[index]
        metrics = sidecar.parts.metrics.exposition("")[0].decode()
        assert 'activity_proxy_breaker_state{breaker="kaltura",state="forced_open"} 1.0' in metrics
        assert 'activity_proxy_contract_violations_total{field="totalCount",route="videos"} 0.0' in metrics
        await post(sidecar, "/breakers/kaltura/reset")
        assert (await viewer.ask(*VIDEO)).source == "kaltura"


async def test_a_failing_kaltura_opens_its_breaker_alone(tmp_path: Path) -> None:
    """Ten failures and it is left alone; the gateway's breakers hear nothing of it."""
    async with directly(tmp_path, "routes: {session: {prefer: kaltura}}") as (sandbox, sidecar, viewer):
        sandbox.kaltura.faults = Faults(all=Fault(status=500))
        replies = [await viewer.ask(*SESSION) for _ in range(12)]
        assert {reply.source for reply in replies} == {"gateway"}
        states = {name: breaker.state for name, breaker in sidecar.parts.breakers.items()}
        assert states.pop("kaltura") == "open"
        assert set(states.values()) == {"closed"}
        made = sum(sandbox.kaltura.calls.values())
        await viewer.ask(*SESSION)
        assert sum(sandbox.kaltura.calls.values()) == made


async def test_a_wrong_secret_is_told_and_shown_to_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log and the status say that there is no session; neither they nor an answer holds the secret."""
    caplog.set_level(logging.DEBUG)
    async with Sandbox() as sandbox:
        text = switched_on(sandbox.kaltura.url, "n0t-the-secret") + NEWER + PRODUCTION
        configuration = configured(tmp_path, text, activity=sandbox.activity_url, gateway=sandbox.gateway_url)
        async with watched(configuration) as (sidecar, viewer):
            sandbox.gateway.faults = Faults(all=Fault(status=503))
            replies = await ask_all(viewer)
            status = json.dumps(sidecar.status(), default=str)
            metrics = sidecar.parts.metrics.exposition("")[0].decode()
    assert "START_SESSION_ERROR" in status
    assert "no Kaltura session for reading" in caplog.text
    assert replies[3].status == 503
    told = [str(reply.json) + str(dict(reply.headers)) for reply in replies]
    assert "n0t-the-secret" not in "".join([status, metrics, caplog.text, *told])


async def test_no_session_of_kaltura_is_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Though Kaltura quotes a KS that it refuses, nothing but the viewer's own answer holds one."""
    caplog.set_level(logging.DEBUG)
    async with directly(tmp_path, PRODUCTION) as (sandbox, sidecar, viewer):
        await sandbox.gateway.offline()
        await ask_all(viewer)
        known = list(sandbox.kaltura.sessions)
        sandbox.kaltura.revoke()
        session = await viewer.ask(*SESSION)
        others = [await viewer.ask(*request) for request in (VIDEO, VIDEOS, SEARCH)]
        known += list(sandbox.kaltura.sessions)
        status = json.dumps(sidecar.status(), default=str)
        metrics = sidecar.parts.metrics.exposition("")[0].decode()
    assert session.json["ks"] in known
    told = [str(reply.json) + str(dict(reply.headers)) for reply in others]
    everything = "".join([status, metrics, caplog.text, *told])
    assert len(known) == 4
    assert not [ks for ks in known if ks in everything]
    assert "sandbox-admin-secret" not in everything


async def test_nobody_waits_in_a_queue_for_a_kaltura_that_is_kept_back(tmp_path: Path) -> None:
    """Calls that hang keep their places after its breaker has opened; later ones do not wait for them."""
    gateway = "gateway: {dialect: newer, max_concurrency: 1}\n"
    async with directly(tmp_path, gateway=gateway) as (sandbox, sidecar, viewer):
        assert sidecar.parts.kaltura is not None
        await sidecar.parts.kaltura.get()
        sidecar.parts.breakers["catalog"].force_open()
        sandbox.kaltura.faults = Faults(all=Fault(answer="hang"))
        hanging = asyncio.create_task(viewer.ask("GET", "/api/kaltura/video/1_hang"))
        await until(lambda: sandbox.kaltura.calls["media.get"] == 1)
        sidecar.parts.breakers["kaltura"].force_open()
        reply = await viewer.ask(*VIDEO)
        assert not hanging.done()
        hanging.cancel()
        await asyncio.wait([hanging])
    assert reply.source == "canned"
    assert "the circuit breaker kaltura is forced open" in reply.headers["Proxy-Status"]
