"""A cache in this process's memory, bounded in bytes, behind aiocache's interface.

aiocache's own memory backend knows no bound and sets a timer for each key, which outlives the key. Here
nothing runs by itself: an entry whose time is over is dropped when it is met, or pushed out as the one
that was not used for the longest time.
"""

import sys
from collections import OrderedDict
from typing import Final

from proxy.clock import Clock
from proxy.lean_aiocache import BaseCache, NullSerializer
from proxy.store import Entry

# One entry takes at most this part of the whole: a single huge answer must not push out all others.
LARGEST_PART: Final = 4

# What an entry costs beside its texts, on a 64-bit CPython: the entry and its three times, the slot and
# its two numbers, the places in the ordered dictionary (which has room to spare), the allocator's own.
OVERHEAD: Final = 512

_Slot = tuple[Entry, float, int]


def weight(key: str, entry: Entry) -> int:
    """Return about how many bytes of memory it takes to keep an entry."""
    return sys.getsizeof(key) + sys.getsizeof(entry.body) + sys.getsizeof(entry.etag) + OVERHEAD


class BoundedMemory(BaseCache):  # type: ignore[misc]  # aiocache comes without types
    """aiocache backend: entries in the order of their last use, at most `max_size` bytes of them.

    Each operation takes constant time. It has what a cache of answers needs: get, set, delete, exists,
    clear; aiocache's other commands raise `NotImplementedError`. Times to live are in seconds of
    `clock`'s monotonic reading; without one an entry stays until it is pushed out.
    """

    NAME = "bounded_memory"

    def __init__(self, max_size: int, clock: Clock) -> None:
        super().__init__(serializer=NullSerializer(), timeout=0)
        self.max_size = max_size
        self.used = 0
        self._clock = clock
        self._slots: OrderedDict[str, _Slot] = OrderedDict()

    def __len__(self) -> int:
        """Return how many entries there are, those whose time is over but were not met since included."""
        return len(self._slots)

    def items(self) -> list[tuple[str, Entry]]:
        """Return what is there and still of use, most recently used first."""
        now = self._clock.monotonic()
        return [(key, slot[0]) for key, slot in reversed(self._slots.items()) if now < slot[1]]

    def at_hand(self, key: str) -> Entry | None:
        """Return what is there under a key; it counts as used."""
        slot = self._slots.get(key)
        if slot is None:
            return None
        if self._clock.monotonic() >= slot[1]:
            self._drop(key)
            return None
        self._slots.move_to_end(key)
        return slot[0]

    async def _get(self, key: str, **_: object) -> Entry | None:
        return self.at_hand(key)

    async def _set(self, key: str, value: Entry, ttl: float | None = None, **_: object) -> bool:
        return self.put(key, value, ttl)

    def put(self, key: str, value: Entry, ttl: float | None = None) -> bool:
        """Keep an entry, and tell whether there was room for it."""
        self._drop(key)
        cost = weight(key, value)
        if cost * LARGEST_PART > self.max_size or (ttl is not None and ttl <= 0):
            return False
        while self.used + cost > self.max_size:
            self.used -= self._slots.popitem(last=False)[1][2]
        over = float("inf") if ttl is None else self._clock.monotonic() + ttl
        self._slots[key] = (value, over, cost)
        self.used += cost
        return True

    async def _delete(self, key: str, **_: object) -> int:
        return self._drop(key)

    async def _exists(self, key: str, **_: object) -> bool:
        slot = self._slots.get(key)
        return slot is not None and self._clock.monotonic() < slot[1]

    async def _clear(self, namespace: str | None = None, **_: object) -> bool:
        for key in [key for key in self._slots if key.startswith(namespace or "")]:
            self._drop(key)
        return True

    def _drop(self, key: str) -> int:
        slot = self._slots.pop(key, None)
        if slot is None:
            return 0
        self.used -= slot[2]
        return 1


class MemoryStore:
    """A `Store` in memory, of at most `max_size` bytes: the process grows by about that and no more.

    Holds answers that were fetched as the service and without credentials, nothing else.
    """

    def __init__(self, max_size: int, clock: Clock) -> None:
        self._cache = BoundedMemory(max_size, clock)

    async def get(self, key: str) -> Entry | None:
        """Return what is kept under the key."""
        # Past aiocache's own `get`, which asks the environment and its plugins each time.
        return self._cache.at_hand(key)

    def at_hand(self, key: str) -> Entry | None:
        """Return what is kept under the key."""
        return self._cache.at_hand(key)

    async def set(self, key: str, entry: Entry, keep: float) -> bool:
        """Keep an entry for that many seconds, unless it is too large a part of the whole."""
        return self._cache.put(key, entry, keep)

    async def purge(self) -> bool:
        """Drop everything."""
        await self._cache.clear()
        return True

    def size(self) -> tuple[int, int]:
        """Return the bytes in use, overhead included, and the number of entries."""
        return self._cache.used, len(self._cache)

    def items(self) -> list[tuple[str, Entry]]:
        """Return what a snapshot should hold, most recently used first; a copy, for another thread."""
        return self._cache.items()

    async def aclose(self) -> None:
        """Do nothing: there is nothing to give back."""
