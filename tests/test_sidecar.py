"""The sidecar's life: start, what it says of itself, stop."""

import asyncio
import json
import logging
import socket
from pathlib import Path

import pytest
from aiohttp import ClientConnectionError, ClientSession, WSMsgType

from proxy import __version__
from proxy.descriptors import BESIDE
from proxy.events import Event, LifeCycle
from proxy.sandbox import Sandbox
from proxy.sandbox_faults import Fault, Faults
from proxy.sidecar import ADMIN_BOUNDS, Sidecar
from proxy.workshop import Observers
from tests.clocks import settle, until
from tests.origins import client, read_head, request
from tests.running import SEVEN, configured, watched, watching


async def admin(sidecar: Sidecar, page: str) -> tuple[int, str]:
    """What the admin listener says."""
    async with ClientSession() as session, session.get(f"http://{sidecar.admin}{page}") as response:
        return response.status, await response.text()


async def test_health_metrics_and_status_are_on_the_admin_listener_only(tmp_path: Path) -> None:
    """The admin pages answer there; at the public listener their paths are the Activity server's."""
    async with watching(tmp_path) as (_, sidecar, viewer):
        for page in ("/livez", "/readyz", "/metrics", "/status"):
            assert (await admin(sidecar, page))[0] == 200
            assert (await viewer.ask("GET", page)).status == 404


async def test_readiness_does_not_depend_on_the_gateway(tmp_path: Path) -> None:
    """With gateway and Activity server away the sidecar is alive and ready."""
    async with watched(configured(tmp_path)) as (sidecar, viewer):
        await viewer.ask(*SEVEN[0])
        assert await admin(sidecar, "/readyz") == (200, "ready")


async def test_metrics_tell_what_happened(tmp_path: Path) -> None:
    """Requests, attempts, violations and the breaker's state are counted under their names."""
    text = "gateway: {retry: {initial: 1ms, max: 1ms}}"
    async with watching(tmp_path, text) as (sandbox, sidecar, viewer):
        await viewer.ask(*SEVEN[0])
        sandbox.gateway.faults = Faults(routes=Fault(answer="html"))
        await viewer.ask("GET", "/api/kaltura/video/1_e0000004")
        await viewer.ask("GET", "/api/health")
        metrics = (await admin(sidecar, "/metrics"))[1].splitlines()
    for line in (
        'activity_proxy_requests_total{method="GET",route="video",source="gateway",status="200"} 1.0',
        'activity_proxy_requests_total{method="GET",route="video",source="canned",status="200"} 1.0',
        'activity_proxy_requests_total{method="GET",route="pass",source="activity",status="200"} 1.0',
        'activity_proxy_gateway_attempts_total{outcome="ok",route="video"} 1.0',
        'activity_proxy_gateway_attempts_total{outcome="contract",route="video"} 3.0',
        'activity_proxy_retries_total{reason="contract",route="video"} 2.0',
        'activity_proxy_contract_violations_total{field="body",route="video"} 3.0',
        'activity_proxy_breaker_state{breaker="catalog",state="closed"} 1.0',
        'activity_proxy_token_requests_total{outcome="login",subject="service"} 1.0',
        'activity_proxy_in_flight{listener="public"} 0.0',
    ):
        assert line in metrics


async def test_the_status_tells_the_dialect_and_no_secret(tmp_path: Path) -> None:
    """The status names what `auto` chose and why, each route's ladder, and no token."""
    text = "{gateway: {token: s3cret-token}, admin_token: s3cret-admin}"
    async with watching(tmp_path, text) as (_, sidecar, viewer):
        await viewer.ask(*SEVEN[3])  # finds out that there is no session call
        _, status = await admin(sidecar, "/status")
        chosen = sidecar.parts.dialects.chosen()
    assert chosen["session"].dialect == "newer"
    assert chosen["session"].why in status
    assert "s3cret" not in status
    assert "eyJ" not in status


async def test_whoever_holds_the_admin_listener_takes_no_room_of_viewers(tmp_path: Path) -> None:
    """It takes some hundred connections; more are told so, and viewers are served."""
    async with watched(configured(tmp_path, "mode: offline")) as (sidecar, viewer):
        where = sidecar.admin.host, sidecar.admin.port
        held = [await asyncio.open_connection(*where) for _ in range(ADMIN_BOUNDS.connections)]
        status, _ = await admin(sidecar, "/metrics")
        assert (await viewer.ask(*SEVEN[0])).status == 200
        for _, writer in held:
            writer.close()
    assert status == 503
    assert ADMIN_BOUNDS.connections < BESIDE


