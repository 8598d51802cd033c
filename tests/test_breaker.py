"""The circuit breaker: when it opens, how it probes and recovers, what it does not count."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.breaker import JITTER
from proxy.call import Failure, FailureKind
from proxy.events import BreakerRejected
from tests.breakers import Bench, Settings


def test_opens_at_the_failure_rate() -> None:
    """Half of ten calls failing opens it, and calls are then kept back with the time left."""
    bench = Bench()
    bench.succeed(5)
    bench.fail(4)
    assert (bench.state(), bench.breaker.retry_after) == ("closed", 0.0)
    bench.fail(1)
    assert bench.state() == "open"
    assert bench.breaker.failure_ratio == 0.5
    bench.clock.shift(4.0)
    refusal = bench.refused()
    assert refusal.failure == Failure(
        "gateway",
        FailureKind.BREAKER_OPEN,
        "the circuit breaker video is open",
        retry_after=6.0,
    )
    assert bench.changes() == [("closed", "open")]
    assert bench.events[-1] == BreakerRejected("video")


def test_few_calls_never_open() -> None:
    """Below the minimum of calls even failures alone leave it closed."""
    bench = Bench()
    bench.fail(9)
    assert bench.state() == "closed"


def test_old_failures_do_not_count() -> None:
    """Failures older than the window neither open it nor show in the ratio."""
    bench = Bench()
    bench.fail(9)
    bench.clock.shift(31.0)
    assert bench.breaker.failure_ratio == 0.0
    bench.fail(9)
    assert bench.state() == "closed"


def test_slow_calls_open() -> None:
    """Calls that all succeed but slowly open it; one quick call among them prevents that."""
    slow, mixed = Bench(), Bench()
    slow.succeed(10, seconds=2.0)
    assert slow.state() == "open"
    mixed.succeed(9, seconds=2.0)
    mixed.succeed(1, seconds=1.9)
    assert mixed.state() == "closed"


def test_a_rate_of_zero_needs_one_failure() -> None:
    """Success alone never opens it, however low the rates are set."""
    bench = Bench(Settings(failure_rate=0.0, slow_rate=0.0))
    bench.succeed(50)
    assert bench.state() == "closed"
    bench.fail(1)
    assert bench.state() == "open"


def test_cancelled_calls_count_neither_way() -> None:
    """Calls given up neither fill the minimum nor thin the failures out."""
    bench = Bench()
    for _ in range(50):
        bench.breaker.acquire().cancel()
    bench.fail(9)
    assert bench.state() == "closed"
    bench.fail(1)
    assert bench.state() == "open"


def test_the_first_verdict_counts() -> None:
    """A permit's second verdict changes nothing."""
    bench = Bench(Settings(minimum_calls=2))
    bench.succeed(1)
    permit = bench.breaker.acquire()
    permit.cancel()
    permit.failure(0.1)
    permit.hold_open(60.0)
    assert bench.state() == "closed"
    assert bench.breaker.failure_ratio == 0.0


def test_good_probes_close() -> None:
    """As many good probes as are let through close it, with the window empty again."""
    bench = Bench()
    bench.fail(10)
    bench.wait()
    assert bench.state() == "half_open"
    bench.succeed(2)
    assert bench.state() == "half_open"
    bench.succeed(1)
    assert bench.state() == "closed"
    assert bench.breaker.failure_ratio == 0.0
    assert bench.changes() == [
        ("closed", "open"),
        ("open", "half_open"),
        ("half_open", "closed"),
    ]
    bench.fail(9)
    assert bench.state() == "closed"


def test_a_failing_probe_opens_again_for_twice_as_long() -> None:
    """The open time doubles with each failed recovery up to the limit, and starts over after one."""
    bench = Bench(Settings(open_max=35.0))
    bench.fail(10)
    pauses = []
    for _ in range(4):
        pauses.append(bench.breaker.retry_after)
        bench.wait()
        bench.fail(1)
    assert pauses == [10.0, pytest.approx(20.0), pytest.approx(35.0), pytest.approx(35.0)]
    bench.wait()
    bench.succeed(3)
    bench.fail(10)
    assert bench.breaker.retry_after == pytest.approx(10.0)


