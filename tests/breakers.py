"""A breaker on a bench: with its clock, its dice and what it told."""

from dataclasses import dataclass, field

import pytest

from proxy.breaker import Breaker, BreakerOpen
from proxy.events import BreakerChanged, Event
from tests.clocks import FakeClock


@dataclass(frozen=True)
class Settings:
    """The shipped defaults."""

    window: float = 30.0
    minimum_calls: int = 10
    failure_rate: float = 0.5
    slow_call: float = 2.0
    slow_rate: float = 1.0
    open: float = 10.0
    open_max: float = 300.0
    half_open_calls: int = 3


@dataclass
class Bench:
    """A breaker with its clock, its dice and what it told."""

    settings: Settings = field(default_factory=Settings)
    dice: float = 0.0

    def __post_init__(self) -> None:
        self.clock = FakeClock()
        self.events: list[Event] = []
        self.breaker = Breaker(
            "video",
            self.settings,
            clock=self.clock,
            random=lambda: self.dice,
            observe=self.events.append,
        )

    def state(self) -> str:
        """Read the breaker's state."""
        return self.breaker.state

    def fail(self, times: int, seconds: float = 0.1) -> None:
        """Let that many calls fail."""
        for _ in range(times):
            self.breaker.acquire().failure(seconds)

    def succeed(self, times: int, seconds: float = 0.1) -> None:
        """Let that many calls succeed."""
        for _ in range(times):
            self.breaker.acquire().success(seconds)

    def refused(self) -> BreakerOpen:
        """Ask for leave that must not be given."""
        with pytest.raises(BreakerOpen) as caught:
            self.breaker.acquire()
        return caught.value

    def wait(self) -> None:
        """Let the time pass that the breaker says it will be open."""
        self.clock.shift((self.breaker.retry_after or 0.0) + 1e-9)

    def changes(self) -> list[tuple[str, str]]:
        """List the changes told, as (from, to)."""
        return [(e.from_state, e.to_state) for e in self.events if isinstance(e, BreakerChanged)]
