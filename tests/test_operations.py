"""What an operator does at the admin listener, through a whole sidecar."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from proxy.events import Operated
from proxy.sandbox_faults import Fault, Faults
from proxy.sidecar import Sidecar
from tests.clocks import until
from tests.running import SEVEN, configured, watched, watching

VIDEO = "GET /api/videos/{id}"


async def post(sidecar: Sidecar, path: str, method: str = "POST", **headers: str) -> tuple[int, Any]:
    """Ask the admin listener to do something."""
    named: Mapping[str, str] = {name.replace("_", "-"): value for name, value in headers.items()}
    async with (
        ClientSession() as session,
        session.request(method, f"http://{sidecar.admin}{path}", headers=named) as response,
    ):
        return response.status, await response.json()


async def test_a_breaker_is_forced_open_and_reset(tmp_path: Path) -> None:
    """Forced open, viewers get what stands in; reset, the gateway's own answers again."""
    async with watching(tmp_path) as (_, sidecar, viewer):
        forced = await post(sidecar, "/breakers/catalog/force_open")
        away = await viewer.ask(*SEVEN[0])
        reset = await post(sidecar, "/breakers/catalog/reset")
        back = await viewer.ask("GET", "/api/kaltura/video/1_e0000005")
    assert forced == (200, {"breaker": "catalog", "state": "forced_open"})
    assert reset == (200, {"breaker": "catalog", "state": "closed"})
    assert (away.source, back.source) == ("canned", "gateway")


async def test_the_cache_is_purged(tmp_path: Path) -> None:
    """After a purge the gateway is asked again, and a restart brings nothing back."""
    text = f"cache: {{snapshot: {tmp_path / 'snapshot'}}}"
    async with watching(tmp_path, text) as (_, sidecar, viewer):
        await viewer.ask(*SEVEN[0])
        kept = await viewer.ask(*SEVEN[0])
        done = await post(sidecar, "/cache/purge")
        content = (tmp_path / "snapshot").read_bytes()
        after = await viewer.ask(*SEVEN[0])
    assert done == (200, {"purged": True})
    assert (kept.source, after.source) == ("cache", "gateway")
    assert b"1_e0000003" not in content


async def test_a_purge_that_fails_is_told(tmp_path: Path) -> None:
    """A script must not take it for done: what a snapshot cannot be cleared of would come back."""
    acts: list[Operated] = []
    async with watched(configured(tmp_path, "cache: {snapshot: nowhere/answers}")) as (sidecar, _):
        sidecar.parts.observe.listen(acts.append, Operated)  # type: ignore[attr-defined]  # the workshop's
        assert await post(sidecar, "/cache/purge") == (503, {"purged": False})
    assert [act.outcome for act in acts] == [{"purged": False}]


async def test_a_purge_reaches_what_is_under_way(tmp_path: Path) -> None:
    """An answer that the gateway gives after the purge to a call from before it is given, and not kept."""
    text = f"cache: {{snapshot: {tmp_path / 'snapshot'}}}"
    async with watching(tmp_path, text) as (sandbox, sidecar, viewer):
        sandbox.gateway.faults = Faults(routes=Fault(latency=0.4))
        asking = asyncio.create_task(viewer.ask(*SEVEN[0]))
        await until(lambda: sandbox.gateway.calls[VIDEO] == 1)
        assert (await post(sidecar, "/cache/purge"))[0] == 200
        assert (await asking).headers["Cache-Status"] == "activity-proxy; fwd=miss"
        sandbox.gateway.faults = Faults()
        assert (await viewer.ask(*SEVEN[0])).source == "gateway"
        assert sandbox.gateway.calls[VIDEO] == 2


async def test_each_act_is_told(tmp_path: Path) -> None:
    """What an operator does is told with its outcome, also where it changes nothing; a refused one is not."""
    acts: list[Operated] = []
    async with watched(configured(tmp_path)) as (sidecar, _):
        sidecar.parts.observe.listen(acts.append, Operated)  # type: ignore[attr-defined]  # the workshop's
        await post(sidecar, "/breakers/catalog/reset")
        await post(sidecar, "/breakers/catalog/force_open")
        await post(sidecar, "/cache/purge")
        await post(sidecar, "/cache/purge", "GET")
        await post(sidecar, "/cache/purge", Origin="http://evil.example")
    assert [(act.path, act.outcome) for act in acts] == [
        ("/breakers/catalog/reset", {"breaker": "catalog", "state": "closed"}),
        ("/breakers/catalog/force_open", {"breaker": "catalog", "state": "forced_open"}),
        ("/cache/purge", {"purged": True}),
    ]
    assert {act.client for act in acts} == {"127.0.0.1"}


async def test_nothing_is_done_by_get(tmp_path: Path) -> None:
    """A link cannot act."""
    async with watched(configured(tmp_path)) as (sidecar, _):
        status, body = await post(sidecar, "/breakers/catalog/force_open", "GET")
        assert (status, body["code"]) == (405, "method_not_allowed")
        assert sidecar.parts.breakers["catalog"].state == "closed"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Host": "evil.example"},
    ],
)
async def test_a_foreign_page_cannot_act(tmp_path: Path, headers: dict[str, str]) -> None:
    """What another site's page makes its visitor's browser send is turned away."""
    async with watched(configured(tmp_path)) as (sidecar, _):
        status, _ = await post(sidecar, "/breakers/catalog/force_open", **headers)
        assert status == 403
        assert sidecar.parts.breakers["catalog"].state == "closed"


async def test_the_listeners_own_page_can_act(tmp_path: Path) -> None:
    """A request of the same origin is the operator's."""
    async with watched(configured(tmp_path)) as (sidecar, _):
        status, _ = await post(
            sidecar,
            "/breakers/catalog/force_open",
            Origin=f"http://{sidecar.admin}",
            Sec_Fetch_Site="same-origin",
        )
        assert status == 200


async def test_an_unknown_breaker_is_told_with_those_there_are(tmp_path: Path) -> None:
    """A typo names the right paths."""
    async with watched(configured(tmp_path)) as (sidecar, _):
        status, body = await post(sidecar, "/breakers/katalog/reset")
    assert (status, body["code"]) == (404, "not_found")
    assert "POST /breakers/catalog/reset" in body["message"]


async def test_offline_has_nothing_to_force(tmp_path: Path) -> None:
    """Without a gateway there are no breakers and no cache."""
    async with watched(configured(tmp_path, "mode: offline")) as (sidecar, _):
        assert (await post(sidecar, "/cache/purge"))[0] == 404
