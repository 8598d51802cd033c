"""The token keeper as calls meet it: getting, sharing, voiding, and failing fast."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from proxy.call import FailureKind
from proxy.events import TokenAcquired, TokenRequested
from proxy.grant import Grant, TokenEndpointFailed, TokenError, TokenRefused
from proxy.tokens import LONGEST_PAUSE, TokenStatus
from tests.clocks import settle
from tests.token_bench import TokenBench, jwt

AWAY = TokenEndpointFailed(FailureKind.UNREACHABLE, "away")


async def failure(bench: TokenBench) -> TokenError:
    """Ask for a token that must not be given."""
    with pytest.raises(TokenError) as caught:
        await bench.keeper.get()
    return caught.value


@pytest.fixture
async def bench() -> AsyncIterator[TokenBench]:
    """Give a keeper that has no token yet."""
    bench = TokenBench()
    yield bench
    await bench.keeper.aclose()


async def test_the_first_call_logs_in_and_the_next_uses_that(bench: TokenBench) -> None:
    """One login serves all calls while its token lives, and is told of."""
    token = await bench.keeper.get()
    assert await bench.keeper.get() is token
    assert bench.calls == ["login"]
    end = bench.clock.time() + 3600
    assert bench.events == [TokenRequested("service", "login"), TokenAcquired("service", end)]


async def test_an_expired_token_is_never_given(bench: TokenBench) -> None:
    """After its end a token is replaced by login, not by refresh, which wants a valid one."""
    old = await bench.keeper.get()
    bench.clock.shift(3568.9)
    assert await bench.keeper.get() is old
    bench.clock.shift(0.2)
    new = await bench.keeper.get()
    assert new.value != old.value
    assert new.generation > old.generation
    assert bench.calls == ["login", "login"]


async def test_a_token_near_its_end_is_given_and_renewed_meanwhile(bench: TokenBench) -> None:
    """Without a job beside it the keeper renews when it is asked, once, and nobody waits for that."""
    old = await bench.keeper.get()
    bench.clock.shift(2879.0)
    assert await bench.keeper.get() is old
    assert bench.calls == ["login"]
    bench.clock.shift(2.0)
    assert [await bench.keeper.get(), await bench.keeper.get()] == [old, old]
    await settle()
    assert (await bench.keeper.get()).generation > old.generation
    assert bench.calls == ["login", "refresh"]


async def test_a_renewal_that_fails_costs_no_call_its_token(bench: TokenBench) -> None:
    """While the endpoint is away the old token is given on, and the endpoint left alone for the pause."""
    old = await bench.keeper.get()
    bench.endpoint.trouble = [AWAY]
    bench.clock.shift(2881.0)
    for _ in range(3):
        assert await bench.keeper.get() is old
        await settle()
    assert bench.calls == ["login", "refresh"]


@pytest.mark.parametrize("skew", [-30.0, 30.0])
async def test_skewed_clocks_do_no_harm(skew: float) -> None:
    """With clocks half a minute apart even a token of 5 s is used, and dropped before its end."""
    bench = TokenBench(life=5, skew=skew)
    token = await bench.keeper.get()
    bench.clock.shift(3.5)
    assert await bench.keeper.get() is token
    bench.clock.shift(0.2)
    assert await bench.keeper.get() is not token


async def test_the_time_an_answer_takes_is_not_life(bench: TokenBench) -> None:
    """A slow login does not make its token live longer than it does."""
    bench.endpoint.life = 10
    issued = bench.endpoint.grant()
    bench.endpoint.make = lambda: issued
    bench.endpoint.gate.clear()
    waiting = asyncio.create_task(bench.keeper.get())
    await settle()
    bench.clock.shift(4.0)
    bench.endpoint.gate.set()
    token = await waiting
    bench.clock.shift(4.0)
    assert await bench.keeper.get() is token
    bench.clock.shift(0.2)
    assert (await failure(bench)).kind == FailureKind.CONTRACT


async def test_a_machine_that_slept_does_not_send_an_expired_token(bench: TokenBench) -> None:
    """When the wall clock alone moved past the end, the token is replaced."""
    old = await bench.keeper.get()
    bench.clock._epoch += 3600
    assert await bench.keeper.get() is not old


async def test_concurrent_calls_share_one_login(bench: TokenBench) -> None:
    """However many calls wait, the endpoint is asked once, and all get the same token."""
    bench.endpoint.gate.clear()
    waiting = [asyncio.create_task(bench.keeper.get()) for _ in range(50)]
    await settle()
    bench.endpoint.gate.set()
    tokens = await asyncio.gather(*waiting)
    assert bench.calls == ["login"]
    assert len({token.generation for token in tokens}) == 1


async def test_a_caller_that_leaves_fails_nobody(bench: TokenBench) -> None:
    """The first caller's cancellation, even all callers', leaves the login to go on."""
    bench.endpoint.gate.clear()
    first = asyncio.create_task(bench.keeper.get())
    second = asyncio.create_task(bench.keeper.get())
    await settle()
    first.cancel()
    await settle()
    assert first.cancelled()
    assert not second.done()
    second.cancel()
    await settle()
    bench.endpoint.gate.set()
    await settle()
    await bench.keeper.get()
    assert bench.calls == ["login"]


async def test_a_failure_reaches_all_and_holds_off_the_next_attempt(bench: TokenBench) -> None:
    """A failed login fails all who wait, and until the pause is over others at once, unasked."""
    bench.endpoint.trouble = [AWAY]
    errors = await asyncio.gather(*(bench.keeper.get() for _ in range(5)), return_exceptions=True)
    assert {str(error) for error in errors} == {"away"}
    assert bench.calls == ["login"]
    bench.clock.shift(0.4)
    error = await failure(bench)
    assert isinstance(error, TokenEndpointFailed)
    assert (error.kind, error.detail) == (FailureKind.UNREACHABLE, "away")
    assert error.retry_after == pytest.approx(0.1)
    assert bench.calls == ["login"]
    bench.clock.shift(0.2)
    bench.endpoint.trouble = []
    await bench.keeper.get()
    assert bench.outcomes() == ["unreachable", "login"]


async def test_pauses_double_to_a_limit_and_start_over(bench: TokenBench) -> None:
    """Attempts back off from half a second to ten, and from half a second again after a success."""
    bench.endpoint.trouble = [AWAY]
    pauses = []
    for _ in range(7):
        pause = (await failure(bench)).retry_after
        assert pause is not None
        pauses.append(pause)
        bench.clock.shift(pause + 1e-6)
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    bench.endpoint.trouble = []
    await bench.keeper.get()
    bench.endpoint.trouble = [AWAY]
    bench.clock.shift(3600.0)
    assert (await failure(bench)).retry_after == 0.5


@pytest.mark.parametrize(("pause", "pauses"), [(3.0, [0.5, 1.0, 2.0, 3.0, 3.0]), (0.2, [0.2, 0.2])])
async def test_no_pause_is_longer_than_the_keeper_was_told(pause: float, pauses: list[float]) -> None:
    """However often the endpoint failed, it is asked again in that time; an open breaker as well."""
    bench = TokenBench(pause=pause)
    bench.endpoint.trouble = [AWAY] * len(pauses)
    seen = []
    for _ in pauses:
        seen.append((await failure(bench)).retry_after)
        bench.clock.shift(pause)
    assert seen == pauses
    bench.endpoint.trouble = [TokenEndpointFailed(FailureKind.BREAKER_OPEN, "open", 300.0)]
    assert (await failure(bench)).retry_after == pause
    await bench.keeper.aclose()


async def test_pauses_have_jitter(bench: TokenBench) -> None:
    """Dice shorten a pause by a quarter at most, so that sidecars do not ask in step."""
    bench.endpoint.trouble = [AWAY]
    bench.dice = 0.8
    assert (await failure(bench)).retry_after == pytest.approx(0.5 * (1 - 0.25 * 0.8))


async def test_an_open_breaker_is_looked_at_again_soon(bench: TokenBench) -> None:
    """A breaker may close before its time, so its pause is not waited out."""
    bench.endpoint.trouble = [TokenEndpointFailed(FailureKind.BREAKER_OPEN, "open", 300.0)]
    assert (await failure(bench)).retry_after == LONGEST_PAUSE


async def test_a_retry_after_is_kept_but_not_for_ever(bench: TokenBench) -> None:
    """The endpoint's own pause is honoured; one of a day is cut to five minutes."""
    bench.endpoint.trouble = [
        TokenEndpointFailed(FailureKind.STATUS, "busy", 42.0),
        TokenEndpointFailed(FailureKind.STATUS, "busy", 86400.0),
    ]
    assert (await failure(bench)).retry_after == 42.0
    bench.clock.shift(41.0)
    assert (await failure(bench)).retry_after == pytest.approx(1.0)
    assert len(bench.calls) == 1
    bench.clock.shift(1.1)
    assert (await failure(bench)).retry_after == 300.0
    assert len(bench.calls) == 2


