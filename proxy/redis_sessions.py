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

    async def drop(self, *keys: str) -> bool:
        """Forget sessions, if Redis does."""
        names = [f"{NAMESPACE}:{key}" for key in keys]
        task = self._link.begin(lambda: self._link.cache.raw("unlink", *names))
        return task is not None and await self._link.wait(task, LIMIT) is not None

    def size(self) -> tuple[int, int] | None:
        """Return None: Redis knows."""
        return None

    async def aclose(self) -> None:
        """Give up what still runs and close the connections."""
        await self._link.aclose()
