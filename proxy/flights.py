"""One call for many: the calls under way, by key, and the pauses after those that failed."""

import asyncio
from collections import OrderedDict
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from proxy.call import Answer, SourceFailed
from proxy.clock import Clock
from proxy.events import Crashed, Event, Observe, TokenAcquired
from proxy.outage import is_back

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds before a key whose call failed is asked for again in the background."""
MAX_PAUSES = 10_000


@dataclass(slots=True)
class Flights:
    """The calls under way, by key, each a task of its own: a client that leaves fails nobody.

    A key's own call is the one that others may join, and the only one whose answer is kept. Also remembers,
    of a bounded number of keys, until when a failed call is not to be repeated.
    """

    clock: Clock
    observe: Observe
    _tasks: dict[str, "asyncio.Task[Answer]"] = field(default_factory=dict)
    _running: set["asyncio.Task[Answer]"] = field(default_factory=set)
    # To ask asyncio for it is a system call in Python 3.11.
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    _pauses: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)
    _purges: int = 0
    _purging: int = 0

    def under_way(self, key: str) -> "asyncio.Task[Answer] | None":
        """Return the call that is under way for a key; one that has landed is not."""
        task = self._tasks.get(key)
        return None if task is None or task.done() else task

    def launch(self, key: str, call: Coroutine[None, None, Answer]) -> "asyncio.Task[Answer]":
        """Begin the call for a key."""
        task = self._loop.create_task(call)
        self._tasks[key] = task
        self._running.add(task)
        task.add_done_callback(lambda done: self._landed(key, done))
        return task

    def holds(self, key: str) -> bool:
        """Tell whether the task that runs is still the key's own call."""
        return not self._purging and self._tasks.get(key) is asyncio.current_task(self._loop)

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
        self._tasks.clear()

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

    def _landed(self, key: str, task: "asyncio.Task[Answer]") -> None:
        self._running.discard(task)
        if self._tasks.get(key) is task:
            del self._tasks[key]
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception) and not isinstance(error, SourceFailed):
            self.observe(Crashed("", error))
