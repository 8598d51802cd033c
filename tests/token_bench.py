"""A token endpoint that the tests own, and a keeper on it."""

import asyncio
import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field

from proxy.events import Event, TokenAcquired, TokenRequested
from proxy.grant import Grant, TokenError
from proxy.tokens import LONGEST_PAUSE, TokenKeeper
from tests.clocks import FakeClock


def jwt(**claims: object) -> str:
    """Make a JWT with these claims and a signature of nothing in particular."""
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"e30.{payload}.c2ln"


@dataclass
class Endpoint:
    """Gives JWTs of `life` seconds by a clock that is `skew` seconds ahead of the sidecar's.

    `trouble` is raised instead, call by call, None being none; the last one stays. While `gate` is not
    set, calls wait.
    """

    clock: FakeClock
    life: int = 3600
    skew: float = 0.0
    trouble: list[TokenError | None] = field(default_factory=list)
    refresh_trouble: list[TokenError | None] = field(default_factory=list)
    make: Callable[[], Grant] | None = None

    def __post_init__(self) -> None:
        self.calls: list[str] = []
        self.refreshed: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def login(self) -> Grant:
        """Answer `POST /auth/token`."""
        self.calls.append("login")
        await self.gate.wait()
        return self._answer(self.trouble)

    async def refresh(self, token: str) -> Grant:
        """Answer `POST /auth/refresh`."""
        self.calls.append("refresh")
        self.refreshed.append(token)
        await self.gate.wait()
        return self._answer(self.refresh_trouble or self.trouble)

    def _answer(self, trouble: list[TokenError | None]) -> Grant:
        error = None
        if trouble:
            error = trouble.pop(0) if len(trouble) > 1 else trouble[0]
        if error is not None:
            raise error
        return self.make() if self.make else self.grant()

    def grant(self) -> Grant:
        """Give a token that was issued now."""
        issued = int(self.clock.time() + self.skew)
        return Grant(jwt(serial=len(self.calls), iat=issued, exp=issued + self.life))


class TokenBench:
    """A keeper with its clock, its endpoint, its dice and what it told."""

    def __init__(
        self, *, fixed: str | None = None, life: int = 3600, skew: float = 0.0, pause: float = LONGEST_PAUSE
    ) -> None:
        self.clock = FakeClock()
        self.endpoint = Endpoint(self.clock, life, skew)
        self.events: list[Event] = []
        self.dice = 0.0
        self.keeper = TokenKeeper(
            self.endpoint.login,
            self.endpoint.refresh,
            clock=self.clock,
            random=lambda: self.dice,
            observe=self.events.append,
            fixed=fixed,
            longest_pause=pause,
        )

    @property
    def calls(self) -> list[str]:
        """What the endpoint was asked so far."""
        return self.endpoint.calls

    def outcomes(self) -> list[str]:
        """List the outcomes told of requests to the endpoint."""
        return [event.outcome for event in self.events if isinstance(event, TokenRequested)]

    def acquired(self) -> list[float | None]:
        """List the ends told of tokens acquired."""
        return [event.expires_at for event in self.events if isinstance(event, TokenAcquired)]
