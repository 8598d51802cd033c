"""Keeps the gateway token of one subject: gets it, renews it ahead of its end, replaces a refused one.

One flight at a time asks the token endpoint, however many calls wait; a waiter that leaves fails
nobody. While the endpoint is away a token that is still valid goes on being used; when there is none,
calls are told so at once until the next attempt is due.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import field
from typing import Literal

from proxy.call import FailureKind
from proxy.clock import Clock
from proxy.events import FixedTokenRefused, Observe, SubjectKind, TokenAcquired, TokenRequested
from proxy.frozen import frozen
from proxy.grant import Grant, TokenEndpointFailed, TokenError, TokenRefused, header_safe
from proxy.term import Moment, Term, fixed_term, granted_term

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 10.0
PAUSE_JITTER = 0.25
# A `Retry-After` beyond this is taken for a mistake: it would outlast what it was meant for.
LONGEST_RETRY_AFTER = 300.0


@frozen
class Token:
    """A bearer token, and which one in the row of its subject's tokens it is.

    `authorization` is the field's value that it makes (RFC 6750 section 2.1), written once.
    """

    value: str = field(repr=False)
    generation: int
    authorization: bytes = field(init=False, default=b"", repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "authorization", b"Bearer " + self.value.encode())


@frozen
class TokenStatus:
    """What an operator may see of a keeper, in seconds; None: no token, no end, no error."""

    fixed: bool
    age: float | None
    usable_for: float | None
    expires_at: float | None
    error: str | None
    next_attempt_in: float


@frozen
class _Held:
    token: Token
    term: Term
    fixed: bool = False


class TokenKeeper:
    """The tokens of one subject.

    `login` gets a token from nothing, `refresh` one for another that is still valid; both raise
    `TokenError`. `random` gives numbers from 0 up to 1. `fixed` is a token to be used until it ends
    or is voided; a `ValueError` says that no header can carry it. Without `run` nothing happens until
    somebody asks: a token near its end is given, and its successor got meanwhile. `longest_pause` is for how
    many seconds the endpoint is left alone at most after failures in a row, unless it asks for more.
    """

    __slots__ = (
        "__weakref__",
        "_clock",
        "_closed",
        "_error",
        "_failures",
        "_flight",
        "_generation",
        "_held",
        "_kind",
        "_login",
        "_longest_pause",
        "_observe",
        "_pause_until",
        "_random",
        "_refresh",
        "_strikes",
        "_tending",
        "_timer",
    )

    def __init__(
        self,
        login: Callable[[], Awaitable[Grant]],
        refresh: Callable[[str], Awaitable[Grant]],
        *,
        clock: Clock,
        random: Callable[[], float],
        observe: Observe,
        kind: SubjectKind = "service",
        fixed: str | None = None,
        longest_pause: float = LONGEST_PAUSE,
    ) -> None:
        self._longest_pause = longest_pause
        self._login = login
        self._refresh = refresh
        self._clock = clock
        self._random = random
        self._observe = observe
        self._kind: SubjectKind = kind
        self._flight: asyncio.Task[Token] | None = None
        self._timer: asyncio.Task[None] | None = None
        self._tending = self._closed = False
        self._error: TokenError | None = None
        self._failures = self._strikes = 0
        self._pause_until = -math.inf
        self._generation = 0
        self._held = self._hold_fixed(fixed) if fixed else None
        if self._held is not None and self._usable() is None:
            self._held = None
            observe(FixedTokenRefused(kind, "expired"))

    @property
    def expires_at(self) -> float | None:
        """When the token at hand ends by its own word, in seconds since the epoch."""
        held = self._usable()
        return None if held is None else held.term.expires_at

    @property
    def status(self) -> TokenStatus:
        """What there is now."""
        held, now = self._usable(), self._clock.monotonic()
        left = None if held is None else held.term.until - now
        return TokenStatus(
            fixed=held is not None and held.fixed,
            age=None if held is None else now - held.term.since,
            usable_for=None if left is None or math.isinf(left) else left,
            expires_at=None if held is None else held.term.expires_at,
            error=None if self._error is None else self._error.detail,
            next_attempt_in=max(0.0, self._pause_until - now),
        )

    def at_hand(self) -> Token | None:
        """Return the token that is held, if it is valid now."""
        held = self._held
        if held is None or not held.term.covers(self._clock.monotonic(), self._clock.time()):
            return None
        if not self._tending and not self._closed and self._due() <= self._clock.monotonic():
            self._launch()
        return held.token

    async def get(self) -> Token:
        """Return a token that is valid now.

        Raises:
            TokenError: None is to be had; `retry_after` tells when the next attempt is due.
        """
        token = self.at_hand()
        if token is not None:
            return token
        flight = self._launch()
        try:
            return await asyncio.shield(flight)
        except asyncio.CancelledError:
            waiter = asyncio.current_task()
            if waiter is not None and waiter.cancelling():
                raise
        # Nobody cancelled this call, so it was `aclose` that ended the flight.
        raise _stopping()

    def void(self, generation: int) -> None:
        """Drop the token of that generation, which the gateway refused (401); any other stays."""
        held = self._held
        if held is None or held.token.generation != generation:
            return
        self._held = None
        if held.fixed:
            self._observe(FixedTokenRefused(self._kind))
        young = self._clock.monotonic() - held.term.since < LONGEST_PAUSE
        self._strikes = self._strikes + 1 if young else 0
        # Once may be a revocation just after the login; again and again is a gateway that refuses
        # what it gives, and more logins do not help.
        if self._strikes > 1:
            detail = "the gateway refuses the tokens that it gives"
            self._back_off(TokenRefused(FailureKind.UNAUTHORIZED, detail), self._strikes - 1)

    async def run(self) -> None:
        """Keep a valid token at hand without being asked, the first one at once, until cancelled."""
        if self._held is not None:
            self._observe(TokenAcquired(self._kind, self._held.term.expires_at))
        self._tending = True
        self._schedule()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        """Stop; whoever still waits for a token is told that there is none."""
        self._closed, self._tending = True, False
        tasks = [task for task in (self._timer, self._flight) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _usable(self) -> _Held | None:
        held = self._held
        if held is None or not held.term.covers(self._clock.monotonic(), self._clock.time()):
            return None
        return held

    def _launch(self) -> asyncio.Task[Token]:
        """Return the flight that is under way, or begin one, if the time for it has come."""
        if self._flight is not None and not self._flight.done():
            return self._flight
        if self._closed:
            raise _stopping()
        left = self._pause_until - self._clock.monotonic()
        if self._error is not None and left > 0:
            raise _again(self._error, left)
        self._flight = asyncio.create_task(self._acquire())
        self._flight.add_done_callback(self._landed)
        return self._flight

    def _landed(self, flight: asyncio.Task[Token]) -> None:
        if self._flight is flight:
            self._flight = None
        if flight.cancelled():
            return
        # Looking at it also keeps a failure that nobody waited for out of the loop's complaints.
        error = flight.exception()
        if error is not None and not isinstance(error, TokenError):
            raise error
        self._schedule()

    async def _acquire(self) -> Token:
        try:
            return await self._renew(self._usable())
        except TokenError as error:
            self._observe(TokenRequested(self._kind, error.kind.value))
            self._failures += 1
            raise self._back_off(error, self._failures) from error

    async def _renew(self, held: _Held | None) -> Token:
        # After a failure even a valid token's successor comes by login: perhaps only refresh is ill.
        if held is not None and not self._failures:
            asked = Moment.now(self._clock)
            try:
                return self._take(await self._refresh(held.token.value), asked, "refresh")
            except TokenRefused as error:
                self._observe(TokenRequested(self._kind, error.kind.value))
        asked = Moment.now(self._clock)
        return self._take(await self._login(), asked, "login")

    def _take(self, grant: Grant, asked: Moment, outcome: Literal["login", "refresh"]) -> Token:
        term = granted_term(grant, asked, self._random())
        now, held = Moment.now(self._clock), self._held
        if held is not None and held.token.value == grant.token:
            term, token = held.term.given_again(term, now.monotonic), held.token
        else:
            token = self._numbered(grant.token)
        if not term.covers(now.monotonic, now.wall):
            detail = "the token given is as good as over (do the clocks agree?)"
            raise TokenEndpointFailed(FailureKind.CONTRACT, detail)
        self._held = _Held(token, term)
        self._error, self._failures, self._pause_until = None, 0, -math.inf
        self._observe(TokenRequested(self._kind, outcome))
        self._observe(TokenAcquired(self._kind, term.expires_at))
        return token

    def _hold_fixed(self, fixed: str) -> _Held:
        if not header_safe(fixed):
            raise ValueError("the fixed token holds characters that no header can carry")
        term = fixed_term(fixed, Moment.now(self._clock))
        return _Held(self._numbered(fixed), term, fixed=True)

    def _numbered(self, value: str) -> Token:
        self._generation += 1
        return Token(value, self._generation)

    def _back_off(self, error: TokenError, times: int) -> TokenError:
        """Begin a pause after the failure; return the failure with the pause's length in it."""
        pause = min(FIRST_PAUSE * 2.0 ** min(times - 1, 16), self._longest_pause)
        pause *= 1 - PAUSE_JITTER * self._random()
        # A breaker may close before its time, by the operator or a sign of health, and nobody would tell.
        is_open = error.kind is FailureKind.BREAKER_OPEN
        longest = self._longest_pause if is_open else LONGEST_RETRY_AFTER
        pause = max(pause, min(error.retry_after or 0.0, longest))
        # A copy, because the original's traceback would keep alive what was on the stack.
        self._error = _again(error, None)
        self._pause_until = self._clock.monotonic() + pause
        return _again(error, pause)

    def _due(self) -> float:
        """When the timer has something to do, by the monotonic clock."""
        held = self._usable()
        return max(self._pause_until, -math.inf if held is None else held.term.renew)

    def _schedule(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._tending and self._due() < math.inf:
            self._timer = asyncio.create_task(self._tend())

    async def _tend(self) -> None:
        while (wait := self._due() - self._clock.monotonic()) > 0:
            await self._clock.sleep(wait)
        self._launch()


def _again(error: TokenError, retry_after: float | None) -> TokenError:
    return type(error)(error.kind, error.detail, retry_after)


def _stopping() -> TokenEndpointFailed:
    return TokenEndpointFailed(FailureKind.TOKEN, "the sidecar is stopping")