async def test_the_log_tells_of_a_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Which version runs since when, how and where; the line on standard output is for who waits for it."""
    with caplog.at_level(logging.INFO, logger="activity_proxy"):
        async with watched(configured(tmp_path, "mode: offline")) as (sidecar, _):
            ready = [record for record in caplog.records if record.message == "ready"]
            where = {"public": str(sidecar.listen), "admin": str(sidecar.admin)}
    (fields,) = [vars(record)["fields"] for record in ready]
    assert fields == {"version": __version__, "environment": "development", "mode": "offline", **where}


async def test_the_status_tells_how_much_is_kept(tmp_path: Path) -> None:
    """In bytes and entries, as the metrics do."""
    async with watching(tmp_path) as (_, sidecar, viewer):
        empty = json.loads((await admin(sidecar, "/status"))[1])["cache"]
        await viewer.ask(*SEVEN[0])
        kept = json.loads((await admin(sidecar, "/status"))[1])["cache"]
        metrics = (await admin(sidecar, "/metrics"))[1].splitlines()
    assert empty == {"bytes": 0, "entries": 0}
    assert kept["entries"] == 1
    assert f"activity_proxy_cache_bytes {float(kept['bytes'])}" in metrics


async def test_a_breaker_that_opens_shows_and_keeps_the_gateway_alone(tmp_path: Path) -> None:
    """After enough failures calls do not reach the gateway any more, and viewers see canned answers."""
    text = (
        "gateway: {retry: {attempts: 1}, breaker: {minimum_calls: 3, open: 5m, open_max: 5m}, dialect: newer}"
    )
    async with watching(tmp_path, text) as (sandbox, sidecar, viewer):
        sandbox.gateway.faults = Faults(routes=Fault(status=500))
        replies = [await viewer.ask("GET", f"/api/kaltura/video/1_e000000{n}") for n in range(8)]
        calls = sum(sandbox.gateway.calls.values())
        metrics = (await admin(sidecar, "/metrics"))[1].splitlines()
        ready, _ = await admin(sidecar, "/readyz")
    assert {reply.source for reply in replies} == {"canned"}
    assert calls == 3 + 1  # three calls and the login
    assert 'activity_proxy_breaker_state{breaker="catalog",state="open"} 1.0' in metrics
    assert 'activity_proxy_breaker_rejected_total{breaker="catalog"} 5.0' in metrics
    assert ready == 200


async def test_running_requests_end_before_the_sidecar_does(tmp_path: Path) -> None:
    """Stopping waits for the answer to a request that is under way, and takes no new connections."""
    async with watching(tmp_path) as (sandbox, sidecar, viewer):
        await viewer.ask(*SEVEN[0])
        sandbox.gateway.faults = Faults(routes=Fault(latency=0.3))
        before = sum(sandbox.gateway.calls.values())
        under_way = asyncio.create_task(viewer.ask("GET", "/api/kaltura/video/1_e0000004"))
        await until(lambda: sum(sandbox.gateway.calls.values()) > before)
        await sidecar.stop()
        reply = await under_way
        assert (reply.status, reply.source) == (200, "gateway")
        with pytest.raises(OSError, match="Connect"):
            socket.create_connection((sidecar.listen.host, sidecar.listen.port), timeout=1)


async def test_it_is_not_ready_while_it_drains(tmp_path: Path) -> None:
    """Between the order to stop and the end of listening it still answers, but is not ready."""
    configuration = configured(tmp_path, "mode: offline")
    async with watched(configuration, drain=60.0) as (sidecar, viewer):
        stopping = asyncio.create_task(sidecar.stop())
        await settle()
        ready, _ = await admin(sidecar, "/readyz")
        reply = await viewer.ask(*SEVEN[0])
        stopping.cancel()
        await asyncio.wait({stopping})
        await sidecar.stop(at_once=True)
    assert (ready, reply.status) == (503, 200)


async def test_stopping_at_once_cuts_what_runs(tmp_path: Path) -> None:
    """Told to stop at once, it does not wait for a gateway that hangs."""
    async with watching(tmp_path) as (sandbox, sidecar, viewer):
        sandbox.gateway.faults = Faults(routes=Fault(answer="hang"))
        before = sum(sandbox.gateway.calls.values())
        under_way = asyncio.create_task(viewer.ask("GET", "/api/kaltura/video/1_e0000004"))
        await until(lambda: sum(sandbox.gateway.calls.values()) > before)
        await sidecar.stop(at_once=True)
        with pytest.raises(ClientConnectionError):
            await under_way


async def test_websockets_are_told_that_the_sidecar_goes_away(tmp_path: Path) -> None:
    """A WebSocket that is open when the sidecar stops is closed with 1001."""
    async with (
        watching(tmp_path) as (_, sidecar, viewer),
        viewer.session.ws_connect(f"{viewer.base}/ws", protocols=["echo"]) as client,
    ):
        await client.send_str("hello")
        assert (await client.receive()).data == "hello"
        stopping = asyncio.create_task(sidecar.stop())
        message = await client.receive()
        await client.close()
        await stopping
    assert (message.type, message.data) == (WSMsgType.CLOSE, 1001)


async def test_an_address_in_use_is_an_error_that_leaves_nothing(tmp_path: Path) -> None:
    """A start that cannot bind raises OSError and leaves no task and no socket behind."""
    async with watched(configured(tmp_path, "mode: offline")) as (sidecar, _):
        configuration = configured(tmp_path)
        taken = configuration.settings.model_copy(update={"admin": sidecar.admin})
        other = Sidecar(type(configuration)(taken, configuration.tables, configuration.mocks))
        before = len(asyncio.all_tasks())
        with pytest.raises(OSError, match="in use"):
            await other.start()
        await settle()
        assert len(asyncio.all_tasks()) == before
        assert not other.ready


async def test_nothing_is_left_after_a_stop(tmp_path: Path) -> None:
    """Start, work and stop leave no task behind, however the gateway behaves."""
    before = len(asyncio.all_tasks())
    async with watching(tmp_path) as (sandbox, _, viewer):
        await viewer.ask(*SEVEN[0])
        await sandbox.gateway.offline()
        await viewer.ask(*SEVEN[1])
    await settle()
    assert len(asyncio.all_tasks()) == before


async def test_a_part_is_not_to_be_had_before_the_start(tmp_path: Path) -> None:
    """The parts of a sidecar that has not started are asked for in vain."""
    with pytest.raises(RuntimeError, match="not started"):
        _ = Sidecar(configured(tmp_path)).parts


@pytest.mark.parametrize(("host", "status"), [("here.example", b"200"), ("there.example", b"400")])
async def test_an_absolute_target_must_name_the_host_it_is_sent_to(
    tmp_path: Path, host: str, status: bytes
) -> None:
    """A target and a Host field that disagree could be read as two requests, and are refused."""
    async with watched(configured(tmp_path, "mode: offline")) as (sidecar, _):
        reader, writer = await asyncio.open_connection(sidecar.listen.host, sidecar.listen.port)
        target = f"http://here.example/api/kaltura/video/1_abc HTTP/1.1\r\nHost: {host}"
        writer.write(f"GET {target}\r\nConnection: close\r\n\r\n".encode())
        assert (await reader.readline()).split()[1] == status
        writer.close()
        await writer.wait_closed()


async def test_what_never_ends_has_the_grace_once_and_together(tmp_path: Path) -> None:
    """An endless event stream and a WebSocket that answers no close frame hold a stop up for one grace."""
    async with Sandbox(event_interval=0.01) as sandbox:
        configuration = configured(tmp_path, activity=sandbox.activity_url, gateway=sandbox.gateway_url)
        async with (
            watched(configuration, grace=0.5) as (sidecar, viewer),
            viewer.session.get(f"{viewer.base}/events?count=1000000") as stream,
            client(sidecar.listen.port) as (reader, writer),
        ):
            await stream.content.readline()
            fields = (b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13")
            writer.write(request(b"GET /ws", *fields, b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="))
            assert (await read_head(reader)).status == 101
            begun = asyncio.get_running_loop().time()
            await sidecar.stop()
            assert asyncio.get_running_loop().time() - begun < 2 * 0.5
            assert (len(sidecar.parts.tunnels), sidecar.ready) == (0, False)
            stream.close()


@pytest.mark.parametrize("target", ["/api/kaltura/video/1_abc", "/api/health"])
async def test_answers_end_their_connections_while_it_stops(tmp_path: Path, target: str) -> None:
    """From the order to stop on, no client is led to send its next request into a closed connection."""
    async with Sandbox() as sandbox:
        configuration = configured(tmp_path, activity=sandbox.activity_url, gateway=sandbox.gateway_url)
        async with watched(configuration, drain=60.0) as (sidecar, viewer):
            async with viewer.session.get(viewer.base + target) as before:
                await before.read()
            stopping = asyncio.create_task(sidecar.stop())
            await settle()
            async with viewer.session.get(viewer.base + target) as during:
                await during.read()
            stopping.cancel()
            await asyncio.wait({stopping})
            await sidecar.stop(at_once=True)
    assert before.headers.get("Connection", "keep-alive") == "keep-alive"
    assert during.headers["Connection"] == "close"


async def test_refused_requests_are_counted_on_both_listeners(tmp_path: Path) -> None:
    """What is no HTTP gets an error that says nothing of the software, and shows in the metrics."""
    async with watched(configured(tmp_path, "mode: offline")) as (sidecar, _):
        for where in (sidecar.listen, sidecar.admin):
            reader, writer = await asyncio.open_connection(where.host, where.port)
            writer.write(b"this is no request\r\n\r\n")
            answer = await reader.read()
            assert answer.startswith(b"HTTP/1.0 400")
            assert b"aiohttp" not in answer
            assert b"this is" not in answer
            writer.close()
            await writer.wait_closed()
        metrics = (await admin(sidecar, "/metrics"))[1]
    refused = [line for line in metrics.splitlines() if 'route="none",source="error",status="400"' in line]
    assert sum(float(line.split()[-1]) for line in refused if "requests_total" in line) == 2


async def test_the_stop_is_logged(tmp_path: Path) -> None:
    """An operator sees when a stop begins, what is open then, and when it is over."""
    events: list[Event] = []
    async with watched(configured(tmp_path, "mode: offline")) as (sidecar, _):
        observe = sidecar.parts.observe
        assert isinstance(observe, Observers)
        observe.listeners.append(events.append)
        await sidecar.stop()
    assert [event.phase for event in events if isinstance(event, LifeCycle)] == ["stopping", "stopped"]
