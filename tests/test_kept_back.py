"""What an open breaker keeps back costs nothing and waits for nothing."""

import asyncio
from pathlib import Path

import pytest

from proxy.breaker import BreakerOpen
from proxy.call import Answer, Call
from proxy.events import BreakerRejected
from proxy.kept_back import KeptBack
from proxy.sandbox_faults import Fault, Faults
from tests.breakers import Bench
from tests.clocks import until
from tests.gateway_fakes import call_of
from tests.running import watching

CALL = call_of("plan", "GET", "/api/kaltura/video/1_cats")
LIMIT = 10.0


async def answer(_call: Call) -> Answer:
    """Answer."""
    return Answer(200, b"{}", "gateway")


def stage(bench: Bench) -> KeptBack:
    """Return the stage before a source that answers."""
    return KeptBack(answer, lambda _call: bench.breaker.acquire())


async def test_an_open_breaker_refuses_before_anything_else() -> None:
    """The call comes nowhere near the gateway, and counts as kept back once."""
    bench = Bench()
    bench.breaker.force_open()
    with pytest.raises(BreakerOpen):
        await stage(bench)(CALL)
    assert [event for event in bench.events if isinstance(event, BreakerRejected)] == [
        BreakerRejected("video")
    ]


async def test_looking_takes_no_place() -> None:
    """A half-open breaker still has all its places for the attempts themselves."""
    bench = Bench()
    bench.fail(10)
    bench.clock.shift(bench.settings.open)
    for _ in range(2 * bench.settings.half_open_calls):
        assert (await stage(bench)(CALL)).source == "gateway"
    for _ in range(bench.settings.half_open_calls):
        bench.breaker.acquire()
    with pytest.raises(BreakerOpen):
        await stage(bench)(CALL)


async def test_nobody_waits_in_a_queue_for_a_refusal(tmp_path: Path) -> None:
    """Calls that hang keep their places after the breaker has opened; later ones do not wait for them."""
    text = "gateway: {dialect: newer, breaker: {minimum_calls: 1}, max_concurrency: 2}"
    async with watching(tmp_path, text) as (sandbox, sidecar, viewer):
        sandbox.gateway.faults = Faults(routes=Fault(answer="hang"))
        before = sum(sandbox.gateway.calls.values())
        hanging = [
            asyncio.create_task(viewer.ask("GET", f"/api/kaltura/video/1_hang{number}")) for number in (1, 2)
        ]
        async with asyncio.timeout(LIMIT):
            await until(lambda: sum(sandbox.gateway.calls.values()) >= before + 2)
        for breaker in sidecar.parts.breakers.values():
            breaker.force_open()
        reply = await viewer.ask("GET", "/api/kaltura/video/1_next")
        assert not any(task.done() for task in hanging)
        for task in hanging:
            task.cancel()
        await asyncio.wait(hanging)
    assert reply.source == "canned"
    assert "the circuit breaker catalog is forced open" in reply.headers["Proxy-Status"]
