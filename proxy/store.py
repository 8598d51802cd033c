"""What the cache keeps, and what it wants of whatever keeps it.

Only answers that were fetched as the service, without anything of the client's credentials, are ever
handed to a store: what is in here may be given to any viewer, lie in a shared Redis or on a disk.
"""

import math
import struct
import zlib
from collections.abc import Callable
from dataclasses import field
from typing import Final, Literal, Protocol

from proxy.frozen import frozen

FORMAT: Final = 2
STATUSES: Final = frozenset({200, 404})

StoreTrouble = Literal["slow", "busy", "unreachable", "refused", "foreign"]
"""What befalls a store that is elsewhere.

`slow`: no answer in time; `busy`: no connection was free in time; `refused`: an error for an answer;
`foreign`: a value that is none of ours.
"""

OnTrouble = Callable[[StoreTrouble], None]
"""Takes each trouble as it happens; never raises, never waits."""

# Version and checksum, of all that follows; then status, three times, and how long the two texts are.
_SEAL: Final = struct.Struct(">BI")
_HEAD: Final = struct.Struct(">HdddBI")
_LONGEST_ETAG: Final = 255


@frozen
class Entry:
    """An answer as it is kept, with what its freshness is reckoned by (RFC 9111 section 4.2).

    `etag` goes into a header as it is. `stored_at` is epoch seconds, `max_age` seconds with the jitter
    already in it. Never a user's answer, never one with a credential in it. Raises `ValueError` for what
    must not be kept or could not be sent.

    `missing_until` is there on a good answer after which the gateway said that there is no such thing: epoch
    seconds up to which that word stands, 0 where it said no such thing. Both are one entry, so that nothing
    that drops entries can leave the 404 and lose the good answer, which is for a gateway that fails.
    """

    status: int
    body: bytes = field(repr=False)
    etag: str
    stored_at: float
    max_age: float
    missing_until: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what no cache may hold."""
        if self.status not in STATUSES:
            raise ValueError("only 200 and 404 are kept")
        if not (self.etag.isascii() and self.etag.isprintable() and len(self.etag) <= _LONGEST_ETAG):
            raise ValueError("an entity tag is a short text of printable ASCII")
        times = (self.stored_at, self.max_age, self.missing_until)
        if not all(map(math.isfinite, times)) or self.max_age < 0:
            raise ValueError("times are finite, and an age is not negative")


class Store(Protocol):
    """Keeps entries by key. Never raises and never holds a request up: trouble looks like a miss.

    Keys are the caller's: printable ASCII, in one canonical form, without anything of a user.
    """

    async def get(self, key: str) -> Entry | None:
        """Return what is kept under the key, fresh or stale, and None when there is nothing."""
        ...

    def at_hand(self, key: str) -> Entry | None:
        """Return what `get` would, where that takes no waiting; else None."""
        ...

    async def set(self, key: str, entry: Entry, keep: float) -> bool:
        """Keep an entry in place of the one before, and tell whether it is kept as far as is known.

        After `keep` seconds it is of no use even as stale.
        """
        ...

    async def purge(self) -> bool:
        """Drop everything, and tell whether that was done."""
        ...

    def size(self) -> tuple[int, int] | None:
        """Return bytes and entries; None when that is known elsewhere only."""
        ...

    def items(self) -> list[tuple[str, Entry]]:
        """Return what a restart would lose, most recently used first."""
        ...

    async def aclose(self) -> None:
        """Give back connections. From then on nothing is found and nothing kept."""
        ...


def encode(entry: Entry) -> bytes:
    """Return an entry as bytes: version, checksum, fixed header, entity tag, body."""
    etag = entry.etag.encode("ascii")
    times = (entry.stored_at, entry.max_age, entry.missing_until)
    head = _HEAD.pack(entry.status, *times, len(etag), len(entry.body)) + etag
    checksum = zlib.crc32(entry.body, zlib.crc32(head))
    return b"".join((_SEAL.pack(FORMAT, checksum), head, entry.body))


def decode(data: bytes) -> Entry | None:
    """Return the entry of `encode`, and None for bytes that are damaged or came from elsewhere."""
    start = _SEAL.size + _HEAD.size
    if len(data) < start:
        return None
    version, checksum = _SEAL.unpack_from(data)
    status, *times, etag_length, body_length = _HEAD.unpack_from(data, _SEAL.size)
    middle = start + etag_length
    if version != FORMAT or len(data) != middle + body_length:
        return None
    if zlib.crc32(memoryview(data)[_SEAL.size :]) != checksum:
        return None
    try:
        return Entry(status, data[middle:], data[start:middle].decode("ascii"), *times)
    except ValueError:
        return None
