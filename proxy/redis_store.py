"""A cache in a Redis that several sidecars may share, and that may be slow or gone at no request's cost.

Each operation is a task of its own. A request waits for it a short time only and then goes on as after a
miss, while the operation ends by itself: a connection that takes longer to come about is there for the
next request, and none is torn apart in the middle. After some failures in a row Redis is left alone for
a while.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from aiocache import RedisCache
from aiocache.serializers import NullSerializer
from redis.exceptions import AuthenticationError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeout

from proxy.clock import Clock
from proxy.store import Entry, OnTrouble, StoreTrouble, decode, encode
from proxy.store_url import RedisAddress

T = TypeVar("T")

NAMESPACE: Final = "activity-proxy"
# Seconds that a request waits.
PATIENCE: Final = 0.05
# Seconds after which a step of an operation that nobody waits for any more is given up.
LIMIT: Final = 1.0
CONNECTIONS: Final = 32
FAILURES: Final = 3
# Seconds without a try after that many failures in a row.
PAUSE: Final = 3.0
# Seconds that a purge may take, and how many keys it asks for at once.
PURGE_LIMIT: Final = 10.0
PURGE_BATCH: Final = 500
# Turns of the loop that an answer needs from the socket to the one that waits for it, and some more.
_TURNS: Final = 10


class Pause:
    """Leaves a Redis alone that failed several times in a row, and lets one try ahead when time is over."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures = 0
        self._until = 0.0

    def over(self) -> bool:
        """Whether to try now."""
        if self._failures < FAILURES:
            return True
        now = self._clock.monotonic()
        if now < self._until:
            return False
        # One goes ahead; the others stay away until it is known how that one fared.
        self._until = now + PAUSE
        return True

    def succeeded(self) -> None:
        """Tell that Redis answered."""
        self._failures = 0

    def failed(self) -> None:
        """Tell that it did not."""
        self._failures += 1
        self._until = self._clock.monotonic() + PAUSE


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
    ) -> None:
        self._largest = largest
        self._clock = clock
        self._on_trouble = on_trouble
        self._patience = patience
        self._pause = Pause(clock)
        self._slots = asyncio.Semaphore(CONNECTIONS)
        self._running: set[asyncio.Task[Any]] = set()
        self._begun: set[asyncio.Task[Any]] = set()
        self._late: set[asyncio.Task[Any]] = set()
        self._reading: dict[str, asyncio.Task[object]] = {}
        self._closed = False
        self._cache = RedisCache(
            serializer=NullSerializer(encoding=None),
            namespace=NAMESPACE,
            timeout=0,
            endpoint=address.host,
            port=address.port,
            db=address.db,
            password=address.password,
            ssl=address.tls,
            pool_max_size=CONNECTIONS,
            create_connection_timeout=LIMIT,
            connection_pool_kwargs={
                "username": address.username,
                "socket_timeout": LIMIT,
                # The older protocol spares a round trip for each connection, and every server has it.
                "protocol": 2,
                # redis-py 5 does not look at the name in the certificate unless it is told to.
                **({"ssl_check_hostname": True} if address.tls else {}),
            },
        )

    async def get(self, key: str) -> Entry | None:
        """Return what is kept under the key; None also when Redis does not answer in time."""
        task = self._reading.get(key)
        # Those who ask for the same at the same time get the same answer, if it does not keep them waiting.
        if task is None or task in self._late:
            task = self._start(lambda: self._cache.get(key))
            if task is None:
                return None
            self._reading[key] = task
            task.add_done_callback(lambda done: self._read(key, done))
        value = await self._wait(task)
        if value is None:
            return None
        entry = decode(value) if isinstance(value, bytes) else None
        if entry is None:
            self._on_trouble("foreign")
        return entry

    async def set(self, key: str, entry: Entry, keep: float) -> None:
        """Keep an entry for that many seconds, if Redis takes it and it is not too large."""
        value = encode(entry)
        # Redis counts whole milliseconds and wants at least one.
        if keep < 0.001 or len(value) > self._largest:
            task = self._start(lambda: self._cache.delete(key))
        else:
            task = self._start(lambda: self._cache.set(key, value, ttl=float(keep)))
        if task is not None:
            await self._wait(task)

    async def purge(self) -> bool:
        """Drop all that is ours and nothing else; False when Redis is away or has too many keys for it."""
        task = None if self._closed else self._launch(self._sweep)
        if task is None:
            return False
        await asyncio.wait({task})
        return _result(task) is True

    def size(self) -> tuple[int, int] | None:
        """Return None: Redis knows."""
        return None

    def items(self) -> list[tuple[str, Entry]]:
        """Return nothing: a restart of this process loses nothing."""
        return []

    async def aclose(self) -> None:
        """Give up what still runs and close the connections."""
        self._closed = True
        while self._running:
            for task in self._running:
                task.cancel()
            # Once is not always enough: until Python 3.12 `asyncio.wait_for`, in redis-py, may lose it.
            await asyncio.wait(tuple(self._running), timeout=PATIENCE)
        closing = asyncio.ensure_future(self._cache.client.aclose(close_connection_pool=True))
        await asyncio.gather(closing, return_exceptions=True)

    def _start(self, work: Callable[[], Awaitable[T]]) -> "asyncio.Task[T] | None":
        return None if self._closed or not self._pause.over() else self._launch(work)

    def _launch(self, work: Callable[[], Awaitable[T]]) -> "asyncio.Task[T]":
        async def run() -> T:
            async with self._slots:
                self._begun.add(task)
                return await work()

        task = asyncio.create_task(run())
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    async def _wait(self, task: "asyncio.Task[T]") -> T | None:
        """Return what an operation returns, None when it fails or takes too long."""
        await asyncio.wait({task}, timeout=self._patience)
        for _ in range(_TURNS):
            if task.done():
                return _result(task)
            # When it was this loop that was late, the answer lies there already: let it be read.
            await asyncio.sleep(0)
        if task not in self._begun:
            # All connections are busy, which is not Redis's fault.
            task.cancel()
            self._on_trouble("busy")
        elif task not in self._late:
            self._late.add(task)
            self._fail("slow")
        return None

    def _read(self, key: str, task: "asyncio.Task[object]") -> None:
        if self._reading.get(key) is task:
            del self._reading[key]

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._running.discard(task)
        self._begun.discard(task)
        error = None if task.cancelled() else task.exception()
        if task in self._late:
            self._late.discard(task)
        elif error is not None:
            self._fail(_kind(error))
        elif not task.cancelled():
            self._pause.succeeded()

    def _fail(self, trouble: StoreTrouble) -> None:
        self._pause.failed()
        self._on_trouble(trouble)

    async def _sweep(self) -> bool:
        end = self._clock.monotonic() + PURGE_LIMIT
        cursor = 0
        while self._clock.monotonic() < end:
            cursor, keys = await self._cache.raw("scan", cursor, match=f"{NAMESPACE}:*", count=PURGE_BATCH)
            if keys:
                await self._cache.raw("unlink", *keys)
            if cursor == 0:
                return True
        return False


def _result(task: "asyncio.Task[T]") -> T | None:
    return None if task.cancelled() or task.exception() is not None else task.result()


def _kind(error: BaseException) -> StoreTrouble:
    if isinstance(error, RedisTimeout):
        return "slow"
    if isinstance(error, ResponseError | AuthenticationError):
        return "refused"
    return "unreachable" if isinstance(error, RedisError | OSError | EOFError) else "foreign"
