"""The address of the cache's storage, and the store that it opens."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.memory_store import MemoryStore
from proxy.redis_store import RedisStore
from proxy.store_url import RedisAddress, parse_store_url
from proxy.stores import open_store
from proxy.units import Refused
from tests.clocks import FakeClock


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://cache", RedisAddress("cache", 6379, 0, tls=False)),
        ("redis://127.0.0.1:7000/", RedisAddress("127.0.0.1", 7000, 0, tls=False)),
        ("rediss://[::1]:7000/12", RedisAddress("::1", 7000, 12, tls=True)),
        ("redis://[::1]/3", RedisAddress("::1", 6379, 3, tls=False)),
        ("redis://:p%40ss@cache/1", RedisAddress("cache", 6379, 1, tls=False, password="p@ss")),
        ("redis://me:a:b@cache", RedisAddress("cache", 6379, 0, tls=False, username="me", password="a:b")),
    ],
)
def test_address_is_read(url: str, address: RedisAddress) -> None:
    """Host, port, database, TLS, user and password are taken from the URL, with Redis's own defaults."""
    assert parse_store_url(url) == address


def test_memory_has_no_address() -> None:
    """`memory://` is the process itself."""
    assert parse_store_url("memory://") is None


@pytest.mark.parametrize(
    "url",
    [
        *(7, None, "", "memory", "memory://x", "memcached://cache", "redis:/cache", "REDIS://cache"),
        *(
            "redis://",
            "redis://:6379",
            "redis://cache:0",
            "redis://cache:70000",
            "redis://cache:x",
            "redis://a b",
        ),
        *(
            "redis://cache/x",
            "redis://cache/-1",
            "redis://cache/10000",
            "redis://cache/1/2",
            "redis://cache?db=1",
        ),
        *("redis://cache#1", "redis://cäche", "redis://[::1", "redis://[::1]x", "redis://cache/²"),
    ],
)
def test_other_addresses_are_refused(url: object) -> None:
    """What is no address of a store is refused with what to write in its place, or why."""
    with pytest.raises(Refused, match=r"memory://|can be"):
        parse_store_url(url)


@pytest.mark.parametrize("rest", ["/x", ":x", "?db=1", "/99999", ":0", "\n"])
@pytest.mark.parametrize("scheme", ["redis", "rediss", "redos"])
def test_no_error_shows_a_password(scheme: str, rest: str) -> None:
    """The password is not in the error, whatever else is wrong with the URL."""
    with pytest.raises(Refused) as refused:
        parse_store_url(f"{scheme}://me:geheim@cache{rest}")
    assert "geheim" not in str(refused.value)


def test_no_text_of_an_address_shows_a_password() -> None:
    """Neither text of an address tells as whom Redis is asked, the short one still says which it is."""
    address = parse_store_url("rediss://me:geheim@[::1]:7000/2")
    assert str(address) == "rediss://[::1]:7000/2"
    assert "geheim" not in repr(address)
    assert "me" not in repr(address).replace("username", "")


@given(st.text() | st.text().map("redis://".__add__))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text does anything but name a store or be refused."""
    try:
        address = parse_store_url(text)
    except Refused:
        return
    assert text == "memory://" or (address is not None and 0 < address.port < 65536)


async def test_url_decides_the_store() -> None:
    """Each kind of URL opens its kind of store, and a Redis that is away keeps nobody from starting."""
    assert isinstance(open_store("memory://", 1024**2, FakeClock(), print), MemoryStore)
    store = open_store("redis://127.0.0.1:1/0", 1024**2, FakeClock(), print)
    assert isinstance(store, RedisStore)
    assert store.size() is None
    assert store.items() == []
    await store.aclose()


def test_missing_extra_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package for Redis the error says how to get it, and shows no password."""
    for name in ("proxy.redis_store", "proxy.redis_link"):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "redis", None)
    monkeypatch.setitem(sys.modules, "redis.exceptions", None)
    with pytest.raises(Refused, match=r"redis://cache:6379/0 needs the packages redis and cryptography"):
        open_store("redis://:geheim@cache", 1024**2, FakeClock(), print)
