"""Entries, and what an entry's store tells, for the tests of the cache's storage."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from hypothesis import strategies as st

from proxy.redis_store import RedisStore
from proxy.store import Entry, StoreTrouble
from proxy.store_url import RedisAddress, parse_store_url
from tests.clocks import FakeClock

KEY = "video:0011223344556677:videoId=1_abc"

entries = st.builds(
    Entry,
    status=st.sampled_from([200, 404]),
    body=st.binary(max_size=300),
    etag=st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=40),
    stored_at=st.floats(0, 4e9),
    max_age=st.floats(0, 1e9),
    missing_until=st.floats(0, 4e9),
)


def entry(body: bytes = b'{"id":"1_abc"}', status: int = 200) -> Entry:
    """Return an entry in which only the body matters."""
    return Entry(status, body, '"0011aabb"', 1_795_395_189.25, 57.5)


@dataclass
class Opened:
    """A store in a Redis, its clock, and what it told."""

    store: RedisStore
    clock: FakeClock
    troubles: list[StoreTrouble] = field(default_factory=list)


@asynccontextmanager
async def opened(
    url: str,
    patience: float = 5.0,
    largest: int = 1_000_000,
    clock: FakeClock | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Opened]:
    """Open the store at a URL for a while; by default it is so patient that a busy machine does no harm."""
    address = parse_store_url(url)
    assert isinstance(address, RedisAddress)
    clock = clock or FakeClock()
    troubles: list[StoreTrouble] = []
    store = RedisStore(address, largest, clock, troubles.append, patience, tls)
    try:
        yield Opened(store, clock, troubles)
    finally:
        await store.aclose()