async def test_a_refused_login_fails_fast_too(bench: TokenBench) -> None:
    """A login that is refused is not repeated before its pause, and stays told apart."""
    bench.endpoint.trouble = [TokenRefused(FailureKind.UNAUTHORIZED, "no")]
    assert isinstance(await failure(bench), TokenRefused)
    assert isinstance(await failure(bench), TokenRefused)
    assert bench.calls == ["login"]
    assert bench.outcomes() == ["unauthorized"]


async def test_a_token_that_is_over_when_it_comes_is_a_failure(bench: TokenBench) -> None:
    """A login that gives an expired token is a broken contract and is not repeated at once."""
    bench.endpoint.make = lambda: Grant(jwt(iat=1, exp=2))
    assert (await failure(bench)).kind == FailureKind.CONTRACT
    await failure(bench)
    assert bench.calls == ["login"]
    assert bench.outcomes() == ["contract"]
    assert bench.acquired() == []


async def test_a_voided_token_is_replaced_by_one_login(bench: TokenBench) -> None:
    """After a 401 the next calls log in, together, however many of them report it."""
    token = await bench.keeper.get()
    for _ in range(3):
        bench.keeper.void(token.generation)
    tokens = await asyncio.gather(*(bench.keeper.get() for _ in range(5)))
    assert {other.generation for other in tokens} == {token.generation + 1}
    assert bench.calls == ["login", "login"]


