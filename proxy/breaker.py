"""Circuit breaker: stops asking an upstream that fails, and finds out gently when it is well again.

                 enough failures or slow calls
        closed ---------------------------------> open
          ^                                       |  ^
          | all probes good          time is over |  | a probe fails, or most are slow
          |                                       v  |
          +------------------------------------ half_open

`forced_open` is the operator's, entered and left by hand only. Every change starts a new
generation; a verdict on a call that an earlier one let through is dropped: it tells of the past.

One event loop uses a breaker; there are no locks in here.
"""

from collections.abc import Callable
from itertools import count
from typing import Protocol

from proxy.call import Failure, FailureKind, SourceFailed
from proxy.clock import Clock
from proxy.events import BreakerChanged, BreakerRejected, BreakerState, Observe
from proxy.window import Totals, Window

JITTER = 0.2
LEASE = 10.0


class BreakerSettings(Protocol):
    """When to open and for how long. Times are in seconds, rates are shares from 0 to 1."""

    @property
    def window(self) -> float:
        """Results older than this do not count."""

    @property
    def minimum_calls(self) -> int:
        """Fewer results than this in the window never open the breaker."""

    @property
    def failure_rate(self) -> float:
        """Opens at this share of failures."""

    @property
    def slow_call(self) -> float:
        """A call that takes this long is slow, whatever its result."""

    @property
    def slow_rate(self) -> float:
        """Opens at this share of slow calls."""

    @property
    def open(self) -> float:
        """How long it stays open the first time; doubles with each time in a row."""

    @property
    def open_max(self) -> float:
        """How long it stays open at most."""

    @property
    def half_open_calls(self) -> int:
        """How many probes run at once while half open, and how many good ones close the breaker."""


class BreakerOpen(SourceFailed):
    """The breaker kept a call back.

    `retry_after` is in seconds. None when an operator holds the breaker open.
    """

    def __init__(self, breaker: str, retry_after: float | None) -> None:
        by_hand = "forced " if retry_after is None else ""
        detail = f"the circuit breaker {breaker} is {by_hand}open"
        super().__init__(Failure("gateway", FailureKind.BREAKER_OPEN, detail, retry_after=retry_after))
        self.retry_after = retry_after


class Permit:
    """Leave for one call. The first verdict counts, those after it are ignored.

    A permit without a verdict costs nothing while the breaker is closed; while it is half open its
    place goes to another call when the lease ends. Late verdicts count, if nothing changed.
    """

    __slots__ = ("_breaker", "_generation", "_judged", "_number")

    def __init__(self, breaker: "Breaker", generation: int, number: int) -> None:
        self._breaker = breaker
        self._generation = generation
        self._number = number
        self._judged = False

    def success(self, seconds: float) -> None:
        """Tell that the upstream did its part (a 4xx is that too) in that many seconds."""
        if self._valid():
            self._breaker._count(failed=False, seconds=seconds)  # noqa: SLF001

    def failure(self, seconds: float) -> None:
        """Tell that the upstream failed, after that many seconds."""
        if self._valid():
            self._breaker._count(failed=True, seconds=seconds)  # noqa: SLF001

    def cancel(self) -> None:
        """Tell that the call was given up, which says nothing of the upstream: not counted."""
        self._valid()

    def hold_open(self, seconds: float) -> None:
        """Tell that the upstream asked for a pause of that many seconds (429): no failure, but open."""
        if self._valid():
            self._breaker.hold_open(seconds)

    def _valid(self) -> bool:
        if self._judged:
            return False
        self._judged = True
        return self._breaker._give_back(self._generation, self._number)  # noqa: SLF001


