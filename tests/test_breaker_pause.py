"""The circuit breaker held open: by an upstream's `Retry-After`, and by the operator."""

from dataclasses import replace

import pytest

from proxy.breaker import Breaker
from tests.breakers import Bench, Settings
from tests.clocks import FakeClock


def test_a_long_pause_is_kept() -> None:
    """A 429's long pause opens it at once, for no less, and does not double the next time."""
    bench = Bench(dice=0.5)
    bench.breaker.acquire().hold_open(60.0)
    assert bench.state() == "open"
    assert bench.breaker.retry_after == pytest.approx(63.0)
    bench.wait()
    bench.fail(1)
    assert bench.breaker.retry_after == pytest.approx(9.0)


def test_a_pause_is_bounded_by_the_longest_open_time() -> None:
    """A pause of a day, or without end, is cut to the longest open time."""
    for seconds in (86400.0, float("inf")):
        bench = Bench()
        bench.breaker.hold_open(seconds)
        assert bench.breaker.retry_after == 300.0


@pytest.mark.parametrize("seconds", [0.0, -5.0, float("nan")])
def test_a_pause_of_nothing_is_none(seconds: float) -> None:
    """A pause that is no time at all leaves it closed."""
    bench = Bench()
    bench.breaker.hold_open(seconds)
    assert bench.state() == "closed"


def test_a_pause_lengthens_an_open_time_but_never_shortens_it() -> None:
    """While open, the later of the two ends holds, without another change being told."""
    bench = Bench()
    bench.fail(10)
    bench.breaker.hold_open(2.0)
    assert bench.breaker.retry_after == 10.0
    bench.breaker.hold_open(60.0)
    assert bench.breaker.retry_after == 60.0
    assert bench.changes() == [("closed", "open")]


def test_forced_open_ends_by_hand_only() -> None:
    """Forced open it says and stays so through time and pauses; reset closes it as good as new."""
    bench = Bench()
    bench.fail(10)
    bench.breaker.force_open()
    bench.breaker.hold_open(1.0)
    bench.clock.shift(1e6)
    assert bench.state() == "forced_open"
    refusal = bench.refused()
    assert refusal.retry_after is None
    assert refusal.failure.detail == "the circuit breaker video is forced open"
    bench.breaker.reset()
    bench.fail(10)
    assert bench.breaker.retry_after == 10.0
    assert bench.changes() == [
        ("closed", "open"),
        ("open", "forced_open"),
        ("forced_open", "closed"),
        ("closed", "open"),
    ]


def test_reset_while_closed_forgets_the_past() -> None:
    """Reset drops what was counted and what still runs, and tells of no change."""
    bench = Bench()
    running = bench.breaker.acquire()
    bench.fail(9)
    bench.breaker.reset()
    running.failure(0.1)
    assert bench.breaker.failure_ratio == 0.0
    assert bench.events == []


def test_an_observer_sees_the_new_state() -> None:
    """Whoever is told of a change reads the state it is about."""
    seen: list[tuple[str, float | None]] = []
    clock = FakeClock()
    breaker = Breaker(
        "video",
        replace(Settings(), minimum_calls=1),
        clock=clock,
        random=lambda: 0.0,
        observe=lambda _: seen.append((breaker.state, breaker.retry_after)),
    )
    breaker.acquire().failure(0.1)
    clock.shift(10.0)
    assert breaker.retry_after == 0.0
    assert seen == [("open", 10.0), ("half_open", 0.0)]
