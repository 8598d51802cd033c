"""How long the gateway is waited for, and what becomes of a call that is given up.

The servers here never answer, and the limits are a few hundredths of a second.
"""

import asyncio
import gc

import pytest

from proxy.call import FailureKind, SourceFailed
from proxy.clock import SystemClock
from proxy.events import AttemptEnded, RetryScheduled, RetrySuppressed
from tests.clocks import FakeClock
from tests.gateway_fakes import BROKEN, FOUND, HTML, FakeTokens, Hang, Retry, bench, http
from tests.origins import PATIENCE, until

SHORT = 0.05
ONCE = Retry(attempts=1)
HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200", HALF])
async def test_an_attempt_has_its_time(said: bytes) -> None:
    """An answer that does not come, or does not end, fails the attempt, and its connection is closed."""
    hang = Hang(said)
    async with bench(hang, attempt_timeout=SHORT, retry=ONCE) as (it, _):
        failure = await it.fail()
        await asyncio.wait_for(hang.left.wait(), PATIENCE)
    assert (failure.kind, failure.detail) == (FailureKind.TIMEOUT, "no answer in time")
    assert it.breaker.told == ["failure"]
    assert it.events == [AttemptEnded("video", "timeout", 0.0)]


async def test_an_attempt_that_timed_out_is_made_again() -> None:
    """A GET whose answer did not come in time is asked for anew, on another connection."""
    # Long enough for the second attempt, which has the same time, on a machine that is busy.
    async with bench(Hang(HALF), FOUND, attempt_timeout=10 * SHORT) as (it, origin):
        await it.ask()
    assert len(origin.received) == 2
    assert it.events.of(RetryScheduled) == [RetryScheduled("video", "timeout", 0.0)]


async def test_a_post_that_timed_out_is_not() -> None:
    """A play call whose answer did not come may have been made."""
    async with bench(Hang(), attempt_timeout=SHORT) as (it, origin):
        await it.fail("play")
    assert len(origin.received) == 1
    assert it.events.of(RetrySuppressed) == [RetrySuppressed("play", "unsafe")]


async def test_a_call_ends_with_its_deadline() -> None:
    """However many attempts are allowed and however long each may take, the call ends in its time."""
    clock = SystemClock()
    async with bench(Hang(), clock=clock, attempt_timeout=0.6) as (it, origin):
        start = clock.monotonic()
        failure = await it.fail(total=1.0)
        assert 0.99 <= clock.monotonic() - start < 1.0 + 0.5
    assert failure.kind is FailureKind.TIMEOUT
    assert len(origin.received) == 2
    assert [event.outcome for event in it.events.of(AttemptEnded)] == ["timeout", "timeout"]
    assert it.events.of(RetrySuppressed) == [RetrySuppressed("video", "deadline")]


@pytest.mark.parametrize(("total", "made"), [(0.14, 1), (0.5, 3)])
async def test_no_retry_begins_that_cannot_end(total: float, made: int) -> None:
    """With less than half an attempt's time left the call ends at once: what is cut short says nothing."""
    clock = SystemClock()
    async with bench(Hang(), clock=clock, attempt_timeout=0.1) as (it, origin):
        start = clock.monotonic()
        await it.fail(total=total)
        assert clock.monotonic() - start < made * 0.1 + 0.5
    assert len(origin.received) == made
    assert set(it.breaker.told) == {"failure"}
    suppressed = [RetrySuppressed("video", "deadline")] if made == 1 else []
    assert it.events.of(RetrySuppressed) == suppressed


async def test_a_gateway_that_hangs_until_the_deadline_has_failed() -> None:
    """An attempt that the deadline cut off after a fair share of its time is a failure to the breaker."""
    async with bench(Hang(), clock=SystemClock(), attempt_timeout=SHORT, retry=ONCE) as (it, _):
        failure = await it.fail(total=SHORT)
    assert failure.kind is FailureKind.TIMEOUT
    assert it.breaker.told == ["failure"]
    assert [event.outcome for event in it.events.of(AttemptEnded)] == ["timeout"]