class Breaker:
    """One circuit breaker, for one group of routes or one endpoint.

    `random` gives numbers from 0 up to 1. `lease` is how long, in seconds, a half-open call may
    keep its place without a verdict; it should outlast the longest attempt.
    """

    def __init__(
        self,
        name: str,
        settings: BreakerSettings,
        *,
        clock: Clock,
        random: Callable[[], float],
        observe: Observe,
        lease: float = LEASE,
    ) -> None:
        self.name = name
        self.lease = lease
        self._settings = settings
        self._clock = clock
        self._random = random
        self._observe = observe
        self._window = Window(settings.window, clock.monotonic)
        self._state: BreakerState = "closed"
        self._generation = 0
        self._numbers = count()
        self._open_until = 0.0
        self._openings = 0
        self._may_hasten = False
        self._hastened = False
        self._leases: dict[int, float] = {}
        self._probes = 0
        self._slow_probes = 0

    @property
    def state(self) -> BreakerState:
        """The state as of now: an open time that is over has made it half open."""
        self._lapse()
        return self._state

    @property
    def can_hasten(self) -> bool:
        """Whether `hasten` would change anything now."""
        self._lapse()
        return self._state == "open" and self._may_hasten

    @property
    def failure_ratio(self) -> float:
        """The share of failures in the window, 0 when nothing was counted."""
        return self._window.totals().failure_ratio

    @property
    def good(self) -> int:
        """How many results in the window were no failures."""
        totals = self._window.totals()
        return totals.calls - totals.failures

    @property
    def retry_after(self) -> float | None:
        """Seconds until a call may get through; 0 when one may now, None when nobody knows."""
        self._lapse()
        now = self._clock.monotonic()
        if self._state == "forced_open":
            return None
        if self._state == "open":
            return self._open_until - now
        if self._state == "half_open" and not self._has_place():
            soonest = min(self._leases.values())
            return (min(soonest, self._open_until) if self._hastened else soonest) - now
        return 0.0

    def acquire(self) -> Permit:
        """Give leave for one call.

        Raises:
            BreakerOpen: No call may be made now.
        """
        self._lapse()
        if self._state == "closed":
            return Permit(self, self._generation, -1)
        if self._state == "half_open" and self._has_place():
            number = next(self._numbers)
            self._leases[number] = self._clock.monotonic() + self.lease
            return Permit(self, self._generation, number)
        self._observe(BreakerRejected(self.name))
        raise BreakerOpen(self.name, self.retry_after)

    def hold_open(self, seconds: float) -> None:
        """Be open for that many seconds, as an upstream asked for, but never beyond `open_max`.

        The pause may come out a tenth longer, so that many sidecars do not come back in step. It is
        no failure and does not double the next open time. An operator's `forced_open` stays.
        """
        self._lapse()
        if self._state == "forced_open" or not seconds > 0:
            return
        pause = min(seconds * (1 + self._random() / 10), self._settings.open_max)
        until = self._clock.monotonic() + pause
        if self._state == "open" or self._hastened:
            until = max(self._open_until, until)
        self._open_until = until
        self._may_hasten = False
        if self._state != "open":
            self._turn("open")

    def hasten(self) -> None:
        """Be half open at once, for there is a sign that the upstream is well again.

        Once in an open time, and not in a pause that the upstream asked for. If the sign was wrong, the
        breaker is open again for what was left of that time and no longer: a sign may shorten an outage,
        but never lengthens it, and wrong ones come no more often than the open times do.
        """
        if self.can_hasten:
            self._may_hasten = False
            self._turn("half_open")
            self._hastened = True

    def force_open(self) -> None:
        """Let no call through until `reset`."""
        self._turn("forced_open")

    def reset(self) -> None:
        """Close, and forget what was counted and how often it had opened."""
        self._openings = 0
        self._window.clear()
        self._turn("closed")

    def _give_back(self, generation: int, number: int) -> bool:
        """Free the call's place; tell whether its verdict is about the present."""
        if generation != self._generation:
            return False
        self._leases.pop(number, None)
        return True

    def _count(self, *, failed: bool, seconds: float) -> None:
        slow = seconds >= self._settings.slow_call
        totals = self._window.add(failed=failed, slow=slow)
        if self._state == "closed":
            if totals.calls >= self._settings.minimum_calls and self._is_bad(totals):
                self._trip()
        elif failed:
            self._trip()
        else:
            self._probed(slow=slow)

    def _is_bad(self, totals: Totals) -> bool:
        settings = self._settings
        return _reaches(totals.failures, totals.calls, settings.failure_rate) or _reaches(
            totals.slow, totals.calls, settings.slow_rate
        )

    def _probed(self, *, slow: bool) -> None:
        self._probes += 1
        self._slow_probes += slow
        if self._probes < self._settings.half_open_calls:
            return
        # Closing on slow probes would only open again after the next few viewers have waited.
        if _reaches(self._slow_probes, self._probes, self._settings.slow_rate):
            self._trip()
        else:
            self.reset()

    def _has_place(self) -> bool:
        now = self._clock.monotonic()
        for number in [number for number, end in self._leases.items() if end <= now]:
            del self._leases[number]
        return len(self._leases) + self._probes < self._settings.half_open_calls

    def _lapse(self) -> None:
        # A hastened one begins anew, so that probes of before its time hold up nothing.
        if (self._state == "open" or self._hastened) and self._clock.monotonic() >= self._open_until:
            self._turn("half_open")

    def _trip(self) -> None:
        if self._hastened:
            self._turn("open")
            return
        settings = self._settings
        longest = min(settings.open * 2.0 ** min(self._openings, 64), settings.open_max)
        self._openings += 1
        # Shorter, never longer: the limit holds, and many sidecars do not probe in step.
        pause = longest * (1 - JITTER * self._random())
        self._open_until = self._clock.monotonic() + pause
        self._may_hasten = True
        self._turn("open")

    def _turn(self, state: BreakerState) -> None:
        before, self._state = self._state, state
        self._generation += 1
        self._leases.clear()
        self._probes = self._slow_probes = 0
        self._hastened = False
        if before != state:
            self._observe(BreakerChanged(self.name, before, state))


def _reaches(part: int, whole: int, rate: float) -> bool:
    """Tell whether the share reaches the rate; nothing at all never does, even for a rate of 0."""
    return part > 0 and part / whole >= rate
