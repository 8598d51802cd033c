"""Sessions in a Redis that several sidecars share, encrypted, and gone there when their time is over."""

from typing import Final

from proxy.redis_link import LIMIT, RedisLink
from proxy.seal import Seal
from proxy.sessions import Session

NAMESPACE: Final = "activity-proxy-sessions"
"""Not below the cache's own, so that a purge of answers signs nobody out."""


class RedisSessions:
    """A `SessionStore` in a Redis. A look-up waits as short a time as one of the cache; a sign-in longer."""

    def __init__(self, link: RedisLink, seal: Seal) -> None:
        self._link = link
        self._seal = seal

    async def get(self, key: str) -> Session | None:
        """Return the session; None also when Redis does not answer in time."""
        task = self._link.begin(lambda: self._link.cache.get(key))
        value = None if task is None else await self._link.wait(task)
        if value is None:
            return None
        session = self._seal.open(key, value) if isinstance(value, bytes) else None
        if session is None:
            self._link.on_trouble("foreign")
        return session

    async def put(self, key: str, session: Session, keep: float) -> bool:
        """Keep a session, if Redis takes it."""
        sealed = self._seal.close(key, session)
        task = self._link.begin(lambda: self._link.cache.set(key, sealed, ttl=float(keep)))
        return task is not None and await self._link.wait(task, LIMIT) is True

    async def end(self, *keys: str) -> list[Session] | None:
        """Forget sessions with their twins, if Redis does, and return those that there were."""
        task = self._link.begin(lambda: self._end(keys))
        return None if task is None else await self._link.wait(task, LIMIT)

    async def _end(self, keys: tuple[str, ...]) -> list[Session]:
        raw = self._link.cache.raw
        values = await raw("mget", *map(_name, keys))
        opened = [self._seal.open(key, value) for key, value in zip(keys, values, strict=True) if value]
        sessions = [session for session in opened if session is not None]
        twins = [session.twin for session in sessions if session.twin]
        await raw("unlink", *map(_name, (*keys, *twins)))
        return sessions

    def size(self) -> tuple[int, int] | None:
        """Return None: Redis knows."""
        return None

    async def aclose(self) -> None:
        """Give up what still runs and close the connections."""
        await self._link.aclose()


def _name(key: str) -> str:
    return f"{NAMESPACE}:{key}"
