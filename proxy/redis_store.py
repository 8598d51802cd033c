"""A cache in a Redis that several sidecars may share, and that may be slow or gone at no request's cost."""

import asyncio
import ssl
from typing import Final

from proxy.clock import Clock
from proxy.redis_link import PATIENCE, RedisLink, result_of
from proxy.store import Entry, OnTrouble, decode, encode
from proxy.store_url import RedisAddress

NAMESPACE: Final = "activity-proxy"
# Seconds that a purge may take, and how many keys it asks for at once.
PURGE_LIMIT: Final = 10.0
PURGE_BATCH: Final = 500


class RedisStore:
    """A `Store` in a Redis, under keys that begin with `activity-proxy:`.

    Holds answers that were fetched as the service and without credentials, nothing else. `largest` is
    the number of bytes over which an entry is not kept, `patience` the seconds that a request waits. How
    much Redis keeps in all is its own business (`maxmemory`), and so is keeping it over a restart.
    """

    def __init__(
        self,
        address: RedisAddress,
        largest: int,
        clock: Clock,
        on_trouble: OnTrouble,
        patience: float = PATIENCE,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._largest = largest
        self._clock = clock
        self._link = RedisLink(address, NAMESPACE, clock, on_trouble, patience, tls)
        self._reading: dict[str, asyncio.Task[object]] = {}

    async def get(self, key: str) -> Entry | None:
        """Return what is kept under the key; None also when Redis does not answer in time."""
        task = self._reading.get(key)
        # Those who ask for the same at the same time get the same answer, if it does not keep them waiting.
        if task is None or self._link.is_late(task):
            task = self._link.begin(lambda: self._link.cache.get(key))
            if task is None:
                return None
            self._reading[key] = task
            task.add_done_callback(lambda done: self._read(key, done))
        value = await self._link.wait(task)
        if value is None:
            return None
        entry = decode(value) if isinstance(value, bytes) else None
        if entry is None:
            self._link.on_trouble("foreign")
        return entry

    def at_hand(self, key: str) -> Entry | None:  # noqa: ARG002  (nothing is, in another process)
        """Return nothing: all that is kept has to be waited for."""
        return None

    async def set(self, key: str, entry: Entry, keep: float) -> bool:
        """Keep an entry for that many seconds, if Redis takes it and it is not too large."""
        value, cache = encode(entry), self._link.cache
        # Redis counts whole milliseconds and wants at least one.
        keeps = keep >= 0.001 and len(value) <= self._largest
        if keeps:
            task = self._link.begin(lambda: cache.set(key, value, ttl=float(keep)))
        else:
            task = self._link.begin(lambda: cache.delete(key))
        return task is not None and await self._link.wait(task) is not None and keeps

    async def purge(self) -> bool:
        """Drop all that is ours and nothing else; False when Redis is away or has too many keys for it."""
        await self._link.idle(PURGE_LIMIT)  # a write that began before must not come after
        task = self._link.force(self._sweep)
        if task is None:
            return False
        await asyncio.wait({task})
        return result_of(task) is True

    def size(self) -> tuple[int, int] | None:
        """Return None: Redis knows."""
        return None

    def items(self) -> list[tuple[str, Entry]]:
        """Return nothing: a restart of this process loses nothing."""
        return []

    async def aclose(self) -> None:
        """Give up what still runs and close the connections."""
        await self._link.aclose()

    def _read(self, key: str, task: "asyncio.Task[object]") -> None:
        if self._reading.get(key) is task:
            del self._reading[key]

    async def _sweep(self) -> bool:
        end = self._clock.monotonic() + PURGE_LIMIT
        cursor = 0
        while self._clock.monotonic() < end:
            cursor, keys = await self._link.cache.raw(
                "scan", cursor, match=f"{NAMESPACE}:*", count=PURGE_BATCH
            )
            if keys:
                await self._link.cache.raw("unlink", *keys)
            if cursor == 0:
                return True
        return False
