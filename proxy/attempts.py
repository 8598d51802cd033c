"""When a failed call to the gateway is made again: the rules that aiohttp-retry's loop follows.

One object a call, since the decision needs the call's own deadline and what the last attempt showed. Delays
are exponential with full jitter; a longer `Retry-After` wins; a repetition that the deadline would cut short
is not begun. The loop is begun only when the first attempt has failed (docs/decisions tells why).
"""

from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar, cast

from aiohttp import ClientSession
from aiohttp_retry import RetryClient, RetryOptionsBase

from proxy.call import Failure
from proxy.clock import Clock
from proxy.events import Observe, RetryScheduled, RetrySuppressed
from proxy.protocols import Budget

R = TypeVar("R")


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

    statuses = ()
    methods = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
    retry_all_server_errors = False

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

    @property
    def failed(self) -> bool:
        """Whether the last attempt failed."""
        return self._last is not None

    async def evaluate_response_callback(self, _response: object) -> bool:
        """Tell the loop whether to make do with the last answer."""
        return not self._again()

    def get_timeout(self, attempt: int, response: object = None) -> float:  # noqa: ARG002
        """Return the delay in seconds before the next attempt."""
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


async def repeated(first: R | AttemptFailed, again: Callable[[], Awaitable[R]], attempts: Attempts) -> R:
    """Go on after a first attempt that failed, and return the answer that the loop makes do with.

    `first` is what it came to, `again` makes another one. Raises `AttemptFailed`, and what `again` raises.
    """
    client = RetryClient(cast("ClientSession", _Replay(first, again)), retry_options=attempts)
    return cast("R", await client.request("GET", ""))


class _Replay(Generic[R]):
    """What the loop takes for its session: its first request comes to what is known already."""

    def __init__(self, first: R | AttemptFailed, again: Callable[[], Awaitable[R]]) -> None:
        self._first: R | AttemptFailed | None = first
        self._again = again

    async def request(self, *_: object, **__: object) -> R:
        """Make an attempt; what is to be sent is known without the loop."""
        first, self._first = self._first, None
        if first is None:
            return await self._again()
        if isinstance(first, AttemptFailed):
            raise first
        return first
