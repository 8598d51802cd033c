"""How often one client may ask: a token bucket for each, in a table of bounded size."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from math import ceil
from typing import Final

from aiohttp import web

from proxy.call import Subject
from proxy.frozen import frozen
from proxy.headers import Field

CLIENTS: Final = 65_536
"""Buckets that are kept, about 210 bytes each."""
_ROUNDING: Final = 1e-9  # seconds; a client that waited as long as it was told is let in
POLICY: Final = "client"


@dataclass(slots=True)
class Buckets:
    """Token buckets by key: each holds `burst` tokens at most and gains `rate` a second.

    A bucket is kept as the time at which it is full again, so that one that is full need not be kept. Of more
    than `size`, the one unused for longest is forgotten, and is full when it is asked for again. That gains
    nobody anything: a bucket unused for `burst / rate` seconds is full anyhow, and to have one forgotten
    sooner takes `size` other keys, each with a bucket of its own. One that is asked in vain counts as used.
    """

    rate: float
    burst: int
    monotonic: Callable[[], float]
    size: int = CLIENTS
    # A plain dict whose first entry is taken out again and again looks for the next ever longer.
    _full_at: OrderedDict[str, float] = field(default_factory=OrderedDict, repr=False)

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, key: str) -> float:
        """Take a token and return 0.0, or return for how many seconds there is none."""
        now = self.monotonic()
        # Put back at the end: the first in the table is the one unused for longest.
        full_at = max(self._full_at.pop(key, now), now)
        wait = full_at - now - (self.burst - 1) / self.rate
        if wait <= _ROUNDING:
            wait = 0.0
            full_at += 1 / self.rate
        self._full_at[key] = full_at
        if len(self._full_at) > self.size:
            self._full_at.popitem(last=False)
        return wait


@frozen
class RateLimit:
    """Says whether a client asks too often."""

    buckets: Buckets

    def by_address(self, address: str) -> Mapping[str, str] | None:
        """Say it of whoever has an address."""
        return self(address_key(address))

    def __call__(self, client: str) -> Mapping[str, str] | None:
        """Return None to let a client's request in, or the fields of its 429 (RFC 6585 section 4).

        `RateLimit-Policy` and `RateLimit` are as in draft-ietf-httpapi-ratelimit-headers-10: quota and
        window; what is left, and for how many seconds. The window is the time in which an empty bucket fills.
        """
        wait = self.buckets.take(client)
        if not wait:
            return None
        quota, seconds = self.buckets.burst, ceil(wait)
        window = max(1, ceil(quota / self.buckets.rate))
        return {
            "Retry-After": str(seconds),
            "RateLimit-Policy": f'"{POLICY}";q={quota};w={window}',
            "RateLimit": f'"{POLICY}";r=0;t={seconds}',
        }


@frozen
class Admission:
    """Limits each viewer who is signed in, wherever they are, and all others by their `address`.

    `recognise` tells by header fields who calls; it looks nothing up where nothing is shown.
    """

    limit: RateLimit
    recognise: Callable[[Sequence[Field]], Awaitable[Subject]]
    address: Callable[[web.BaseRequest], str]

    async def __call__(self, request: web.BaseRequest) -> Mapping[str, str] | None:
        """Return None to let the request in, or the fields of its 429."""
        subject = await self.recognise(request.raw_headers)
        if subject.kind == "user":
            return self.limit(f"user {subject.discord_id}")
        return self.limit.by_address(self.address(request))


def address_key(address: str) -> str:
    """Return what stands for a client's address: an IPv6 client has a whole /64 (RFC 6177 section 2)."""
    if ":" not in address:
        return address
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    return str(IPv6Address(int(parsed) >> 64 << 64))
