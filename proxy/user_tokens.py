"""The gateway tokens of the users, each kept by a keeper of its own.

Nothing runs for a user who does not ask: a token is renewed when it is wanted near its end, and dropped when
it was not wanted for a while. How many are kept is bounded; the one unused for the longest time goes first.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol
from weakref import WeakSet

from proxy.call import Subject
from proxy.clock import Clock
from proxy.grant import Granted
from proxy.protocols import Tokens

MOST: Final = 10_000
"""Users whose tokens are kept at most."""
IDLE: Final = 15 * 60.0
"""Seconds after which a token that nobody wanted is dropped; the next call logs in again."""
SWEEP: Final = 60.0
"""Seconds between two looks for such tokens."""


class Keeper(Tokens, Protocol):
    """Keeps the tokens of one user, and gets and renews them when asked."""

    @property
    def expires_at(self) -> float | None:
        """When the token at hand ends, in seconds since the epoch; None where it does not say."""
        ...

    async def aclose(self) -> None:
        """Stop; whoever waits for a token is told that there is none."""
        ...


@dataclass(slots=True)
class _Kept:
    keeper: Keeper
    used: float


@dataclass(slots=True)
class UserTokens:
    """The keepers by the user's id, those used last at the end. `make` makes one, without asking anybody."""

    make: Callable[[Subject], Keeper]
    clock: Clock
    most: int = MOST
    _kept: OrderedDict[str, _Kept] = field(default_factory=OrderedDict, repr=False)
    # Those too that were dropped while somebody still waited for them.
    _alive: WeakSet[Keeper] = field(default_factory=WeakSet, repr=False)
    _closed: bool = False

    def __len__(self) -> int:
        """Return how many users have a keeper."""
        return len(self._kept)

    def of(self, subject: Subject) -> Tokens:
        """Return the tokens of a user."""
        kept = self._kept.get(subject.discord_id)
        if kept is None:
            return self._keep(subject, self._made(subject))
        kept.used = self.clock.monotonic()
        self._kept.move_to_end(subject.discord_id)
        return kept.keeper

    async def sign_in(self, subject: Subject) -> Granted:
        """Log a user in anew, whatever is kept, and keep that token from now on. Raises `TokenError`.

        When it fails, what was kept stays.
        """
        keeper = self._made(subject)
        token = await keeper.get()
        self._keep(subject, keeper)
        return Granted(token.value, keeper.expires_at)

    def drop(self, discord_id: str) -> None:
        """Forget a user's tokens. Calls that have one already end with it."""
        self._kept.pop(discord_id, None)

    async def run(self) -> None:
        """Drop what is idle, again and again, until cancelled."""
        while True:
            await self.clock.sleep(SWEEP)
            self._sweep()

    async def aclose(self) -> None:
        """Stop every login that is under way; from now on there are none."""
        self._closed = True
        self._kept.clear()
        for keeper in list(self._alive):
            await keeper.aclose()

    def _made(self, subject: Subject) -> Keeper:
        keeper = self.make(subject)
        self._alive.add(keeper)
        return keeper

    def _keep(self, subject: Subject, keeper: Keeper) -> Keeper:
        if not self._closed:
            self._kept.pop(subject.discord_id, None)
            self._kept[subject.discord_id] = _Kept(keeper, self.clock.monotonic())
            if len(self._kept) > self.most:
                self._kept.popitem(last=False)
        return keeper

    def _sweep(self) -> None:
        over = self.clock.monotonic() - IDLE
        while self._kept and next(iter(self._kept.values())).used <= over:
            self._kept.popitem(last=False)
