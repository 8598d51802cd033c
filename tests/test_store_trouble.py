"""The cache in a Redis that is slow, gone, or no Redis at all: no request waits for it or fails by it."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.redis_link import CONNECTIONS, FAILURES, LIMIT, PATIENCE, PAUSE
from tests.clocks import settle, until
from tests.redis_server import RedisServer, free_port, running
from tests.stores import KEY, Opened, entry, opened

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis for one test, which may do with it what it likes."""
    with running(tmp_path) as server:
        yield server


@asynccontextmanager
async def impostor(answer: Handler) -> AsyncIterator[str]:
    """Listen as if there were a Redis, and do something else with each connection; yields the URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await answer(reader, writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"redis://127.0.0.1:{listener.sockets[0].getsockname()[1]}/0"
    finally:
        listener.close()
        await listener.wait_closed()


async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take everything and say nothing."""
    while await reader.read(1000):
        pass


def greeting(data: bytes) -> bytes:
    """Return what a Redis says to the names that redis-py gives itself on a new connection."""
    return b"+OK\r\n" * data.count(b"SETINFO")


async def use(one: Opened) -> None:
    """Do all that a request does with the store."""
    assert await one.store.get(KEY) is None
    await one.store.set(KEY, entry(), 60.0)


async def test_silent_server_costs_little_and_soon_nothing() -> None:
    """While Redis never answers a request waits for the patience, a few times, and then not at all."""
    async with impostor(silence) as url, opened(url, PATIENCE) as one:
        began = time.monotonic()
        for _ in range(500):
            await use(one)
        assert one.troubles == ["slow"] * FAILURES
        assert PATIENCE * FAILURES <= time.monotonic() - began < LIMIT


async def test_crowd_at_a_silent_server_waits_once() -> None:
    """Many different requests at once wait for the patience once, over a bounded number of connections."""
    connections = 0

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await silence(reader, writer)

    async with impostor(count) as url, opened(url, PATIENCE) as one:
        began = time.monotonic()
        found = await asyncio.gather(*(one.store.get(str(number)) for number in range(300)))
        assert time.monotonic() - began < LIMIT
        assert found == [None] * 300
        assert one.troubles.count("slow") == CONNECTIONS >= connections
        assert one.troubles.count("busy") == 300 - CONNECTIONS


async def test_those_who_wait_for_the_same_count_once() -> None:
    """A question that many wait for and that gets no answer is one failure, not many."""
    async with impostor(silence) as url, opened(url, PATIENCE) as one:
        assert await asyncio.gather(*(one.store.get(KEY) for _ in range(50))) == [None] * 50
        assert one.troubles == ["slow"]


async def test_frozen_server_is_left_alone_and_found_again(server: RedisServer) -> None:
    """A Redis that freezes is left alone for a while, then tried by one request; once it runs all goes on."""
    async with opened(server.url) as patient:
        await patient.store.set(KEY, entry(), 60.0)
    async with opened(server.url, PATIENCE) as one:
        await until_found(one)
        server.freeze()
        await asyncio.gather(*(one.store.get(str(number)) for number in range(FAILURES)))
        one.troubles.clear()
        assert await one.store.get(KEY) is None
        one.clock.shift(PAUSE - 0.01)
        assert await one.store.get(KEY) is None
        assert one.troubles == []
        one.clock.shift(0.01)
        await asyncio.gather(*(one.store.get(str(number)) for number in range(20)))
        assert one.troubles == ["slow"]
        server.thaw()
        await until_found(one)


async def until_found(one: Opened) -> None:
    """Ask until the entry is found, with the clock going on from pause to pause."""
    async with asyncio.timeout(10):
        while await one.store.get(KEY) != entry():
            one.clock.shift(PAUSE)


async def test_killed_server_is_a_miss_and_found_again_after_its_restart(server: RedisServer) -> None:
    """A Redis that dies under us is a miss at once; after a restart it is used as before."""
    async with opened(server.url) as one:
        await one.store.set(KEY, entry(), 60.0)
        assert await one.store.get(KEY) == entry()
        server.kill()
        for _ in range(20):
            await use(one)
        assert one.troubles == ["unreachable"] * FAILURES
        server.start()
        server.wait()
        assert await one.store.get(KEY) is None
        one.clock.shift(PAUSE)
        await one.store.set(KEY, entry(), 60.0)
        assert await one.store.get(KEY) == entry()
        assert len(one.troubles) == FAILURES