@given(dice=st.floats(0.0, 1.0, exclude_max=True), openings=st.integers(1, 80))
def test_jitter_shortens_only(dice: float, openings: int) -> None:
    """However often it opens, the open time stays between the limit and a fifth less."""
    bench = Bench(dice=dice)
    bench.fail(10)
    for _ in range(openings - 1):
        bench.wait()
        bench.fail(1)
    longest = min(10.0 * 2 ** (openings - 1), 300.0)
    pause = bench.breaker.retry_after
    assert pause is not None
    assert longest * (1 - JITTER) * 0.999999 <= pause <= longest * 1.000001


def test_jitter_tells_sidecars_apart() -> None:
    """Two breakers with different dice do not probe at the same moment."""
    one, other = Bench(dice=0.1), Bench(dice=0.9)
    one.fail(10)
    other.fail(10)
    assert one.breaker.retry_after != other.breaker.retry_after


def test_probes_are_bounded() -> None:
    """Half open, no more probes run than allowed; a cancelled one gives its place to another."""
    bench = Bench()
    bench.fail(10)
    bench.wait()
    permits = [bench.breaker.acquire() for _ in range(3)]
    assert bench.breaker.retry_after == bench.refused().retry_after == 10.0
    permits[0].cancel()
    assert bench.breaker.retry_after == 0.0
    bench.breaker.acquire()
    bench.refused()


def test_a_good_probe_keeps_its_place() -> None:
    """Probes that were good are not probed again: only as many run as are still missing."""
    bench = Bench()
    bench.fail(10)
    bench.wait()
    bench.succeed(2)
    bench.breaker.acquire()
    bench.refused()


def test_hung_probes_do_not_block_recovery() -> None:
    """When leases end their places are free; the late successes of the hung still count."""
    bench = Bench()
    bench.fail(10)
    bench.wait()
    hung = [bench.breaker.acquire() for _ in range(3)]
    bench.clock.shift(9.9)
    bench.refused()
    bench.clock.shift(0.1)
    fresh = [bench.breaker.acquire() for _ in range(3)]
    hung[0].success(0.1)
    fresh[0].success(0.1)
    assert bench.state() == "half_open"
    hung[1].success(0.1)
    assert bench.state() == "closed"


def test_slow_probes_do_not_close() -> None:
    """Probes that succeed but are all slow open it again; one quick one is enough to close."""
    slow, mixed = Bench(), Bench()
    for bench in (slow, mixed):
        bench.fail(10)
        bench.wait()
        bench.succeed(2, seconds=3.0)
    slow.succeed(1, seconds=3.0)
    mixed.succeed(1)
    assert slow.state() == "open"
    assert slow.breaker.retry_after == pytest.approx(20.0)
    assert mixed.state() == "closed"


def test_each_recovery_starts_from_nothing() -> None:
    """Probes of a recovery that failed, good, slow or still running, are no part of the next one."""
    bench = Bench(Settings(half_open_calls=4, open=1.0, slow_rate=0.5))
    bench.fail(10)
    bench.wait()
    bench.breaker.acquire()
    bench.succeed(2, seconds=3.0)
    bench.fail(1)
    bench.wait()
    permits = [bench.breaker.acquire() for _ in range(4)]
    for permit in permits[:3]:
        permit.success(0.1)
    assert bench.state() == "half_open"
    permits[3].success(0.1)
    assert bench.state() == "closed"


def test_verdicts_of_an_older_generation_are_dropped() -> None:
    """Calls from before the change neither close, open nor free a place, nor hold it open."""
    bench = Bench()
    old = [bench.breaker.acquire() for _ in range(8)]
    bench.fail(10)
    bench.wait()
    probes = [bench.breaker.acquire() for _ in range(3)]
    for permit in old[:4]:
        permit.success(0.1)
    old[4].cancel()
    bench.refused()
    old[5].failure(0.1)
    old[6].hold_open(60.0)
    assert bench.state() == "half_open"
    for permit in probes:
        permit.success(0.1)
    old[7].failure(0.1)
    assert bench.state() == "closed"
    assert bench.breaker.failure_ratio == 0.0