async def test_a_late_401_does_not_void_the_new_token(bench: TokenBench) -> None:
    """Only the generation that got the 401 is dropped."""
    old = await bench.keeper.get()
    bench.keeper.void(old.generation)
    new = await bench.keeper.get()
    bench.keeper.void(old.generation)
    assert await bench.keeper.get() is new


async def test_a_gateway_that_refuses_what_it_gives_is_not_hammered(bench: TokenBench) -> None:
    """Tokens refused as soon as given cost two logins, then pauses that double to ten seconds."""
    for _ in range(2):
        bench.keeper.void((await bench.keeper.get()).generation)
    pauses = []
    for _ in range(6):
        error = await failure(bench)
        assert isinstance(error, TokenRefused)
        assert error.retry_after is not None
        pauses.append(error.retry_after)
        bench.clock.shift(error.retry_after + 1e-6)
        bench.keeper.void((await bench.keeper.get()).generation)
    assert pauses == pytest.approx([0.5, 1.0, 2.0, 4.0, 8.0, 10.0])
    assert len(bench.calls) == 8


async def test_revocations_far_apart_are_no_series(bench: TokenBench) -> None:
    """A token that was voided after some use is replaced at once, time and again."""
    for _ in range(5):
        token = await bench.keeper.get()
        bench.clock.shift(LONGEST_PAUSE)
        bench.keeper.void(token.generation)
    await bench.keeper.get()
    assert len(bench.calls) == 6


async def test_a_token_is_in_no_text(bench: TokenBench) -> None:
    """Neither a token's own text nor a grant's shows its value."""
    token = await bench.keeper.get()
    assert token.value not in repr(token)
    assert token.value not in repr(Grant(token.value))


async def test_closing_tells_those_who_wait(bench: TokenBench) -> None:
    """Closing ends the login under way: waiters get an error, not a cancellation of their own."""
    bench.endpoint.gate.clear()
    waiting = asyncio.create_task(bench.keeper.get())
    await settle()
    await bench.keeper.aclose()
    with pytest.raises(TokenEndpointFailed, match="stopping"):
        await waiting
    assert "stopping" in str(await failure(bench))
    assert bench.calls == ["login"]


async def test_closing_while_a_caller_leaves_is_a_cancellation(bench: TokenBench) -> None:
    """A caller that is itself cancelled stays cancelled, though the login ended as well."""
    bench.endpoint.gate.clear()
    waiting = asyncio.create_task(bench.keeper.get())
    await settle()
    waiting.cancel()
    await bench.keeper.aclose()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_the_status_tells_what_there_is(bench: TokenBench) -> None:
    """The operator sees age, what is left, and the last failure with the time to the next attempt."""
    assert bench.keeper.status == TokenStatus(False, None, None, None, None, 0.0)
    bench.endpoint.trouble = [AWAY, None]
    await failure(bench)
    assert bench.keeper.status == TokenStatus(False, None, None, None, "away", 0.5)
    bench.clock.shift(0.6)
    await bench.keeper.get()
    bench.clock.shift(100.0)
    status = bench.keeper.status
    assert status.age == pytest.approx(100.0)
    assert status.usable_for == pytest.approx(3599 - 30 - 100)
    assert status.expires_at == bench.acquired()[0]
    assert (status.error, status.next_attempt_in) == (None, 0.0)