async def test_a_gateway_that_had_hardly_any_time_has_not() -> None:
    """An attempt that the deadline left less than that says nothing of the gateway."""
    async with bench(Hang(), clock=SystemClock(), attempt_timeout=PATIENCE, retry=ONCE) as (it, _):
        failure = await it.fail(total=SHORT)
    assert failure.kind is FailureKind.TIMEOUT
    assert it.breaker.told == ["cancel"]
    assert [event.outcome for event in it.events.of(AttemptEnded)] == ["timeout"]


async def test_a_token_that_does_not_come_ends_with_the_deadline() -> None:
    """Waiting for a token counts towards the call's time, trips no breaker, and is no attempt."""
    tokens = FakeTokens()
    tokens.given.clear()
    async with bench(FOUND, clock=SystemClock(), tokens=tokens) as (it, origin):
        failure = await it.fail(total=SHORT)
    assert (failure.kind, failure.detail) == (FailureKind.TIMEOUT, "the gateway gave no token in time")
    assert not origin.received
    assert not it.breaker.permits
    assert not it.events


async def test_nothing_begins_after_the_deadline() -> None:
    """A call whose time is over is not sent at all."""
    async with bench(FOUND) as (it, origin):
        failure = await it.fail(total=0.0)
    assert failure.kind is FailureKind.TIMEOUT
    assert not origin.received
    assert not it.breaker.permits
    assert it.tokens.asked == 0


async def test_nothing_is_sent_when_the_token_took_all_the_time() -> None:
    """A token that comes as the deadline passes is of no use any more."""
    clock = FakeClock()

    class Slow(FakeTokens):
        async def get(self):  # type: ignore[no-untyped-def]  # noqa: ANN202  (as its base)
            clock.shift(9.0)
            return await super().get()

    async with bench(FOUND, clock=clock, tokens=Slow()) as (it, origin):
        failure = await it.fail(total=8.0)
    assert failure.kind is FailureKind.TIMEOUT
    assert not origin.received
    assert not it.breaker.permits


async def test_delays_are_slept() -> None:
    """The dice's delay lies between two attempts, and so does a longer `Retry-After`."""
    clock = SystemClock()
    async with bench(BROKEN, FOUND, clock=clock, retry=Retry(2, SHORT, SHORT), dice=0.99) as (it, _):
        start = clock.monotonic()
        await it.ask()
        assert clock.monotonic() - start >= 0.99 * SHORT


@pytest.mark.parametrize("said", [b"", HALF])
async def test_a_client_that_leaves_stops_the_call(said: bytes) -> None:
    """Cancelling a call closes its connection at once, counts neither way, and is told as `cancelled`."""
    hang = Hang(said)
    async with bench(hang) as (it, origin):
        asking = asyncio.create_task(it.ask())
        await asyncio.wait_for(hang.reached.wait(), PATIENCE)
        await until(lambda: bool(it.breaker.permits))
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await asyncio.wait_for(hang.left.wait(), PATIENCE)
    assert it.breaker.told == ["cancel"]
    assert it.events == [AttemptEnded("video", "cancelled", 0.0)]
    assert len(origin.received) == 1


async def test_a_client_that_leaves_between_attempts_stops_the_call() -> None:
    """A call that waits for its next attempt can be cancelled as well, and makes no other."""
    async with bench(http(503, HTML, Retry_After="3")) as (it, origin):
        asking = asyncio.create_task(it.ask())
        await until(lambda: bool(it.events.of(RetryScheduled)))
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    assert it.breaker.told == ["failure"]
    assert len(origin.received) == 1


async def test_a_client_that_leaves_before_the_token_costs_nothing() -> None:
    """A call that waits for its token can be cancelled without a trace."""
    tokens = FakeTokens()
    tokens.given.clear()
    async with bench(FOUND, tokens=tokens) as (it, _):
        asking = asyncio.create_task(it.ask())
        await until(lambda: tokens.asked == 1)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    assert not it.breaker.permits
    assert not it.events


async def test_no_call_leaves_anything_behind() -> None:
    """After calls that failed in every way no task runs but the test's own."""
    async with bench(Hang(HALF), BROKEN, Hang(), FOUND, attempt_timeout=SHORT) as (it, _):
        with pytest.raises(SourceFailed):
            await it.ask()
        await it.ask()
    gc.collect()
    assert asyncio.all_tasks() == {asyncio.current_task()}
