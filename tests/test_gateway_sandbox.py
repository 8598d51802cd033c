"""The source `gateway` with the real keeper of tokens, against the stand-in and its faults."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from proxy.breaker import Breaker
from proxy.call import FailureKind, Value
from proxy.clock import SystemClock
from proxy.events import AttemptEnded
from proxy.login import GatewayLogin
from proxy.sandbox import Sandbox
from proxy.sandbox_faults import Fault, Faults
from proxy.tokens import TokenKeeper
from tests.breakers import Settings
from tests.gateway_fakes import SUBJECT, Bench, Retry, content, gateway_clients, gateway_session
from tests.origins import PATIENCE
from tests.tables import routes

VIDEO: dict[str, Value] = {"videoId": "1_e0000003"}


@asynccontextmanager
async def sandboxed(**changes: Any) -> AsyncIterator[tuple[Bench, Sandbox]]:
    """Put source, keeper and breaker in front of a sandbox of the plan's manner."""
    clock = SystemClock()
    async with Sandbox(manner="plan") as sandbox, gateway_clients() as clients, gateway_session() as session:
        it = Bench(sandbox.gateway_url, clients, clock, **{"retry": Retry(attempts=1), **changes})
        login = GatewayLogin(sandbox.gateway_url, session, SUBJECT, 5.0, clock)
        keeper = TokenKeeper(
            login.login, login.refresh, clock=clock, random=lambda: 0.0, observe=it.events.append
        )
        it.keeper = keeper
        try:
            yield it, sandbox
        finally:
            await keeper.aclose()


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(status=500), FailureKind.STATUS),
        (Fault(status=503, retry_after=2), FailureKind.STATUS),
        (Fault(status=503, retry_after=2, retry_after_form="date"), FailureKind.STATUS),
        (Fault(status=429, retry_after=2), FailureKind.STATUS),
        (Fault(answer="html"), FailureKind.CONTRACT),
        (Fault(answer="truncated"), FailureKind.CONTRACT),
        (Fault(answer="wrong_types"), FailureKind.CONTRACT),
        (Fault(answer="reset"), FailureKind.UNREACHABLE),
        (Fault(answer="hang"), FailureKind.TIMEOUT),
        (Fault(latency=60), FailureKind.TIMEOUT),
    ],
    ids=str,
)
async def test_every_fault_is_told_for_what_it_is(fault: Fault, kind: FailureKind) -> None:
    """Each trouble has its kind, the breaker hears of all but the 429's as failures, and it passes."""
    async with sandboxed(attempt_timeout=0.2) as (it, sandbox):
        sandbox.gateway.faults = Faults(routes=fault)
        failure = await it.fail("video", VIDEO)
        assert failure.kind is kind
        if fault.retry_after is not None:
            assert failure.retry_after is not None
            assert 0 < failure.retry_after <= 2
        sandbox.gateway.faults = Faults()
        it.attempt_timeout = PATIENCE
        assert content(await it.ask("video", VIDEO))["id"] == "1_e0000003"
    assert it.breaker.told == ["hold_open" if fault.status == 429 else "failure", "success"]


async def test_a_shell_is_a_missing_video() -> None:
    """The video that the stand-in empties is missing, which is no failure."""
    async with sandboxed() as (it, sandbox):
        sandbox.gateway.faults = Faults(routes=Fault(answer="shell"))
        assert (await it.ask("video", VIDEO)).status == 404
    assert it.breaker.told == ["success"]


async def test_revoked_tokens_go_unnoticed() -> None:
    """After all tokens were revoked the next call logs in anew, and succeeds."""
    async with sandboxed() as (it, sandbox):
        await it.ask("video", VIDEO)
        sandbox.gateway.tokens.revoke()
        await it.ask("play", VIDEO)
        assert sandbox.gateway.calls["POST /api/auth/token"] == 2
    assert [event.outcome for event in it.events.of(AttemptEnded)] == ["ok", "unauthorized", "ok"]


async def test_a_token_endpoint_that_is_down_trips_no_breaker() -> None:
    """Without a token the calls fail, and the breaker hears of none of them."""
    async with sandboxed() as (it, sandbox):
        sandbox.gateway.faults = Faults(auth=Fault(status=503, retry_after=9))
        failure = await it.fail("video", VIDEO)
    assert (failure.kind, failure.retry_after) == (FailureKind.TOKEN, 9.0)
    assert not it.breaker.permits


async def test_a_gateway_that_goes_and_comes_back_is_noticed() -> None:
    """While it is away calls fail as unreachable, and the first after its return succeeds."""
    async with sandboxed() as (it, sandbox):
        await it.ask("video", VIDEO)
        await sandbox.gateway.offline()
        assert (await it.fail("video", VIDEO)).kind is FailureKind.UNREACHABLE
        await sandbox.gateway.online()
        await it.ask("video", VIDEO)
    assert it.breaker.told == ["success", "failure", "success"]


async def test_a_real_breaker_keeps_calls_away() -> None:
    """After enough failures nothing reaches the gateway any more, and the client is told for how long."""
    async with sandboxed() as (it, sandbox):
        it.guard = Breaker(
            "catalog", Settings(), clock=it.clock, random=lambda: 0.0, observe=it.events.append
        )
        sandbox.gateway.faults = Faults(routes=Fault(status=500))
        kinds = [(await it.fail("video", VIDEO)).kind for _ in range(12)]
        failure = await it.fail("video", VIDEO)
        assert sandbox.gateway.calls["GET /api/videos/{id}"] == 10
    assert kinds == [FailureKind.STATUS] * 10 + [FailureKind.BREAKER_OPEN] * 2
    assert failure.retry_after == pytest.approx(10.0, abs=1.0)


async def test_all_seven_calls_of_the_plan_are_answered() -> None:
    """Against a gateway of the plan's manner every route of the plan's table gives its answer."""
    values: dict[str, dict[str, Value]] = {
        "video": VIDEO,
        "details": VIDEO,
        "videos": {"page": 2, "pageSize": 3},
        "search": {"query": "cats", "page": 1, "pageSize": 2},
        "session": {**VIDEO, "userId": "nelly"},
        "play": VIDEO,
    }
    async with sandboxed() as (it, _):
        answers = {name: content(await it.ask(name, given)) for name, given in values.items()}
    assert set(values) == {name for name, route in routes("plan").items() if route.call is not None}
    assert [video["id"] for video in answers["videos"]["videos"]] == [
        "1_e0000092",
        "1_e0000091",
        "1_e0000090",
    ]
    assert [video["id"] for video in answers["search"]["videos"]] == ["1_e0000095", "1_e0000093"]
    assert answers["video"]["id"] == answers["details"]["id"] == "1_e0000003"
    assert "sview:1_e0000003" in answers["session"]["ks"]
    assert "1_e0000003" in answers["play"]["playUrl"]
