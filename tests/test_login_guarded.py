"""The circuit breaker of the token endpoint."""

import asyncio
from dataclasses import dataclass, field

import pytest

from proxy.call import FailureKind
from proxy.grant import Grant, TokenEndpointFailed, TokenError, TokenRefused
from proxy.login import Guarded, TokenEndpointBusy
from tests.breakers import Bench as BreakerBench
from tests.clocks import FakeClock, settle
from tests.gateway_fakes import FakeBreaker

GRANT = Grant("a.b.c", None)
AWAY = TokenEndpointFailed(FailureKind.UNREACHABLE, "the token endpoint cannot be reached")
REFUSED = TokenRefused(FailureKind.UNAUTHORIZED, "the token endpoint answered 401")


@dataclass
class Endpoint:
    """Takes a quarter of a second to answer or fail, and counts."""

    clock: FakeClock
    error: BaseException | None = None
    asked: list[str] = field(default_factory=list)

    async def login(self) -> Grant:
        """Log in."""
        return self._answer("login")

    async def refresh(self, token: str) -> Grant:
        """Refresh."""
        return self._answer(f"refresh {token}")

    def _answer(self, question: str) -> Grant:
        self.asked.append(question)
        self.clock.shift(0.25)
        if self.error is not None:
            raise self.error
        return GRANT


@dataclass
class World:
    """A guarded endpoint."""

    breaker: FakeBreaker = field(default_factory=FakeBreaker)
    clock: FakeClock = field(default_factory=FakeClock)

    def __post_init__(self) -> None:
        self.endpoint = Endpoint(self.clock)
        self.login = Guarded(self.endpoint, self.breaker, self.clock)

    async def fail(self, error: TokenError) -> tuple[str | None, float | None]:
        """Let the endpoint fail, and return what the breaker was told, and of how many seconds."""
        self.endpoint.error = error
        with pytest.raises(TokenError) as caught:
            await self.login.login()
        assert caught.value is error
        permit = self.breaker.permits[-1]
        return permit.word, permit.seconds


async def test_a_token_is_a_success() -> None:
    """What the endpoint gives comes through, and the breaker hears that it works and how fast."""
    world = World()
    assert await world.login.login() is GRANT
    assert await world.login.refresh("old") is GRANT
    assert world.endpoint.asked == ["login", "refresh old"]
    assert world.breaker.told == ["success", "success"]
    assert world.breaker.permits[0].seconds == 0.25


@pytest.mark.parametrize("kind", [FailureKind.UNREACHABLE, FailureKind.TIMEOUT, FailureKind.CONTRACT])
async def test_trouble_of_the_endpoint_is_a_failure(kind: FailureKind) -> None:
    """An endpoint that is away, slow or broken counts against it, and its error comes through."""
    assert await World().fail(TokenEndpointFailed(kind, "broken", 3.0)) == ("failure", 0.25)


async def test_a_refusal_is_no_failure() -> None:
    """An endpoint that says no works as it should."""
    assert await World().fail(REFUSED) == ("success", 0.25)


@pytest.mark.parametrize(
    ("pause", "told"),
    [
        (None, ("success", 0.25)),
        (0.9, ("success", 0.25)),
        (1.0, ("hold_open", 1.0)),
        (60.0, ("hold_open", 60.0)),
    ],
)
async def test_a_long_pause_is_kept(pause: float | None, told: tuple[str, float]) -> None:
    """A busy endpoint has not failed; where it asks for a long pause it gets that from everybody."""
    assert await World().fail(TokenEndpointBusy(FailureKind.STATUS, "429", pause)) == told


async def test_a_login_that_is_given_up_counts_neither_way() -> None:
    """A cancelled login tells the breaker that nothing is known."""

    class Slow(Endpoint):
        async def login(self) -> Grant:
            await asyncio.get_running_loop().create_future()
            raise AssertionError

    world = World()
    task = asyncio.create_task(Guarded(Slow(world.clock), world.breaker, world.clock).login())
    await settle()
    task.cancel()
    await asyncio.wait({task})
    assert world.breaker.told == ["cancel"]


async def test_a_defect_counts_neither_way() -> None:
    """What is no error of the endpoint's is none to its breaker."""
    world = World()
    world.endpoint.error = ValueError("a defect")
    with pytest.raises(ValueError, match="a defect"):
        await world.login.login()
    assert world.breaker.told == ["cancel"]


async def test_an_open_breaker_keeps_the_endpoint_alone() -> None:
    """While the breaker is open there is no token, told as such, with the time to come back."""
    world = World(FakeBreaker(left=0))
    for ask in (world.login.login(), world.login.refresh("old")):
        with pytest.raises(TokenEndpointFailed) as caught:
            await ask
        error = caught.value
        assert (error.kind, error.retry_after) == (FailureKind.BREAKER_OPEN, 7.0)
        assert error.detail == "the breaker is open"
        assert "old" not in repr(error) + str(error.__dict__)
    assert world.endpoint.asked == []


async def test_a_failing_endpoint_opens_a_real_breaker_for_all_subjects() -> None:
    """After enough failures of whichever subjects, the endpoint is not asked until the open time is over."""
    bench = BreakerBench()
    endpoint = Endpoint(bench.clock, AWAY)
    logins = [Guarded(endpoint, bench.breaker, bench.clock) for _ in range(5)]
    for login in logins * 4:
        with pytest.raises(TokenEndpointFailed):
            await login.login()
    assert len(endpoint.asked) == 10
    bench.wait()
    endpoint.error = None
    for login in logins[:3]:
        await login.login()
    assert bench.state() == "closed"
