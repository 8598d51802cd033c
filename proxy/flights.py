"""One call for many: the calls under way, by key, and the pauses after those that failed."""

import asyncio
from collections import OrderedDict
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from proxy.call import Answer, SourceFailed
from proxy.clock import Clock
from proxy.events import Crashed, Event, Observe, TokenAcquired
from proxy.outage import is_back

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds before a key whose call failed is asked for again in the background."""
MAX_PAUSES = 10_000


class Flight:
    """One call under way, and those who wait for what it brings; whoever leaves takes it from nobody else."""

    __slots__ = ("_loop", "_task", "_waiting")

    def __init__(self, task: "asyncio.Task[Answer]", loop: asyncio.AbstractEventLoop) -> None:
        self._task = task
        self._loop = loop
        self._waiting: list[asyncio.Future[Answer]] = []

    @property
    def over(self) -> bool:
        """Whether it has landed."""
        return self._task.done()

    def is_flown_by(self, task: "asyncio.Task[Answer] | None") -> bool:
        """Tell whether this task makes the call."""
        return self._task is task

    def landing(self) -> "asyncio.Future[Answer]":
        """Return what to wait for: the answer, or why there is none."""
        # `asyncio.shield` does the same in twice as many turns of the event loop.
        place = self._loop.create_future()
        self._waiting.append(place)
        return place

    def tell(self, error: BaseException | None) -> None:
        """Tell all who wait; `error` is None where there is an answer."""
        for place in self._waiting:
            if place.done():
                continue  # who waited there has left
            if self._task.cancelled():
                place.cancel()
            elif error is not None:
                place.set_exception(error)
            else:
                place.set_result(self._task.result())


@dataclass(slots=True)
class Flights:
    """The calls under way, by key, each a task of its own: a client that leaves fails nobody.

    A key's own call is the one that others may join, and the only one whose answer is kept. Also remembers,
    of a bounded number of keys, until when a failed call is not to be repeated. `landings` are all calls that
    ever ended: whether one did meanwhile.
    """

    clock: Clock
    observe: Observe
    landings: int = 0
    _flights: dict[str, Flight] = field(default_factory=dict)
    _running: set["asyncio.Task[Answer]"] = field(default_factory=set)
    # To ask asyncio for it is a system call in Python 3.11.
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    _pauses: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)
    _purges: int = 0
    _purging: int = 0

    def under_way(self, key: str) -> Flight | None:
        """Return the call that is under way for a key; one that has landed is not."""
        flight = self._flights.get(key)
        return None if flight is None or flight.over else flight

    def launch(self, key: str, call: Coroutine[None, None, Answer]) -> Flight:
        """Begin the call for a key."""
        task = self._loop.create_task(call)
        flight = self._flights[key] = Flight(task, self._loop)
        self._running.add(task)
        task.add_done_callback(partial(self._landed, key, flight))
        return flight

    def holds(self, key: str) -> bool:
        """Tell whether the task that runs is still the key's own call."""
        flight = None if self._purging else self._flights.get(key)
        return flight is not None and flight.is_flown_by(asyncio.current_task(self._loop))

    @property
    def purges(self) -> int:
        """Changes with each purge that begins or ends: what was looked up before that is gone."""
        return self._purges

    @contextmanager
    def disowned(self) -> Iterator[None]:
        """During a purge: let all calls under way go on for those who wait, but keep none."""
        self._purging += 1
        self._disown()
        try:
            yield
        finally:
            self._purging -= 1
            self._disown()  # what began meanwhile may have been told of what is gone now

    def _disown(self) -> None:
        self._purges += 1
        self._flights.clear()

    def pausing(self, key: str) -> bool:
        """Tell whether the key's last call failed so lately that it is not repeated yet."""
        until, _ = self._pauses.get(key, (0.0, 0.0))
        return self.clock.monotonic() < until

    def failed(self, key: str) -> None:
        """Begin a pause for a key, twice as long as the one before."""
        _, before = self._pauses.pop(key, (0.0, FIRST_PAUSE / 2))
        pause = min(2 * before, LONGEST_PAUSE)
        self._pauses[key] = (self.clock.monotonic() + pause, pause)
        if len(self._pauses) > MAX_PAUSES:
            self._pauses.popitem(last=False)

    def notice(self, event: Event) -> None:
        """Take note of an event: a gateway that is back is asked again at once, for every key."""
        if is_back(event) or isinstance(event, TokenAcquired):
            self._pauses.clear()

    def succeeded(self, key: str) -> None:
        """Forget a key's failures."""
        self._pauses.pop(key, None)

    async def aclose(self) -> None:
        """Stop every call under way."""
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(tuple(self._running))

    def _landed(self, key: str, flight: Flight, task: "asyncio.Task[Answer]") -> None:
        self.landings += 1
        self._running.discard(task)
        if self._flights.get(key) is flight:
            del self._flights[key]
        error = None if task.cancelled() else task.exception()
        flight.tell(error)
        if isinstance(error, Exception) and not isinstance(error, SourceFailed):
            self.observe(Crashed("", error))
