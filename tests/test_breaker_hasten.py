"""The circuit breaker hastened: half open before its time, on a sign that the upstream is well."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import rule

from proxy.events import Event
from tests.breakers import Bench, Settings
from tests.test_breaker_machine import BreakerMachine


def opened(**changes: float) -> Bench:
    """Return a bench whose breaker has just opened, for ten seconds."""
    bench = Bench(replace(Settings(), **changes))  # type: ignore[arg-type]  # numbers all
    bench.fail(10)
    assert bench.breaker.retry_after == 10.0
    return bench


def test_a_true_sign_ends_the_outage() -> None:
    """Hastened it lets its probes through at once, and closes when they are good."""
    bench = opened()
    bench.clock.shift(1.0)
    assert bench.breaker.can_hasten
    bench.breaker.hasten()
    assert (bench.state(), bench.breaker.retry_after) == ("half_open", 0.0)
    bench.succeed(3)
    assert bench.state() == "closed"
    assert bench.changes() == [("closed", "open"), ("open", "half_open"), ("half_open", "closed")]


def test_probes_are_bounded_all_the_same() -> None:
    """As many calls as ever get through half open, and one more is kept back."""
    bench = opened()
    bench.breaker.hasten()
    for _ in range(3):
        bench.breaker.acquire()
    bench.refused()


@pytest.mark.parametrize("wrong", ["failed", "slow"])
def test_a_wrong_sign_costs_nothing(wrong: str) -> None:
    """When the probes are bad it is open for the rest of its time, and for double that time next, as ever."""
    bench = opened()
    bench.clock.shift(4.0)
    bench.breaker.hasten()
    if wrong == "failed":
        bench.fail(1)
    else:
        bench.succeed(3, seconds=2.5)
    assert (bench.state(), bench.breaker.retry_after) == ("open", 6.0)
    bench.wait()
    bench.fail(1)
    assert bench.breaker.retry_after == 20.0


def test_one_sign_is_believed_in_an_open_time() -> None:
    """After a wrong sign no other helps until the next open time, so that signs do not hammer."""
    bench = opened()
    bench.breaker.hasten()
    bench.fail(1)
    assert not bench.breaker.can_hasten
    bench.breaker.hasten()
    assert bench.state() == "open"
    bench.wait()
    bench.fail(1)
    bench.breaker.hasten()
    assert bench.state() == "half_open"


def test_probes_of_before_its_time_hold_up_nothing() -> None:
    """When the open time is over, hung probes have no places and no say any more."""
    bench = opened()
    bench.clock.shift(9.0)
    bench.breaker.hasten()
    hung = [bench.breaker.acquire() for _ in range(3)]
    assert bench.breaker.retry_after == 1.0
    bench.wait()
    for permit in hung:
        permit.failure(3.0)
    assert (bench.state(), bench.breaker.retry_after) == ("half_open", 0.0)
    bench.succeed(3)
    assert bench.state() == "closed"


def test_a_lease_may_end_before_the_open_time() -> None:
    """With all places taken the next call is told of the lease that ends first."""
    bench = Bench(replace(Settings(), open=60.0))
    bench.fail(10)
    bench.breaker.hasten()
    for _ in range(3):
        bench.breaker.acquire()
    assert bench.breaker.retry_after == bench.breaker.lease


def test_a_late_verdict_on_a_wrong_sign_does_not_lengthen_either() -> None:
    """A probe that fails after the open time is over leaves the way free for proper ones."""
    bench = opened()
    bench.clock.shift(9.0)
    bench.breaker.hasten()
    permit = bench.breaker.acquire()
    bench.clock.shift(2.0)
    permit.failure(2.0)
    assert (bench.state(), bench.breaker.retry_after) == ("half_open", 0.0)


def test_no_sign_ends_a_pause_that_was_asked_for() -> None:
    """A pause that the upstream asked for is kept, whatever is said of its health."""
    bench = Bench()
    bench.breaker.hold_open(30.0)
    assert not bench.breaker.can_hasten
    bench.breaker.hasten()
    assert (bench.state(), bench.breaker.retry_after) == ("open", 30.0)
    tripped = opened()
    tripped.breaker.hold_open(2.0)
    tripped.breaker.hasten()
    assert (tripped.state(), tripped.breaker.retry_after) == ("open", 10.0)


def test_a_pause_that_a_hastened_probe_is_asked_for_does_not_shorten_the_open_time() -> None:
    """The later of the two ends holds, as it would have without the sign."""
    bench = opened()
    bench.breaker.hasten()
    bench.breaker.acquire().hold_open(2.0)
    assert (bench.state(), bench.breaker.retry_after) == ("open", 10.0)


def test_only_an_open_breaker_is_hastened() -> None:
    """Closed, half open or forced open, a sign changes nothing and nothing is told."""
    bench = Bench()
    bench.breaker.hasten()
    assert bench.state() == "closed"
    bench.fail(10)
    bench.wait()
    bench.breaker.hasten()
    assert bench.state() == "half_open"
    bench.breaker.force_open()
    bench.events.clear()
    assert not bench.breaker.can_hasten
    bench.breaker.hasten()
    assert (bench.state(), bench.events) == ("forced_open", [])


def outage(recovers: float, signs: list[float], dice: float) -> float:
    """Let an upstream fail until `recovers`, under steady traffic; return when the breaker closes."""
    bench = Bench(dice=dice)
    bench.fail(10)
    waiting = sorted(signs)
    while bench.state() != "closed":
        now = bench.clock.monotonic()
        while waiting and waiting[0] <= now:
            waiting.pop(0)
            bench.breaker.hasten()
        if bench.breaker.retry_after == 0.0:
            (bench.succeed if now >= recovers else bench.fail)(1)
        bench.clock.shift(0.125)
    return bench.clock.monotonic()


@given(
    recovers=st.floats(0.0, 400.0),
    signs=st.lists(st.floats(0.0, 800.0), max_size=60),
    dice=st.floats(0.0, 1.0, exclude_max=True),
)
@hypothesis_settings(max_examples=60)
def test_signs_never_lengthen_an_outage(recovers: float, signs: list[float], dice: float) -> None:
    """Whenever signs come, true or wrong, the breaker closes no later than without any."""
    assert outage(recovers, signs, dice) <= outage(recovers, [], dice)


def test_a_sign_each_second_shortens_an_outage_and_bounds_the_probes() -> None:
    """With a health page that lies for six minutes, the upstream gets a handful of probes more."""
    bench = Bench()
    bench.fail(10)
    probes = 0
    for _ in range(360):
        bench.breaker.hasten()
        if bench.breaker.retry_after == 0.0:
            bench.fail(1)
            probes += 1
        bench.clock.shift(1.0)
    # Open for 10, 20, 40, 80, 160 and 300 s: an early probe and a proper one each.
    assert probes <= 12
    assert outage(100.0, [101.0], 0.0) < 102.0 < outage(100.0, [], 0.0)


class HastenedMachine(BreakerMachine):
    """The breaker's state machine, with signs that come at any time."""

    early_until: float | None = None

    def observe(self, event: Event) -> None:
        """Forget that the breaker was hastened when it changes."""
        before = self.period if hasattr(self, "period") else 0
        super().observe(event)
        if self.period != before:
            self.early_until = None

    def state(self) -> str:
        """Read the state; where the open time of a hastened breaker is over, a new period has begun."""
        state = super().state()
        if self.early_until is not None and self.clock.monotonic() >= self.early_until:
            self.early_until = None
            self.begin_period()
        return state

    @rule()
    def hasten(self) -> None:
        """Give a sign: it makes an open breaker half open, or does nothing."""
        state = self.state()
        may = self.breaker.can_hasten
        period = self.period
        self.breaker.hasten()
        assert not self.breaker.can_hasten
        if not may:
            assert (self.told, self.period) == (state, period)
            return
        assert state == "open"
        assert self.told == "half_open"
        self.early_until = self.breaker._open_until


HastenedMachine.TestCase.settings = hypothesis_settings(
    max_examples=150, stateful_step_count=40, deadline=None
)
TestHastenedMachine = HastenedMachine.TestCase
