"""What a stage asks of its neighbours, so that stages need not know each other."""

from typing import Protocol


class Token(Protocol):
    """A bearer token and which one in the row of its subject's tokens it is."""

    @property
    def value(self) -> str:
        """What is sent."""
        ...

    @property
    def authorization(self) -> bytes:
        """What the field `Authorization` says with it."""
        ...

    @property
    def generation(self) -> int:
        """What is named when it is voided."""
        ...


class Tokens(Protocol):
    """Keeps the tokens of a subject."""

    def at_hand(self) -> Token | None:
        """Return a valid token that takes no waiting, if there is one."""
        ...

    async def get(self) -> Token:
        """Return a valid token. Raises `proxy.grant.TokenError`."""
        ...

    def void(self, generation: int) -> None:
        """Forget the token of that generation, which the gateway refused."""
        ...


class Budget(Protocol):
    """Bounds the retries of all calls together."""

    def call(self) -> None:
        """Count a call that reached the gateway, its first attempt only."""
        ...

    def allow(self) -> bool:
        """Take one retry, if there is room for it."""
        ...


class Permit(Protocol):
    """A breaker's leave for one attempt, to be told how it went; what it is told first counts.

    `seconds` is how long the attempt took.
    """

    def success(self, seconds: float) -> None:
        """The gateway answered as it should."""

    def failure(self, seconds: float) -> None:
        """The gateway failed."""

    def cancel(self) -> None:
        """Nothing is known of the gateway."""

    def hold_open(self, seconds: float) -> None:
        """The gateway asks to be left alone for that many seconds."""


class Breaker(Protocol):
    """Lets attempts through, or keeps them back."""

    def acquire(self) -> Permit:
        """Ask for one attempt. Raises `proxy.call.SourceFailed`."""
        ...
