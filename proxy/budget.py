"""How many retries the gateway bears: a share of the calls that were made of late.

Attempts bound the retries of one call. When every call fails, only a bound over all of them keeps three
attempts each from being three times the load.
"""

from collections.abc import Callable

from proxy.window import Window

PERIOD = 10.0
"""Seconds over which calls and retries are counted."""
FLOOR = 10
"""Retries in a period that are allowed however few the calls are.

One a second: enough for a sidecar with a viewer or two, whose five calls in ten seconds may each fail twice,
and no load for a gateway that serves many. It is also as many failures as open a circuit breaker with default
settings, so that no failing gateway is asked much more often for it.
"""
# A window holds a result for nine tenths of its time at least. Retries must count for the whole period and
# calls for no longer, so that the share holds in any ten seconds.
_RETRIES_WINDOW = PERIOD / 0.9


class RetryBudget:
    """Allows retries up to `share` (0 to 1) of the calls of the last ten seconds, or up to the floor.

    `now` reads a clock, in seconds, that never runs backwards. A retry is no call, and earns no others.
    """

    __slots__ = ("_calls", "_retries", "_share")

    def __init__(self, share: float, now: Callable[[], float]) -> None:
        self._share = share
        self._calls = Window(PERIOD, now)
        self._retries = Window(_RETRIES_WINDOW, now)

    def call(self) -> None:
        """Count a call that was made, its first attempt only."""
        self._calls.add(failed=False, slow=False)

    def allow(self) -> bool:
        """Take one retry, if there is room for it."""
        room = max(FLOOR, self._share * self._calls.totals().calls)
        if self._retries.totals().calls + 1 > room:
            return False
        self._retries.add(failed=False, slow=False)
        return True
