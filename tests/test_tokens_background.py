"""The token keeper left to itself: renewal ahead of the end, an endpoint that is away, fixed tokens."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from proxy.call import FailureKind
from proxy.events import TokenAcquired
from proxy.grant import Grant, TokenEndpointFailed, TokenRefused
from proxy.tokens import TokenStatus
from tests.clocks import settle
from tests.token_bench import TokenBench, jwt

AWAY = TokenEndpointFailed(FailureKind.UNREACHABLE, "away")
REFUSED = TokenRefused(FailureKind.UNAUTHORIZED, "no")


@asynccontextmanager
async def running(bench: TokenBench) -> AsyncIterator[TokenBench]:
    """Run a keeper, and stop it by cancellation as the assembly does."""
    task = asyncio.create_task(bench.keeper.run())
    await settle()
    try:
        yield bench
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_token_is_there_before_anyone_asks() -> None:
    """Running, the keeper logs in by itself at once."""
    async with running(TokenBench()) as bench:
        assert bench.calls == ["login"]
        await bench.keeper.get()
        assert bench.calls == ["login"]


async def test_a_token_is_renewed_ahead_of_its_end() -> None:
    """At four fifths of a life, and of the next one, the valid token is refreshed, not before."""
    async with running(TokenBench()) as bench:
        first = await bench.keeper.get()
        await bench.clock.advance(0.8 * 3599 - 1)
        assert await bench.keeper.get() is first
        await bench.clock.advance(2)
        assert bench.calls == ["login", "refresh"]
        assert bench.endpoint.refreshed == [first.value]
        second = await bench.keeper.get()
        assert second.generation == first.generation + 1
        await bench.clock.advance(0.8 * 3600)
        assert bench.calls == ["login", "refresh", "refresh"]
        assert bench.outcomes() == ["login", "refresh", "refresh"]


async def test_renewal_has_jitter() -> None:
    """Dice bring the renewal forward, so that many sidecars do not renew in step."""
    bench = TokenBench()
    bench.dice = 1.0
    async with running(bench):
        await bench.clock.advance(0.75 * 3599 + 1)
        assert bench.calls == ["login", "refresh"]


async def test_calls_do_not_wait_for_a_renewal() -> None:
    """While the renewal is under way the old token goes on being given."""
    async with running(TokenBench()) as bench:
        first = await bench.keeper.get()
        bench.endpoint.gate.clear()
        await bench.clock.advance(0.9 * 3599)
        assert bench.calls == ["login", "refresh"]
        assert await bench.keeper.get() is first
        bench.endpoint.gate.set()
        await settle()
        assert await bench.keeper.get() is not first


async def test_a_refused_refresh_is_followed_by_login() -> None:
    """Where refresh says no, the keeper logs in without a pause."""
    async with running(TokenBench()) as bench:
        bench.endpoint.refresh_trouble = [REFUSED]
        await bench.clock.advance(0.8 * 3599 + 0.01)
        assert bench.calls == ["login", "refresh", "login"]
        assert bench.outcomes() == ["login", "unauthorized", "login"]


async def test_a_broken_refresh_does_not_cost_the_token() -> None:
    """Where refresh alone is ill, the keeper logs in after a pause, before the token ends."""
    async with running(TokenBench()) as bench:
        bench.endpoint.refresh_trouble = [AWAY]
        await bench.clock.advance(0.8 * 3599 + 1.0)
        assert bench.calls == ["login", "refresh", "login"]
        assert bench.outcomes() == ["login", "unreachable", "login"]
        await bench.clock.advance(0.8 * 3599 - 0.3)
        assert bench.calls == ["login", "refresh", "login", "refresh"]


async def test_a_valid_token_is_used_while_the_endpoint_is_away() -> None:
    """With the endpoint away from the renewal on, calls have the token to its end, then fail fast."""
    async with running(TokenBench()) as bench:
        first = await bench.keeper.get()
        bench.endpoint.trouble = [AWAY]
        await bench.clock.advance(3560)
        assert await bench.keeper.get() is first
        attempts = len(bench.calls) - 1
        assert 3560 * 0.2 / 10.0 - 10 <= attempts <= 3600 * 0.2 / 10.0 + 10
        await bench.clock.advance(20)
        asked = len(bench.calls)
        with pytest.raises(TokenEndpointFailed) as caught:
            await bench.keeper.get()
        assert caught.value.retry_after is not None
        assert 0 < caught.value.retry_after <= 10
        assert len(bench.calls) == asked


async def test_the_keeper_is_back_without_being_asked() -> None:
    """After an outage there is a token again within the longest pause, though no call came."""
    bench = TokenBench()
    bench.endpoint.trouble = [AWAY]
    async with running(bench):
        await bench.clock.advance(60)
        bench.endpoint.trouble = []
        await bench.clock.advance(10)
        asked = len(bench.calls)
        await bench.keeper.get()
        assert len(bench.calls) == asked


async def test_a_token_that_was_replaced_in_between_is_not_renewed_early() -> None:
    """After a 401 and a login the renewal goes by the new token's life."""
    async with running(TokenBench()) as bench:
        await bench.clock.advance(1000)
        bench.keeper.void((await bench.keeper.get()).generation)
        await bench.keeper.get()
        await bench.clock.advance(2000)
        assert bench.calls == ["login", "login"]
        await bench.clock.advance(900)
        assert bench.calls == ["login", "login", "refresh"]


async def test_replacements_do_not_pile_up() -> None:
    """However many tokens were voided and replaced, the keeper runs no more tasks than at first."""
    async with running(TokenBench()) as bench:
        before = len(asyncio.all_tasks())
        for _ in range(5):
            await bench.clock.advance(100)
            bench.keeper.void((await bench.keeper.get()).generation)
            await bench.keeper.get()
            await settle()
        assert len(asyncio.all_tasks()) == before


