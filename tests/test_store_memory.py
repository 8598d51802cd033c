"""The cache in memory: bounded in bytes, least recently used first out."""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.memory_store import BoundedMemory, MemoryStore, weight
from proxy.store import Entry
from tests.clocks import FakeClock
from tests.stores import KEY, entry

GROWTH = """
import asyncio
from pathlib import Path
from proxy.clock import SystemClock
from proxy.memory_store import MemoryStore
from proxy.store import Entry

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

async def search():
    store = MemoryStore({max_size}, SystemClock())
    before = resident()
    for number in range(24_000):
        body = b"x" * (number * 7919 % {largest} + 1)
        key = f"search:0011223344556677:limit=20&page=1&q=cats%20{{number}}"
        await store.set(key, Entry(200, body, f'"{{number:024x}}"', 1e9 + number, 60.0 + number / 7), 86400.0)
    print(resident() - before, *store.size())

asyncio.run(search())
"""


def keys(found: Iterable[tuple[str, Entry]]) -> str:
    """Return one-letter keys in their order."""
    return "".join(key for key, _ in found)


def test_who_keeps_in_memory_does_not_pay_for_a_redis_that_is_installed() -> None:
    """No package for it is imported at the start, and those that are installed can be imported after it."""
    code = (
        "import sys, proxy.sidecar\n"
        "print(*sorted({'redis', 'cryptography', 'aiomcache'} & set(sys.modules)))\n"
        "import proxy.redis_store\n"
        "print('redis' in sys.modules)"
    )
    done = subprocess.run(  # noqa: S603  (our own code)
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent.parent,
    )
    assert done.stdout.splitlines() == ["", "True"]


async def test_entry_is_found_until_its_time_is_over() -> None:
    """An entry is there for the seconds it was to be kept, and then it is not, nor in the size."""
    clock = FakeClock()
    store = MemoryStore(100_000, clock)
    await store.set(KEY, entry(), 60.0)
    clock.shift(59.9)
    assert await store.get(KEY) == entry()
    assert store.size() == (weight(KEY, entry()), 1)
    clock.shift(0.1)
    assert store.items() == []
    assert await store.get(KEY) is None
    assert store.size() == (0, 0)


async def test_unknown_key_is_a_miss() -> None:
    """A key that was never set is found as nothing."""
    assert await MemoryStore(100_000, FakeClock()).get(KEY) is None


async def test_later_entry_takes_the_place_and_the_time_of_the_earlier() -> None:
    """A key that is set anew holds the new entry for the new time, and is counted once."""
    clock = FakeClock()
    store = MemoryStore(100_000, clock)
    await store.set(KEY, entry(b"old"), 1.0)
    await store.set(KEY, entry(b"new"), 60.0)
    clock.shift(30.0)
    assert await store.get(KEY) == entry(b"new")
    assert store.size() == (weight(KEY, entry(b"new")), 1)


async def test_least_recently_used_goes_first() -> None:
    """When room runs out it is the entry that was not asked for the longest time that goes."""
    one = weight("a", entry())
    store = MemoryStore(4 * one, FakeClock())
    for key in "abcd":
        await store.set(key, entry(), 60.0)
    await store.get("a")
    await store.set("e", entry(), 60.0)
    assert keys(store.items()) == "eadc"
    assert store.size() == (4 * one, 4)


