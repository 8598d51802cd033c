"""The token endpoint behind its circuit breaker."""

import asyncio

import pytest

from proxy.call import FailureKind
from proxy.grant import Grant, TokenEndpointFailed, TokenError, TokenRefused
from proxy.login import Guarded
from tests.clocks import FakeClock, settle
from tests.gateway_fakes import FakeBreaker


class Endpoint:
    """A login that fails or gives what it is told."""

    def __init__(self, *outcomes: Grant | TokenError) -> None:
        self.outcomes = list(outcomes)
        self.asked: list[str] = []

    async def login(self) -> Grant:
        """Log in."""
        return self._next("login")

    async def refresh(self, token: str) -> Grant:
        """Refresh."""
        return self._next(token)

    def _next(self, what: str) -> Grant:
        self.asked.append(what)
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, TokenError):
            raise outcome
        return outcome


def guarded(endpoint: Endpoint, breaker: FakeBreaker) -> Guarded:
    """The endpoint behind that breaker."""
    return Guarded(endpoint, breaker, FakeClock())


async def test_a_login_passes_the_breaker_and_tells_it() -> None:
    """What works is a success, what fails a failure, and a refusal is an answer."""
    grant = Grant("a.b.c")
    away = TokenEndpointFailed(FailureKind.UNREACHABLE, "no connection")
    endpoint, breaker = Endpoint(grant, away, TokenRefused(FailureKind.UNAUTHORIZED, "no")), FakeBreaker()
    login = guarded(endpoint, breaker)
    assert await login.login() is grant
    with pytest.raises(TokenEndpointFailed):
        await login.refresh("old")
    with pytest.raises(TokenRefused):
        await login.refresh("older")
    assert breaker.told == ["success", "failure", "success"]
    assert endpoint.asked == ["login", "old", "older"]


async def test_an_open_breaker_keeps_the_endpoint_alone() -> None:
    """The endpoint is not asked, and the caller hears when to come back."""
    endpoint = Endpoint()
    with pytest.raises(TokenEndpointFailed) as refused:
        await guarded(endpoint, FakeBreaker(left=0)).login()
    assert (refused.value.kind, refused.value.retry_after) == (FailureKind.BREAKER_OPEN, 7.0)
    assert endpoint.asked == []


async def test_a_login_that_is_given_up_counts_neither_way() -> None:
    """Stopping the sidecar says nothing of the endpoint."""
    breaker = FakeBreaker()

    class Hanging(Endpoint):
        async def login(self) -> Grant:
            """Never answer."""
            await asyncio.Event().wait()
            raise AssertionError

    asking = asyncio.create_task(guarded(Hanging(), breaker).login())
    await settle()
    asking.cancel()
    await asyncio.wait({asking})
    assert breaker.told == ["cancel"]
