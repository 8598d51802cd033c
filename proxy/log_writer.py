"""A log handler that never holds up whoever logs: a thread of its own formats and writes.

The queue is bounded. What does not fit is dropped, and a line tells how many were.
"""

import io
import logging
import os
import threading
from collections.abc import Callable
from copy import copy
from logging.handlers import QueueHandler
from queue import SimpleQueue
from typing import Final, TextIO

from proxy.access_line import ACCESS, AccessLine
from proxy.events import RequestEnded

LOGGER: Final = "activity_proxy.logs"

_Ended = tuple[float, RequestEnded]
_Item = logging.LogRecord | _Ended | threading.Event | None


def notice(message: str, **fields: object) -> logging.LogRecord:
    """Make the record of a line about the logs themselves."""
    return logging.makeLogRecord(
        {
            "name": LOGGER,
            "levelno": logging.WARNING,
            "levelname": "WARNING",
            "msg": message,
            "fields": fields,
        }
    )


def _unformattable(origin: str) -> logging.LogRecord:
    # Not the record's text or arguments: one of them is what cannot be shown.
    return notice("a log line could not be formatted", origin=origin)


def _writer(stream: TextIO) -> Callable[[str], None]:
    """Write past Python's buffers where there is a file.

    A thread that hangs in a buffer's lock, because nobody reads the pipe, would hang the
    interpreter's exit too.
    """
    stream.flush()

    def to_stream(text: str) -> None:
        stream.write(text)
        stream.flush()

    def to_descriptor(text: str) -> None:
        data = memoryview(text.encode("utf-8", "backslashreplace"))
        while data:
            # Asked each time: the number of a closed stream can be another file's by now.
            data = data[os.write(stream.fileno(), data) :]

    try:
        stream.fileno()
    except OSError:
        return to_stream
    return to_descriptor


class _Lines(logging.StreamHandler[io.StringIO]):
    """Formats records into lines. A record that cannot be formatted becomes a line that says so."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__(io.StringIO())
        self.setFormatter(formatter)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  (logging's own name)
        """Tell it in the log, not by a traceback."""
        self.emit(_unformattable(record.name))

    def take(self) -> str:
        """Return the lines since the last time."""
        text = self.stream.getvalue()
        self.stream.seek(0)
        self.stream.truncate()
        return text


class LogWriter(QueueHandler):
    """Writes records to a stream from a thread of its own, in the order in which they came.

    `capacity` is the number of records that may wait. The thread lets lines gather for `linger`
    seconds, so that it wakes a few times a second rather than at each line, or until half as many requests
    have ended. `flush` and `close` wait at most `patience` seconds for a stream that does not take what is
    written.

    With `access`, which makes a line of an end and its time, requests that ended may be handed over as they
    are: there are so many of them that records of them would be most of what logging costs.
    """

    def __init__(
        self,
        stream: TextIO,
        formatter: logging.Formatter,
        *,
        access: AccessLine | None = None,
        capacity: int = 8192,
        linger: float = 0.05,
        patience: float = 1.0,
    ) -> None:
        self._queue: SimpleQueue[_Item] = SimpleQueue()
        super().__init__(self._queue)
        self._write = _writer(stream)
        self._lines = _Lines(formatter)
        self._access = access
        self._capacity = capacity
        self._half_full = capacity // 2
        self._linger = linger
        self._patience = patience
        self._hurry = threading.Event()
        self._closed = False
        # Each number has one thread that changes it, so that neither waits for the other.
        self._refused = 0
        self._refused_ends = 0
        self._unwritten = 0
        self._told = 0
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Records that were not written, because too many waited or the stream failed."""
        return self._refused + self._refused_ends + self._unwritten

    @property
    def takes_ends(self) -> bool:
        """Whether requests that ended can be handed over without a record."""
        return self._access is not None

    def ended(self, event: RequestEnded, at: float) -> None:
        """Hand over a request that ended at that time (seconds since the epoch). For one thread only."""
        waiting = self._queue.qsize()
        if self._closed or waiting >= self._capacity:
            self._refused_ends += 1
            return
        self._queue.put((at, event))
        if waiting == self._half_full:
            self._hurry.set()

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """Fix what could change before the thread comes to it: the arguments of a message."""
        if record.args:
            record = copy(record)
            record.msg, record.args = record.getMessage(), None
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        """Hand a record to the thread, or count it as dropped."""
        if self._closed or self._queue.qsize() >= self._capacity:
            self._refused += 1
        else:
            self._queue.put_nowait(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  (logging's own name)
        """Tell it in the log, not by a traceback."""
        self.enqueue(_unformattable(record.name))

    def flush(self) -> None:
        """Wait until what was logged so far is written."""
        if not self._closed:
            written = threading.Event()
            self._queue.put(written)
            self._hurry.set()
            written.wait(self._patience)

    def close(self) -> None:
        """Write what waits and end the thread. `logging` calls it at the interpreter's exit."""
        self.acquire()
        try:
            # Under the lock that `handle` holds, so that nothing is queued behind the end.
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        finally:
            self.release()
        self._hurry.set()
        self._thread.join(self._patience)
        super().close()

    def _run(self) -> None:
        while True:
            batch = [self._queue.get()]
            self._hurry.wait(self._linger)
            self._hurry.clear()
            batch += [self._queue.get() for _ in range(self._queue.qsize())]
            self._write_lines(batch)
            signals = [item for item in batch if item is None or isinstance(item, threading.Event)]
            for signal in signals:
                if signal is not None:
                    signal.set()
            if None in signals:
                return

    def _write_lines(self, items: list[_Item]) -> None:
        access, lines = self._access, list[str]()
        for item in items:
            if isinstance(item, tuple) and access is not None:
                at, ended = item
                try:
                    lines.append(access(at, ended) + "\n")
                except (AttributeError, LookupError, TypeError, ValueError):
                    lines.append(self._line(_unformattable(ACCESS)))
            elif isinstance(item, logging.LogRecord):
                lines.append(self._line(item))
        written = len(lines)
        dropped = self.dropped
        if dropped > self._told:
            lines.append(self._line(notice("log lines dropped", dropped=dropped - self._told)))
        try:
            self._write("".join(lines))
        except (OSError, ValueError):  # ValueError: the stream was closed
            self._unwritten += written
        else:
            self._told = dropped

    def _line(self, record: logging.LogRecord) -> str:
        self._lines.handle(record)
        return self._lines.take()