async def test_huge_entry_does_not_push_out_the_others() -> None:
    """An entry over a quarter of the whole is not kept, and what was kept under its key before is gone."""
    store = MemoryStore(20_000, FakeClock())
    await store.set("a", entry(), 60.0)
    await store.set("b", entry(), 60.0)
    await store.set("b", entry(b"x" * 5_000), 60.0)
    assert keys(store.items()) == "a"
    fits = entry(b"x" * (20_000 // 4 - weight("b", entry(b""))))
    await store.set("b", fits, 60.0)
    assert await store.get("b") == fits


async def test_entry_that_is_of_no_use_is_not_kept() -> None:
    """An entry that is to be kept for no time at all is not, and the one before is gone."""
    store = MemoryStore(20_000, FakeClock())
    await store.set("a", entry(), 60.0)
    await store.set("a", entry(), 0.0)
    assert store.size() == (0, 0)


async def test_purge_drops_everything() -> None:
    """After a purge nothing is found and nothing counted."""
    store = MemoryStore(100_000, FakeClock())
    for key in "abc":
        await store.set(key, entry(), 60.0)
    assert await store.purge()
    assert await store.get("a") is None
    assert store.size() == (0, 0)
    await store.aclose()


async def test_items_are_a_copy() -> None:
    """What a snapshot is made of does not change under the hands of the thread that writes it."""
    store = MemoryStore(100_000, FakeClock())
    await store.set("a", entry(), 60.0)
    found = store.items()
    await store.set("b", entry(), 60.0)
    assert keys(found) == "a"


async def test_backend_speaks_aiocache() -> None:
    """The backend answers aiocache's own commands, times to live and namespaces among them."""
    clock = FakeClock()
    cache = BoundedMemory(100_000, clock)
    assert await cache.set("a", entry())
    await cache.set("b:1", entry(), ttl=5.0)
    clock.shift(1e9)
    assert [await cache.exists(key) for key in ("a", "b:1", "c")] == [True, False, False]
    assert [await cache.delete("a"), await cache.delete("a")] == [1, 0]
    await cache.set("b:2", entry())
    await cache.set("c", entry())
    await cache.clear(namespace="b:")
    assert keys(cache.items()) == "c"
    with pytest.raises(NotImplementedError):
        await cache.increment("c")


Step = tuple[str, str, int]
steps = st.tuples(
    st.sampled_from(["set", "get", "delete", "wait"]), st.sampled_from("abcdef"), st.integers(0, 900)
)


@given(st.lists(steps, max_size=60))
@settings(max_examples=150)
async def test_it_does_what_a_list_would_do(script: list[Step]) -> None:
    """Whatever is done in whatever order, it holds and counts what a plain list with the same rules does."""
    clock = FakeClock()
    cache = BoundedMemory(5_000, clock)
    model: list[tuple[str, Entry, float]] = []  # least recently used first
    for what, key, size in script:
        held = [one for one in model if one[0] == key]
        rest = [one for one in model if one[0] != key]
        if what == "wait":
            clock.shift(size / 100)
        elif what == "delete":
            assert await cache.delete(key) == len(held)
            model = rest
        elif what == "get":
            alive = [one for one in held if clock.monotonic() < one[2]]
            assert await cache.get(key) == (alive[0][1] if alive else None)
            model = rest + alive
        else:
            new = entry(b"x" * size)
            await cache.set(key, new, ttl=5.0)
            model = [*rest, (key, new, clock.monotonic() + 5.0)] if weight(key, new) <= 1_250 else rest
            while sum(weight(one[0], one[1]) for one in model) > 5_000:
                del model[0]
        assert cache.used == sum(weight(one[0], one[1]) for one in model) <= 5_000
        assert len(cache) == len(model)


@pytest.mark.parametrize("largest", [20, 6_000])
def test_process_grows_by_the_bound_and_little_more(largest: int) -> None:
    """24,000 distinct searches with 8 MiB grow the process by about that, be they small or large."""
    if not Path("/proc/self/statm").exists():
        pytest.skip("this system does not tell the size of a process in /proc")
    script = GROWTH.format(max_size=8 * 1024**2, largest=largest)
    root = Path(__file__).parent.parent
    done = subprocess.run(  # noqa: S603  (a script of our own)
        [sys.executable, "-c", script], cwd=root, capture_output=True, check=True, timeout=60
    )
    grown, counted, _ = (int(number) for number in done.stdout.split())
    assert 7 * 1024**2 < counted <= 8 * 1024**2
    assert 0.75 * counted < grown < 1.5 * counted
