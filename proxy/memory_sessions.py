"""Sessions in this process's memory: bounded in number and bytes, gone with a restart."""

import sys
from collections import OrderedDict
from typing import Final

from proxy.clock import Clock
from proxy.sessions import Session

MOST: Final = 50_000
"""Entries; a session has two, the cookie's and the token's."""
MAX_SIZE: Final = 48 * 1024**2
"""Bytes."""
# What an entry costs beside its texts, on a 64-bit CPython: session, slot, numbers, places in the dictionary.
OVERHEAD: Final = 480

_Slot = tuple[Session, float, int]


def weight(key: str, session: Session) -> int:
    """Return about how many bytes of memory it takes to keep a session."""
    texts = (key, session.discord_id, session.username, session.twin)
    return sum(map(sys.getsizeof, texts)) + OVERHEAD


class MemorySessions:
    """A `SessionStore` in memory: the session that was unused for the longest time makes room.

    Nothing runs by itself: a session whose time is over is dropped when it is met, or pushed out.
    """

    def __init__(self, clock: Clock, most: int = MOST, max_size: int = MAX_SIZE) -> None:
        self._clock = clock
        self._most = most
        self._max_size = max_size
        self._used = 0
        self._slots: OrderedDict[str, _Slot] = OrderedDict()

    async def get(self, key: str) -> Session | None:
        """Return the session, if its time is not over."""
        slot = self._slots.get(key)
        if slot is None:
            return None
        if self._clock.monotonic() >= slot[1]:
            self._drop(key)
            return None
        self._slots.move_to_end(key)
        return slot[0]

    async def put(self, key: str, session: Session, keep: float) -> bool:
        """Keep a session."""
        self._drop(key)
        cost = weight(key, session)
        self._slots[key] = (session, self._clock.monotonic() + keep, cost)
        self._used += cost
        while len(self._slots) > self._most or self._used > self._max_size:
            self._used -= self._slots.popitem(last=False)[1][2]
        return key in self._slots

    async def end(self, *keys: str) -> list[Session]:
        """Forget sessions with their twins, and return those that there were."""
        sessions = [slot[0] for key in keys if (slot := self._slots.get(key)) is not None]
        for key in (*keys, *(session.twin for session in sessions)):
            self._drop(key)
        return sessions

    def size(self) -> tuple[int, int]:
        """Return the bytes in use, overhead included, and the number of entries."""
        return self._used, len(self._slots)

    async def aclose(self) -> None:
        """Do nothing: there is nothing to give back."""

    def _drop(self, key: str) -> None:
        slot = self._slots.pop(key, None)
        if slot is not None:
            self._used -= slot[2]
