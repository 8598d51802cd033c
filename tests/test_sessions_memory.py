"""Sessions in memory: bounded in number, bytes and time."""

import gc
import tracemalloc

from proxy.memory_sessions import MemorySessions, weight
from proxy.sessions import Session
from tests.clocks import FakeClock

ALICE = Session("80351110224678912", "Alice", 1e10, "twin")


async def test_a_session_is_there_until_its_time_is_over() -> None:
    """A session that is over takes no room after it was met."""
    clock = FakeClock()
    sessions = MemorySessions(clock)
    assert await sessions.put("k", ALICE, 10)
    clock.shift(9.9)
    assert await sessions.get("k") == ALICE
    assert sessions.size() == (weight("k", ALICE), 1)
    clock.shift(0.1)
    assert await sessions.get("k") is None
    assert sessions.size() == (0, 0)
    assert await sessions.get("other") is None


async def test_sessions_are_forgotten_on_request() -> None:
    """Those named, with their twins, and no others; naming what is not there is no mistake."""
    sessions = MemorySessions(FakeClock())
    for key in ("a", "b", "c", "twin"):
        await sessions.put(key, ALICE, 10)
    assert await sessions.end("a", "b", "x") == [ALICE, ALICE]
    assert [key for key in ("a", "b", "c", "twin") if await sessions.get(key)] == ["c"]
    assert await sessions.end("a") == []
    await sessions.aclose()


async def test_the_number_is_bounded_and_the_unused_go_first() -> None:
    """Who was seen last stays."""
    sessions = MemorySessions(FakeClock(), most=2)
    for key in "ab":
        await sessions.put(key, ALICE, 10)
    await sessions.get("a")
    assert await sessions.put("c", ALICE, 10)
    assert [key for key in "abc" if await sessions.get(key)] == ["a", "c"]


async def test_the_bytes_are_bounded() -> None:
    """Long names make room for fewer, and what is larger than all is not kept."""
    sessions = MemorySessions(FakeClock(), max_size=3 * weight("a", ALICE))
    for key in "abcdef":
        assert await sessions.put(key, ALICE, 10)
    assert sessions.size() == (3 * weight("a", ALICE), 3)
    huge = Session("1", "x" * 10_000, 1e10)
    assert not await sessions.put("g", huge, 10)
    assert sessions.size() == (0, 0)


async def test_the_weight_is_what_memory_is_taken() -> None:
    """The bound in bytes is one of the process's memory, within a quarter."""
    sessions = MemorySessions(FakeClock())
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(10_000):
            await sessions.put(
                f"{number:064x}", Session(f"{10**17 + number}", f"viewer {number}", 1e10 + number), 10
            )
        gc.collect()
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert 0.75 < sessions.size()[0] / taken < 1.5


def test_a_session_does_not_show_whose_it_is() -> None:
    """No representation holds an id or a name."""
    assert "Alice" not in repr(ALICE)
    assert "8035" not in repr(ALICE)