async def test_restart_between_two_requests_is_not_noticed(server: RedisServer) -> None:
    """Connections that a restart closed are made anew without any trouble."""
    async with opened(server.url) as one:
        await asyncio.gather(*(one.store.get(str(number)) for number in range(5)))
        server.kill()
        await settle()
        server.start()
        server.wait()
        await one.store.set(KEY, entry(), 60.0)
        assert await one.store.get(KEY) == entry()
        assert one.troubles == []


async def test_death_in_the_middle_of_an_answer_is_a_miss() -> None:
    """An answer that breaks off is no entry."""

    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while b"GET" not in (data := await reader.read(1000)):
            writer.write(greeting(data))
        writer.write(b"$100\r\n0123456789")
        await writer.drain()

    async with impostor(half) as url, opened(url) as one:
        assert await one.store.get(KEY) is None
        assert one.troubles == ["unreachable"]


async def test_nobody_there_is_a_miss() -> None:
    """A port that nobody listens on is a miss, and a purge there says that it was not done."""
    async with opened(f"redis://127.0.0.1:{free_port()}/0") as one:
        await use(one)
        assert not await one.store.purge()
        assert one.troubles == ["unreachable"] * 3


async def test_silent_server_ends_a_purge() -> None:
    """A purge of a Redis that never answers ends, and says that it was not done."""
    async with impostor(silence) as url, opened(url) as one:
        async with asyncio.timeout(10 * LIMIT):
            assert not await one.store.purge()
        assert one.troubles == ["slow"]


async def test_connection_that_took_long_serves_the_next_request() -> None:
    """A server that is slow to greet is a miss at first; the connection goes on coming about meanwhile."""
    greet = asyncio.Event()
    connections = 0

    async def hesitate(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await greet.wait()
        while data := await reader.read(1000):
            writer.write(b"$-1\r\n" if b"GET" in data else greeting(data))

    async with impostor(hesitate) as url, opened(url, PATIENCE) as one:
        assert await one.store.get(KEY) is None
        assert one.troubles == ["slow"]
        greet.set()
        await until(lambda: not one.store._link._running)
        assert await one.store.get("other") is None
        assert one.troubles == ["slow"]
        assert connections == 1


async def test_our_own_delay_is_not_held_against_redis(server: RedisServer) -> None:
    """When the loop was held up for longer than the patience the answer, which is there, is taken."""
    async with opened(server.url) as patient:
        await patient.store.set(KEY, entry(), 60.0)
    async with opened(server.url, PATIENCE) as one:
        await until_found(one)
        one.troubles.clear()
        asked = asyncio.create_task(one.store.get(KEY))
        for _ in range(6):
            await asyncio.sleep(0)
        time.sleep(2 * PATIENCE)  # noqa: ASYNC251  (the loop is to be late)
        assert await asked == entry()
        assert one.troubles == []


async def test_request_that_is_given_up_harms_nobody(server: RedisServer) -> None:
    """A client that leaves while Redis is asked neither stops another's question nor costs a connection."""
    async with opened(server.url) as one:
        await one.store.set(KEY, entry(), 60.0)
        for _ in range(2 * CONNECTIONS):
            leaving = asyncio.create_task(one.store.get(KEY))
            staying = asyncio.create_task(one.store.get(KEY))
            await asyncio.sleep(0)
            leaving.cancel()
            assert await staying == entry()
            with pytest.raises(asyncio.CancelledError):
                await leaving
        assert one.troubles == []


async def test_closing_lets_those_go_who_wait() -> None:
    """Whoever waits for Redis while the store is closed gets a miss at once."""
    async with impostor(silence) as url, opened(url) as one:
        waiting = asyncio.create_task(one.store.get(KEY))
        await until(lambda: bool(one.store._link._begun))
        async with asyncio.timeout(LIMIT):
            await one.store.aclose()
            assert await waiting is None
        assert one.troubles == []


ODD = [
    b":5\r\n",
    b"+OK\r\n",
    b"*1\r\n$1\r\nx\r\n",
    b"$x\r\n",
    b"*-5\r\n",
    b"$-7\r\n",
    b"HTTP/1.1 400 No\r\n\r\n",
    b"-ERR\r\n",
]


@given(st.sampled_from(ODD) | st.binary(min_size=1, max_size=30))
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
async def test_answers_of_something_else_are_a_miss(garbage: bytes) -> None:
    """Whatever a server that is no Redis says, nothing is found and nothing is raised."""

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            writer.write(greeting(data) or garbage)

    async with impostor(babble) as url, opened(url, 0.02) as one:
        await use(one)
        await one.store.get(KEY)
