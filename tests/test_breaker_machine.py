"""The circuit breaker as a state machine: no order of calls, verdicts and hours breaks its rules."""

from dataclasses import dataclass

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from proxy.breaker import Breaker, BreakerOpen, Permit
from proxy.events import BreakerChanged, BreakerRejected, Event
from proxy.window import BUCKETS
from tests.breakers import Settings
from tests.clocks import FakeClock

LEASE = 7.0
LEGAL = {
    ("closed", "open"),
    ("open", "half_open"),
    ("half_open", "open"),
    ("half_open", "closed"),
}


@dataclass(eq=False)
class Ticket:
    """A permit, and the period (a number that each change or reset raises) that gave it."""

    permit: Permit
    period: int
    lease_end: float
    judged: bool = False


class BreakerMachine(RuleBasedStateMachine):
    """Drives a breaker beside a model that keeps every result instead of counts."""

    tickets: Bundle[Ticket] = Bundle("tickets")

    @initialize(
        settings=st.builds(
            Settings,
            window=st.floats(1.0, 60.0),
            minimum_calls=st.integers(1, 6),
            failure_rate=st.floats(0.0, 1.0),
            slow_rate=st.floats(0.0, 1.0),
            open=st.floats(0.1, 20.0),
            open_max=st.floats(20.0, 200.0),
            half_open_calls=st.integers(1, 4),
        ),
        dice=st.randoms(use_true_random=False),
    )
    def build(self, settings: Settings, dice: object) -> None:
        """Make the breaker and an empty model."""
        self.settings = settings
        self.clock = FakeClock()
        self.period = 0
        self.by_hand = False
        self.told = "closed"
        self.results: list[tuple[float, bool, bool]] = []
        self.live: list[Ticket] = []
        self.good = self.good_slow = 0
        self.rejected = 0
        self.breaker = Breaker(
            "video",
            settings,
            clock=self.clock,
            random=getattr(dice, "random"),  # noqa: B009  (the strategy's type is untyped)
            observe=self.observe,
            lease=LEASE,
        )

    def observe(self, event: Event) -> None:
        """Hold each change told against the legal ones and the state told before."""
        if isinstance(event, BreakerRejected):
            self.rejected += 1
            return
        assert isinstance(event, BreakerChanged)
        step = (event.from_state, event.to_state)
        assert event.from_state == self.told
        assert self.by_hand or step in LEGAL
        self.told = event.to_state
        self.begin_period()

    def state(self) -> str:
        """Read the breaker's state."""
        return self.breaker.state

    def begin_period(self) -> None:
        """Start a new period of the model, in which nobody holds a lease."""
        self.period += 1
        self.live = []
        self.good = self.good_slow = 0
        if self.told == "closed":
            self.results = []

    def counted(self) -> list[tuple[float, bool, bool]]:
        """List the results that the window still holds."""
        width = self.settings.window / BUCKETS
        oldest = int(self.clock.monotonic() / width) - BUCKETS
        return [result for result in self.results if int(result[0] / width) > oldest]

    def is_bad(self, results: list[tuple[float, bool, bool]]) -> bool:
        """Tell whether these results call for opening."""
        failed = sum(result[1] for result in results)
        slow = sum(result[2] for result in results)
        return (failed > 0 and failed / len(results) >= self.settings.failure_rate) or (
            slow > 0 and slow / len(results) >= self.settings.slow_rate
        )

    @rule(target=tickets)
    def acquire(self) -> Ticket | MultipleResults[Ticket]:
        """Ask for leave: given exactly when closed, or half open with a place left."""
        state = self.state()
        now = self.clock.monotonic()
        self.live = [ticket for ticket in self.live if ticket.lease_end > now]
        free = state == "closed" or (
            state == "half_open" and len(self.live) + self.good < self.settings.half_open_calls
        )
        rejected = self.rejected
        if free:
            ticket = Ticket(self.breaker.acquire(), self.period, now + LEASE)
            if state == "half_open":
                self.live.append(ticket)
            assert self.rejected == rejected
            return ticket
        with pytest.raises(BreakerOpen) as refusal:
            self.breaker.acquire()
        assert self.rejected == rejected + 1
        left = refusal.value.retry_after
        assert (left is None) == (state == "forced_open")
        assert left is None or 0 < left <= max(self.settings.open_max, LEASE) + 1e-6
        return multiple()

    @rule(ticket=tickets, failed=st.booleans(), slow=st.booleans())
    def verdict(self, ticket: Ticket, *, failed: bool, slow: bool) -> None:
        """Give a verdict, perhaps a second or an outdated one: only then does nothing happen."""
        state, period = self.state(), self.period
        counts = not ticket.judged and ticket.period == period
        ticket.judged = True
        ratio = self.breaker.failure_ratio
        expected = state
        if counts:
            self.live = [other for other in self.live if other is not ticket]
            self.results.append((self.clock.monotonic(), failed, slow))
            results = self.counted()
            if state == "closed":
                enough = len(results) >= self.settings.minimum_calls
                expected = "open" if enough and self.is_bad(results) else "closed"
            elif failed:
                expected = "open"
            else:
                self.good += 1
                self.good_slow += slow
                done = self.good == self.settings.half_open_calls
                bad = self.good_slow > 0 and self.good_slow / self.good >= self.settings.slow_rate
                expected = ("open" if bad else "closed") if done else "half_open"
        seconds = self.settings.slow_call * (1.5 if slow else 0.5)
        (ticket.permit.failure if failed else ticket.permit.success)(seconds)
        assert self.told == expected
        if not counts:
            assert (self.period, self.breaker.failure_ratio) == (period, ratio)

    @rule(failed=st.booleans(), slow=st.booleans(), times=st.integers(1, 6))
    def burst(self, *, failed: bool, slow: bool, times: int) -> None:
        """Make several calls that end alike, as far as they are let through."""
        for _ in range(times):
            ticket = self.acquire()
            if isinstance(ticket, Ticket):
                self.verdict(ticket, failed=failed, slow=slow)

    @rule(ticket=consumes(tickets))
    def cancel(self, ticket: Ticket) -> None:
        """Give a call up: no state, count or open time changes."""
        before = (self.state(), self.breaker.failure_ratio, self.period)
        ticket.permit.cancel()
        ticket.judged = True
        self.live = [other for other in self.live if other is not ticket]
        assert (self.state(), self.breaker.failure_ratio, self.period) == before

    @rule(ticket=tickets, seconds=st.floats(0.1, 500.0))
    def hold(self, ticket: Ticket, seconds: float) -> None:
        """Ask for a pause: only a call of the present gets one, and never a shorter one."""
        state, period = self.state(), self.period
        counts = not ticket.judged and ticket.period == period
        ticket.judged = True
        ticket.permit.hold_open(seconds)
        assert self.told == ("open" if counts else state)
        if counts:
            left = self.breaker.retry_after
            assert left is not None
            assert left >= min(seconds, self.settings.open_max) * 0.999999
            assert left <= self.settings.open_max * 1.000001
        else:
            assert self.period == period

    @rule(seconds=st.one_of(st.floats(0.0, 2.0), st.floats(0.0, 100.0)))
    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.shift(seconds)

    @rule()
    def force_open(self) -> None:
        """The operator forces it open."""
        self.by_hand = True
        self.breaker.force_open()
        self.by_hand = False
        self.begin_period()
        assert self.told == "forced_open"

    @rule()
    def reset(self) -> None:
        """The operator closes it."""
        self.by_hand = True
        self.breaker.reset()
        self.by_hand = False
        self.told = "closed"
        self.begin_period()
        assert self.state() == "closed"
        assert self.breaker.failure_ratio == 0.0

    @precondition(lambda self: self.told != "forced_open")
    @rule(target=tickets)
    def waiting_long_enough_always_helps(self) -> Ticket:
        """After the longest open time and a lease a call gets through, whatever was before."""
        self.clock.shift(self.settings.open_max + 1e-6)
        if self.state() == "half_open":
            self.clock.shift(LEASE)
        ticket = Ticket(self.breaker.acquire(), self.period, self.clock.monotonic() + LEASE)
        if self.told == "half_open":
            self.live.append(ticket)
        return ticket

    @precondition(lambda self: self.told == "open")
    @rule()
    def the_time_told_is_the_time_it_takes(self) -> None:
        """An open breaker is open until the time it tells, and half open from then on."""
        left = self.breaker.retry_after
        assert left is not None
        if self.told == "open":
            self.clock.shift(left * 0.999)
            assert self.state() == "open"
            self.clock.shift(left * 0.001 + 1e-6)
            assert self.state() == "half_open"

    @invariant()
    def the_state_told_is_the_state_read(self) -> None:
        """Changes told add up to the state, and only an open time running out goes without a call."""
        if hasattr(self, "breaker"):
            assert self.state() == self.told

    @invariant()
    def everything_is_bounded(self) -> None:
        """Leases, buckets and ratio stay within their bounds, and the ratio is the model's."""
        if not hasattr(self, "breaker"):
            return
        assert len(self.breaker._leases) <= self.settings.half_open_calls
        assert len(self.breaker._window._buckets) <= BUCKETS
        results = self.counted()
        failed = sum(result[1] for result in results)
        assert self.breaker.failure_ratio == (failed / len(results) if results else 0.0)
        assert self.breaker.good == len(results) - failed


BreakerMachine.TestCase.settings = hypothesis_settings(
    max_examples=150, stateful_step_count=40, deadline=None
)
TestBreakerMachine = BreakerMachine.TestCase
