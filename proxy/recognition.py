"""Tells who a caller is by what they show. Whoever cannot be told for sure is unknown."""

import asyncio
from collections.abc import Iterable

from proxy.call import Subject
from proxy.clock import Clock
from proxy.credentials import presented
from proxy.frozen import frozen
from proxy.sessions import Session, SessionStore


@frozen
class Recognition:
    """Recognises signed-in viewers; all others are `unknown`, the service. `roles` are every viewer's.

    A bearer token that is not known makes the caller unknown, whatever the cookie says; so do a token and a
    cookie of two people.
    """

    sessions: SessionStore
    unknown: Subject
    roles: tuple[str, ...]
    clock: Clock

    async def __call__(self, fields: Iterable[tuple[bytes, bytes]]) -> Subject:
        """Return on whose behalf the request with these header fields is made."""
        shown = presented(fields)
        if shown.cookie is None and shown.bearer is None:
            return self.unknown
        cookie, bearer = await asyncio.gather(
            self._session(shown.cookie_key), self._session(shown.bearer_key)
        )
        if shown.bearer is not None and bearer is None:
            return self.unknown
        if cookie is not None and bearer is not None and cookie.discord_id != bearer.discord_id:
            return self.unknown
        found = bearer or cookie
        if found is None:
            return self.unknown
        return Subject("user", found.discord_id, found.username, self.roles)

    async def _session(self, key: str | None) -> Session | None:
        session = None if key is None else await self.sessions.get(key)
        return session if session is not None and self.clock.time() < session.expires_at else None
