"""Retry budget, bulkhead, breakers and the operator's hand on them, in a whole sidecar before the sandbox."""

import asyncio
from pathlib import Path

from aiohttp import ClientSession

from proxy.sandbox import Sandbox
from proxy.sandbox_faults import Fault, Faults
from proxy.sidecar import Sidecar
from tests.clocks import until
from tests.running import SEVEN, Reply, Viewer, watching

FAILING = Faults(routes=Fault(status=500))
TIMEOUT = 10.0
LOGIN = "POST /api/auth/token"


def search(number: int) -> tuple[str, str, object]:
    """A search that no other is like."""
    return "GET", f"/api/kaltura/videos/search?query=cats{number}", None


async def burst(viewer: Viewer, number: int, at_once: int) -> list[Reply]:
    """Let viewers ask for distinct searches, so many at once."""
    gate = asyncio.Semaphore(at_once)

    async def one(which: int) -> Reply:
        async with gate:
            return await viewer.ask(*search(which))

    async with asyncio.timeout(TIMEOUT):
        return await asyncio.gather(*(one(which) for which in range(number)))


async def operate(sidecar: Sidecar, path: str) -> object:
    """Post to the admin listener."""
    async with ClientSession() as session, session.post(f"http://{sidecar.admin}{path}") as response:
        assert response.status == 200
        return await response.json()


def calls(sandbox: Sandbox) -> int:
    """How many calls of routes reached the gateway."""
    return sum(number for path, number in sandbox.gateway.calls.items() if "auth" not in str(path))


async def test_three_hundred_searches_against_a_failing_gateway_cost_it_little(tmp_path: Path) -> None:
    """Fifty viewers with three hundred searches: every one is answered, and at most 60 calls are made."""
    async with watching(tmp_path, "gateway: {dialect: newer}") as (sandbox, _, viewer):
        sandbox.gateway.faults = FAILING
        replies = await burst(viewer, 300, 50)
        made = calls(sandbox)
    assert {(reply.status, reply.source) for reply in replies} == {(200, "canned")}
    assert made <= 60


async def test_with_the_breaker_out_of_the_way_the_budget_bounds_the_retries(tmp_path: Path) -> None:
    """A gateway that fails slowly enough not to trip the breaker is asked 1.2 times the calls."""
    text = "gateway: {dialect: newer, retry: {initial: 1ms, max: 1ms}, breaker: {minimum_calls: 1000000}}"
    async with watching(tmp_path, text) as (sandbox, _, viewer):
        sandbox.gateway.faults = FAILING
        replies = await burst(viewer, 200, 20)
        made = calls(sandbox)
    assert {reply.status for reply in replies} == {200}
    assert 200 < made <= 240


async def test_past_the_limit_calls_fall_back_at_once(tmp_path: Path) -> None:
    """While a gateway hangs with all places taken, the next viewer gets what stands in, and is told why."""
    async with watching(tmp_path, "gateway: {dialect: newer, max_concurrency: 2}") as (sandbox, _, viewer):
        sandbox.gateway.faults = Faults(routes=Fault(answer="hang"))
        hanging = [asyncio.create_task(viewer.ask(*search(number))) for number in range(2)]
        async with asyncio.timeout(TIMEOUT):
            await until(lambda: calls(sandbox) >= 2)
            # The first of these may wait a moment in the queue.
            replies = await asyncio.gather(*(viewer.ask(*search(number)) for number in range(10, 14)))
            assert not any(task.done() for task in hanging)
        made = calls(sandbox)
        for task in hanging:
            task.cancel()
        await asyncio.wait(hanging)
    for reply in replies:
        assert (reply.status, reply.source) == (200, "canned")
        assert "error=connection_limit_reached" in reply.headers["Proxy-Status"]
    assert made == 2


async def test_the_health_page_ends_an_outage_long_before_the_breaker_would(tmp_path: Path) -> None:
    """A breaker that opened for five minutes lets calls through some seconds after the gateway is back."""
    text = "gateway: {dialect: newer, breaker: {minimum_calls: 3, open: 5m, open_max: 5m}}"
    async with watching(tmp_path, text) as (sandbox, sidecar, viewer):
        await viewer.ask(*search(0))
        sandbox.gateway.faults = Faults(all=Fault(status=500))
        replies = [await viewer.ask(*search(number)) for number in range(1, 5)]
        assert replies[-1].source == "canned"
        breaker = sidecar.parts.breakers["catalog"]
        assert (breaker.retry_after or 0.0) > 200.0
        sandbox.gateway.faults = Faults()
        async with asyncio.timeout(TIMEOUT):
            await until(lambda: breaker.state == "half_open")
        replies = [await viewer.ask(*search(number)) for number in range(5, 9)]
    assert {reply.source for reply in replies} == {"gateway"}


async def test_the_operator_takes_the_gateway_off_and_on(tmp_path: Path) -> None:
    """Forced open, calls do not reach the gateway and it is not asked after; reset, they do again."""
    async with watching(tmp_path, "gateway: {dialect: newer}") as (sandbox, sidecar, viewer):
        assert (await viewer.ask(*search(1))).source == "gateway"
        done = await operate(sidecar, "/breakers/catalog/force_open")
        assert done == {"breaker": "catalog", "state": "forced_open"}
        before = sum(sandbox.gateway.calls.values())
        assert (await viewer.ask(*search(2))).source == "canned"
        assert sum(sandbox.gateway.calls.values()) == before
        await operate(sidecar, "/breakers/catalog/reset")
        assert (await viewer.ask(*search(3))).source == "gateway"


