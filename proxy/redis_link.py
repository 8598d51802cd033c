"""A Redis that may be slow or gone at no request's cost.

Each operation is a task of its own. A request waits for it a short time only and then goes on without,
while the operation ends by itself: a connection that takes longer to come about is there for the next
request, and none is torn apart in the middle. After some failures in a row Redis is left alone for a while.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

from aiocache.backends.redis import RedisCache
from aiocache.serializers import NullSerializer
from redis.asyncio import Connection
from redis.exceptions import AuthenticationError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeout

from proxy.clock import Clock
from proxy.store import OnTrouble, StoreTrouble
from proxy.store_url import RedisAddress
from proxy.tls import Pem, client_context

T = TypeVar("T")

# Seconds that a request waits.
PATIENCE: Final = 0.05
# Seconds after which a step of an operation that nobody waits for any more is given up.
LIMIT: Final = 1.0
CONNECTIONS: Final = 32
FAILURES: Final = 3
# Seconds without a try after that many failures in a row.
PAUSE: Final = 3.0
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


class RedisLink:
    """The connections to a Redis, under keys that begin with `namespace` and a colon.

    `cache` is aiocache's own client, to be called within an operation only. `patience` is the seconds that
    whoever waits for an operation waits. `tls` is what to make of the certificate of a `rediss`; None for
    what the system trusts.
    """

    def __init__(
        self,
        address: RedisAddress,
        namespace: str,
        clock: Clock,
        on_trouble: OnTrouble,
        patience: float,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.on_trouble = on_trouble
        self._patience = patience
        self._pause = Pause(clock)
        self._slots = asyncio.Semaphore(CONNECTIONS)
        self._running: set[asyncio.Task[Any]] = set()
        self._begun: set[asyncio.Task[Any]] = set()
        self._late: set[asyncio.Task[Any]] = set()
        self._closed = False
        self.cache = RedisCache(
            serializer=NullSerializer(encoding=None),
            namespace=namespace,
            timeout=0,
            endpoint=address.host,
            port=address.port,
            db=address.db,
            password=address.password,
            pool_max_size=CONNECTIONS,
            create_connection_timeout=LIMIT,
            connection_pool_kwargs={
                "username": address.username,
                "socket_timeout": LIMIT,
                # The older protocol spares a round trip for each connection, and every server has it.
                "protocol": 2,
                **(_secured(tls or client_context(Pem(), ())) if address.tls else {}),
            },
        )

    def begin(self, work: Callable[[], Awaitable[T]]) -> "asyncio.Task[T] | None":
        """Begin an operation, unless Redis is to be left alone for now."""
        return self.force(work) if self._pause.over() else None

    def force(self, work: Callable[[], Awaitable[T]]) -> "asyncio.Task[T] | None":
        """Begin an operation though Redis failed of late."""
        if self._closed:
            return None

        async def run() -> T:
            async with self._slots:
                self._begun.add(task)
                return await work()

        task = asyncio.create_task(run())
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def is_late(self, task: "asyncio.Task[Any]") -> bool:
        """Whether somebody has waited for that operation in vain."""
        return task in self._late

    async def wait(self, task: "asyncio.Task[T]", patience: float | None = None) -> T | None:
        """Return what an operation returns, None when it fails or takes too long (`patience`, in seconds)."""
        await asyncio.wait({task}, timeout=self._patience if patience is None else patience)
        for _ in range(_TURNS):
            if task.done():
                return result_of(task)
            # When it was this loop that was late, the answer lies there already: let it be read.
            await asyncio.sleep(0)
        if task not in self._begun:
            # All connections are busy, which is not Redis's fault.
            task.cancel()
            self.on_trouble("busy")
        elif task not in self._late:
            self._late.add(task)
            self._fail("slow")
        return None

    async def idle(self, limit: float) -> None:
        """Wait for what runs, whoever waits for it or not, for so many seconds at most."""
        if self._running:
            await asyncio.wait(tuple(self._running), timeout=limit)

    async def aclose(self) -> None:
        """Give up what still runs and close the connections."""
        self._closed = True
        while self._running:
            for task in self._running:
                task.cancel()
            # Once is not always enough: until Python 3.12 `asyncio.wait_for`, in redis-py, may lose it.
            await asyncio.wait(tuple(self._running), timeout=PATIENCE)
        closing = asyncio.ensure_future(self.cache.client.aclose(close_connection_pool=True))
        await asyncio.gather(closing, return_exceptions=True)

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
        self.on_trouble(trouble)


class _SecuredConnection(Connection):
    """A connection with our own context: redis-py's would believe the system's authorities beside ours."""

    def __init__(self, *, context: ssl.SSLContext, **settings: Any) -> None:  # noqa: ANN401  (redis-py's own)
        super().__init__(**settings)
        self._context = context

    def _connection_arguments(self) -> Mapping[str, Any]:
        return {**super()._connection_arguments(), "ssl": self._context}


def _secured(context: ssl.SSLContext) -> Mapping[str, object]:
    return {"connection_class": _SecuredConnection, "context": context}


def result_of(task: "asyncio.Task[T]") -> T | None:
    """Return what an operation that is over returned; None when it failed."""
    return None if task.cancelled() or task.exception() is not None else task.result()


def _kind(error: BaseException) -> StoreTrouble:
    if isinstance(error, RedisTimeout):
        return "slow"
    if isinstance(error, ResponseError | AuthenticationError):
        return "refused"
    return "unreachable" if isinstance(error, RedisError | OSError | EOFError) else "foreign"
