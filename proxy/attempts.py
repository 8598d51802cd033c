"""When a failed call to the gateway is made again: the rules that aiohttp-retry's loop follows.

One object a call, since the decision needs the call's own deadline and what the last attempt showed. Delays
are exponential with full jitter; a longer `Retry-After` wins; a repetition that the deadline would cut short
is not begun.
"""

from collections.abc import Callable
from typing import Protocol

from aiohttp import ClientResponse
from aiohttp_retry import RetryOptionsBase

from proxy.call import Failure
from proxy.clock import Clock
from proxy.events import Observe, RetryScheduled, RetrySuppressed
from proxy.protocols import Budget


class RetrySettings(Protocol):
    """How often and how soon: delays in seconds."""

    @property
    def attempts(self) -> int:
        """All attempts, the first one included."""
        ...

    @property
    def initial(self) -> float:
        """Upper bound of the first delay."""
        ...

    @property
    def max(self) -> float:
        """Upper bound of any delay."""
        ...


class AttemptFailed(Exception):
    """An attempt that brought no answer. `sent` is whether the gateway may have seen the request."""

    def __init__(self, failure: Failure, *, sent: bool, retryable: bool = True) -> None:
        super().__init__(failure.detail)
        self.failure = failure
        self.sent = sent
        self.retryable = retryable


class Attempts(RetryOptionsBase):
    """The retry options of one call.

    `least` is the time in seconds that an attempt needs: with less until the deadline none is begun again.
    `made` counts the attempts so far. `ended` is told what an exchange came to; the loop asks `exceptions`,
    `evaluate_response_callback` and `get_timeout` in turn.
    """

    def __init__(
        self,
        route: str,
        settings: RetrySettings,
        *,
        repeatable: bool,
        deadline: float,
        least: float,
        budget: Budget,
        clock: Clock,
        random: Callable[[], float],
        observe: Observe,
    ) -> None:
        # The base's own defaults retry every method on every 5xx, so they are not called for.
        self.attempts = settings.attempts
        self.statuses = ()
        self.methods = {"GET", "POST", "PUT", "PATCH", "DELETE"}
        self.retry_all_server_errors = False
        self.evaluate_response_callback = self._accept
        self._route = route
        self._settings = settings
        self._repeatable = repeatable
        self._deadline = deadline
        self._least = least
        self._budget = budget
        self._counted = False
        self._clock = clock
        self._random = random
        self._observe = observe
        self.made = 0
        self._last: AttemptFailed | None = None
        self._delay = 0.0

    def begin(self) -> None:
        """Take note that an attempt starts."""
        self.made += 1
        self._last = None

    def ended(self, failure: AttemptFailed | None) -> None:
        """Take note of what the attempt came to so far; None for an answer."""
        # Only now is it sure that the gateway was asked: what a breaker keeps back must not earn retries.
        if not self._counted:
            self._counted = True
            self._budget.call()
        self._last = failure

    @property
    def exceptions(self) -> tuple[type[Exception], ...]:  # type: ignore[override]  # decided anew each time
        """What the loop may repeat after: nothing, where the call must not be made again."""
        return (AttemptFailed,) if self._again() else ()

    async def _accept(self, _response: ClientResponse) -> bool:
        return not self._again()

    def get_timeout(self, attempt: int, response: ClientResponse | None = None) -> float:  # noqa: ARG002
        """Return the delay in seconds before the next attempt, and give up the response it replaces."""
        if response is not None:
            response.release()
        reason = self._last.failure.kind if self._last else "none"
        self._observe(RetryScheduled(self._route, reason, self._delay))
        return self._delay

    def _again(self) -> bool:
        last = self._last
        if last is None or not last.retryable or self.made >= self.attempts:
            return False
        if last.sent and not self._repeatable:
            self._observe(RetrySuppressed(self._route, "unsafe"))
            return False
        ceiling = min(self._settings.max, self._settings.initial * 2.0 ** (self.made - 1))
        self._delay = max(self._random() * ceiling, last.failure.retry_after or 0.0)
        if self._deadline - (self._clock.monotonic() + self._delay) < self._least:
            self._observe(RetrySuppressed(self._route, "deadline"))
            return False
        if not self._budget.allow():  # last, for what it allows is spent
            self._observe(RetrySuppressed(self._route, "budget"))
            return False
        return True