async def test_a_purged_cache_asks_the_gateway_again(tmp_path: Path) -> None:
    """What was kept is gone after the operator's purge."""
    async with watching(tmp_path, "gateway: {dialect: newer}") as (_, sidecar, viewer):
        sources = [(await viewer.ask(*SEVEN[0])).source for _ in range(2)]
        assert await operate(sidecar, "/cache/purge") == {"purged": True}
        sources.append((await viewer.ask(*SEVEN[0])).source)
    assert sources == ["gateway", "cache", "gateway"]


async def test_the_token_endpoint_has_a_breaker_of_its_own(tmp_path: Path) -> None:
    """It shows beside the others, and forced open no login is tried."""
    async with watching(tmp_path, "gateway: {dialect: newer}") as (_, sidecar, viewer):
        assert "token" in sidecar.parts.breakers
        await viewer.ask(*search(1))
        async with ClientSession() as session, session.get(f"http://{sidecar.admin}/metrics") as response:
            metrics = await response.text()
    assert 'activity_proxy_breaker_state{breaker="token",state="closed"} 1.0' in metrics
    assert 'activity_proxy_retries_suppressed_total{reason="budget"} 0.0' in metrics


async def test_a_token_endpoint_that_fails_is_left_alone_no_longer_than_a_breaker_is_open(
    tmp_path: Path,
) -> None:
    """So viewers have live answers again as soon after an outage of the tokens as after any other."""
    text = "gateway: {dialect: newer, breaker: {open: 200ms, open_max: 200ms}}"
    async with watching(tmp_path, text) as (sandbox, _, viewer):
        await viewer.ask(*search(1))
        sandbox.gateway.faults = Faults(auth=Fault(status=503))
        sandbox.gateway.tokens.revoke()
        before = sandbox.gateway.calls[LOGIN]
        await viewer.ask(*search(2))
        async with asyncio.timeout(4.0):  # five tries with pauses that double to ten seconds take longer
            await until(lambda: sandbox.gateway.calls[LOGIN] >= before + 5)


async def test_one_failure_is_covered_by_a_retry_that_waits_as_long_as_it_is_asked_to(tmp_path: Path) -> None:
    """The gateway says when to come again, is well by then, and the viewer has its answer."""
    text = "gateway: {dialect: newer, retry: {attempts: 2, initial: 1ms, max: 1ms}}"
    async with watching(tmp_path, text) as (sandbox, _, viewer):
        sandbox.gateway.faults = Faults(routes=Fault(status=503, retry_after=1))
        asking = asyncio.create_task(viewer.ask(*search(1)))
        async with asyncio.timeout(TIMEOUT):
            await until(lambda: calls(sandbox) >= 1)
            await asyncio.sleep(0.3)
            sandbox.gateway.faults = Faults()
            assert (await asking).source == "gateway"
        assert calls(sandbox) == 2


async def test_a_call_that_is_not_safe_to_repeat_is_made_once(tmp_path: Path) -> None:
    """A play that failed at the gateway is not sent again."""
    text = "gateway: {dialect: newer, retry: {initial: 1ms, max: 1ms}}"
    async with watching(tmp_path, text) as (sandbox, _, viewer):
        sandbox.gateway.faults = FAILING
        await viewer.ask("POST", "/api/kaltura/video/1_e0000003/play", {})
        assert calls(sandbox) == 1


async def test_a_long_pause_that_the_gateway_asks_for_is_kept_to_by_all(tmp_path: Path) -> None:
    """After one 429 nobody asks until the pause is over."""
    async with watching(tmp_path, "gateway: {dialect: newer}") as (sandbox, sidecar, viewer):
        sandbox.gateway.faults = Faults(routes=Fault(status=429, retry_after=60))
        replies = [await viewer.ask(*search(number)) for number in range(3)]
        assert calls(sandbox) == 1
        assert {reply.source for reply in replies} == {"canned"}
        assert (sidecar.parts.breakers["catalog"].retry_after or 0.0) > 50.0


async def test_a_failing_token_endpoint_opens_its_breaker(tmp_path: Path) -> None:
    """Logins stop as calls do, and the breakers of the calls know nothing of it."""
    text = "gateway: {dialect: newer, breaker: {minimum_calls: 3, open: 200ms, open_max: 1h}}"
    async with watching(tmp_path, text) as (sandbox, sidecar, viewer):
        await viewer.ask(*search(1))
        sandbox.gateway.faults = Faults(auth=Fault(status=503))
        sandbox.gateway.tokens.revoke()
        await viewer.ask(*search(2))
        async with asyncio.timeout(TIMEOUT):
            await until(lambda: sidecar.parts.breakers["token"].state != "closed")
        assert sidecar.parts.breakers["catalog"].state == "closed"


async def test_no_viewer_waits_past_the_deadline(tmp_path: Path) -> None:
    """While the gateway hangs, attempts end with the call's time, and what stands in comes then."""
    text = "gateway: {dialect: newer, timeout: {connect: 100ms, attempt: 400ms, total: 500ms},"
    text += " retry: {initial: 1ms, max: 1ms}, breaker: {slow_call: 300ms}}"
    async with watching(tmp_path, text) as (sandbox, _, viewer):
        sandbox.gateway.faults = Faults(routes=Fault(answer="hang"))
        reply = await viewer.ask(*search(1))
        assert (reply.status, reply.source) == (200, "canned")
        assert calls(sandbox) <= 2
