"""Who is signed in, and what is wanted of whatever keeps that."""

from dataclasses import field
from typing import Protocol

from proxy.frozen import frozen


@frozen
class Session:
    """A viewer whom Discord vouched for, until `expires_at` (epoch seconds).

    There is no secret in it. `twin` is the other key that the session is kept by, empty where there is none:
    the cookie's for the token's, and the other way round.
    """

    discord_id: str = field(repr=False)
    username: str = field(repr=False)
    expires_at: float
    twin: str = ""


class SessionStore(Protocol):
    """Keeps sessions by key, bounded in number and time. Never raises and never holds a request up.

    Keys are digests of what a viewer shows. A caller whose session cannot be looked up is unknown for now.
    """

    async def get(self, key: str) -> Session | None:
        """Return the session, None where there is none."""
        ...

    async def put(self, key: str, session: Session, keep: float) -> bool:
        """Keep a session for that many seconds, and tell whether it is kept."""
        ...

    async def end(self, *keys: str) -> list[Session] | None:
        """Forget the sessions under these keys, and their twins; return them, None where it failed."""
        ...

    def size(self) -> tuple[int, int] | None:
        """Return bytes and entries; None when that is known elsewhere only."""
        ...

    async def aclose(self) -> None:
        """Give back connections."""
        ...