async def test_a_renewal_that_lands_ends_a_pause() -> None:
    """A token that a renewal brings is used at once, though its forerunner began a pause."""
    async with running(TokenBench(life=10)) as bench:
        bench.keeper.void((await bench.keeper.get()).generation)
        token = await bench.keeper.get()
        bench.endpoint.gate.clear()
        await bench.clock.advance(0.8 * 9 + 0.1)
        bench.keeper.void(token.generation)
        assert bench.keeper.status.next_attempt_in > 0
        bench.endpoint.gate.set()
        await settle()
        assert (await bench.keeper.get()).generation > token.generation
        assert (bench.keeper.status.error, bench.keeper.status.next_attempt_in) == (None, 0.0)
        assert bench.calls == ["login", "login", "refresh"]


async def test_a_voided_token_that_nobody_misses_is_replaced_in_time() -> None:
    """A token voided by the last call of a busy hour does not keep the keeper from going on."""
    async with running(TokenBench()) as bench:
        bench.keeper.void((await bench.keeper.get()).generation)
        await bench.clock.advance(0.9 * 3599)
        assert bench.calls == ["login", "login"]


async def test_short_lived_tokens_follow_one_another() -> None:
    """With tokens of 5 s there is always a valid one, at about one request for each."""
    async with running(TokenBench(life=5)) as bench:
        for _ in range(60):
            token = await bench.keeper.get()
            asked = len(bench.calls)
            await bench.clock.advance(0.5)
            assert (await bench.keeper.get()).generation - token.generation in {0, 1}
            assert len(bench.calls) - asked <= 1
        assert 30 / 5 <= len(bench.calls) <= 30 / 3


async def test_the_same_token_again_is_not_asked_for_in_a_loop() -> None:
    """An endpoint that hands the same JWT out until it ends is asked less than twenty times."""
    bench = TokenBench(life=60)
    grant = bench.endpoint.grant()
    bench.endpoint.make = lambda: grant
    async with running(bench):
        token = await bench.keeper.get()
        await bench.clock.advance(52)
        assert await bench.keeper.get() is token
        assert len(bench.calls) < 20


async def test_a_fixed_token_is_used_first() -> None:
    """A token from the configuration is given without asking anyone, and told of."""
    async with running(TokenBench(fixed="opaque")) as bench:
        await bench.clock.advance(1e6)
        token = await bench.keeper.get()
        assert token.value == "opaque"
        assert bench.calls == []
        assert bench.events == [TokenAcquired("service", None)]
        assert bench.keeper.status == TokenStatus(True, 1e6, None, None, None, 0.0)


async def test_a_fixed_token_that_is_refused_gives_way_to_login() -> None:
    """Once the gateway refused it, a fixed token is not used again, and the new one is renewed."""
    async with running(TokenBench(fixed="opaque")) as bench:
        bench.keeper.void((await bench.keeper.get()).generation)
        assert (await bench.keeper.get()).value != "opaque"
        await bench.clock.advance(0.9 * 3599)
        assert bench.calls == ["login", "refresh"]


async def test_a_fixed_jwt_gives_way_to_login_at_its_end() -> None:
    """A fixed JWT is used to its end, then the keeper logs in; it is never refreshed."""
    fixed = jwt(exp=TokenBench().clock.time() + 600)
    async with running(TokenBench(fixed=fixed)) as bench:
        await bench.clock.advance(500)
        assert (await bench.keeper.get()).value == fixed
        await bench.clock.advance(50)
        assert bench.calls == ["login"]
        assert (await bench.keeper.get()).value != fixed


async def test_a_fixed_jwt_that_is_over_is_never_given() -> None:
    """A fixed JWT from last week is passed over for a login."""
    bench = TokenBench(fixed=jwt(exp=1))
    assert (await bench.keeper.get()).value != jwt(exp=1)
    assert bench.calls == ["login"]


@pytest.mark.parametrize("fixed", ["two words", "line\nbreak", "\u00fcber", "nul\0"])
async def test_a_fixed_token_that_no_header_can_carry_is_refused(fixed: str) -> None:
    """Such a token is refused when the keeper is made, without being quoted."""
    with pytest.raises(ValueError, match="no header can carry") as caught:
        TokenBench(fixed=fixed)
    assert fixed not in str(caught.value)


async def test_stopping_leaves_nothing_behind() -> None:
    """After it is stopped, in the middle of a login or waiting, no task is left."""
    before = asyncio.all_tasks()
    async with running(TokenBench()) as bench:
        bench.endpoint.gate.clear()
        await bench.clock.advance(0.9 * 3599)
    async with running(TokenBench()):
        pass
    assert asyncio.all_tasks() == before


async def test_a_failure_that_nobody_waits_for_is_no_complaint() -> None:
    """A failed renewal leaves no exception behind for the loop to warn of; a defect does."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, what: complaints.append(what))
    bench = TokenBench()
    bench.endpoint.trouble = [AWAY]
    async with running(bench):
        await bench.clock.advance(5)
    assert complaints == []
    bench = TokenBench()
    bench.endpoint.make = _defect
    async with running(bench):
        pass
    assert [type(what["exception"]) for what in complaints] == [ZeroDivisionError]


def _defect() -> Grant:
    raise ZeroDivisionError


async def test_a_login_that_a_caller_makes_sets_the_renewal() -> None:
    """A caller's own attempt, ahead of the keeper's next, counts for the keeper as well."""
    bench = TokenBench()
    bench.endpoint.trouble = [AWAY, None]
    async with running(bench):
        bench.clock.shift(1.0)
        token = await bench.keeper.get()
        await bench.clock.advance(100)
        assert await bench.keeper.get() is token
        assert bench.calls == ["login", "login"]
