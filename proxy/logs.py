"""The observer that writes: events in, log lines out.

Masks and text are made by the writer's thread. A request's line costs the event loop no more than handing
its end to that thread, where nobody else listens to the access log.
"""

import logging
from dataclasses import field
from types import TracebackType
from typing import Final, Self, TextIO, get_args

from proxy.access_line import ACCESS, AccessLine, AccessRecord, JsonAccessLines, by_record, level_of
from proxy.clock import Clock
from proxy.events import (
    AnsweredAtOnce,
    AttemptEnded,
    BreakerRejected,
    CacheLooked,
    Event,
    RequestEnded,
    RequestStarted,
    SourceFailedEvent,
    Wants,
)
from proxy.frozen import frozen
from proxy.log_format import (
    COLOURS,
    JsonFormatter,
    TextFormatter,
)
from proxy.log_lines import Fields, limit_of, line_of
from proxy.log_writer import LogWriter

EVENTS: Final = "activity_proxy"

_UNTOLD: Final = frozenset({RequestStarted, CacheLooked, AttemptEnded, BreakerRejected})
"""What every request brings, and no line is written of."""


@frozen
class EventLog:
    """Writes a line for each event that a person wants to read.

    Lines of one kind of trouble come at most once in `every` seconds, with the number `suppressed`
    since the one before. Requests to the admin listener that went well are lines at debug level: probes
    and scrapes would drown the rest.
    """

    clock: Clock
    every: float = 10.0
    access: logging.Logger = field(default_factory=lambda: logging.getLogger(ACCESS))
    events: logging.Logger = field(default_factory=lambda: logging.getLogger(EVENTS))
    _seen: dict[tuple[str, ...], tuple[float, int]] = field(default_factory=dict, init=False, repr=False)

    @property
    def wants(self) -> Wants:
        """What is done with each kind of event that makes a line."""
        told = {kind: self._tell for kind in get_args(Event) if kind not in _UNTOLD}
        return {
            **told,
            RequestEnded: self._ended,
            AnsweredAtOnce: self._ended,
            SourceFailedEvent: self._source_failed,
        }

    def __call__(self, event: Event) -> None:
        """Log an event. Never raises, never waits."""
        if isinstance(event, RequestEnded):
            self._ended(event)
        else:
            self._tell(event)

    def _tell(self, event: Event) -> None:
        line = line_of(event)
        if line is None or not self.events.isEnabledFor(line.level):
            return
        fields = line.fields
        if line.limit is not None:
            if self._keeps_back(line.limit):
                return
            if suppressed := self._told(line.limit):
                fields = {**fields, "suppressed": suppressed}
        _log(self.events, line.level, line.message, fields, line.error)

    def _ended(self, event: RequestEnded) -> None:
        access = self.access
        if not access.isEnabledFor(level_of(event)):
            return
        writer = _only_writer(access)
        if writer is None:
            access.handle(AccessRecord(access.name, event, self.clock.time()))
        else:
            writer.ended(event, self.clock.time())

    def _source_failed(self, event: SourceFailedEvent) -> None:
        # In an outage each request brings one: what would be kept back is not even made.
        if not self._keeps_back(limit_of(event)):
            self._tell(event)

    def _keeps_back(self, limit: tuple[str, ...]) -> bool:
        """Tell whether it is too early for another line; if so, that counts."""
        last = self._seen.get(limit)
        if last is None or self.clock.monotonic() - last[0] >= self.every:
            return False
        self._seen[limit] = last[0], last[1] + 1
        return True

    def _told(self, limit: tuple[str, ...]) -> int:
        """Begin anew, and return how many lines were kept back since the last."""
        _, count = self._seen.get(limit, (None, 0))
        self._seen[limit] = self.clock.monotonic(), 0
        return count


def _only_writer(logger: logging.Logger) -> LogWriter | None:
    """Return the writer if it alone hears of what is logged there; others want records."""
    if logger.filters or logger.name != ACCESS:
        return None
    while not logger.handlers and logger.propagate and logger.parent is not None:
        logger = logger.parent
    if len(logger.handlers) != 1 or (logger.propagate and logger.parent is not None):
        return None
    (handler,) = logger.handlers
    return handler if isinstance(handler, LogWriter) and handler.takes_ends else None


def _log(
    logger: logging.Logger,
    level: int,
    message: str,
    fields: Fields,
    error: Exception | None = None,
) -> None:
    # Not `logger.log`: it walks the stack for the caller's line, which says nothing here.
    record = logger.makeRecord(
        logger.name,
        level,
        "",
        0,
        message,
        (),
        None if error is None else (type(error), error, error.__traceback__),
        extra={"fields": fields},
    )
    logger.handle(record)


def _tame(record: logging.LogRecord) -> bool:
    """Keep out what libraries say of each request: retries are events, aiohttp's chatter is none."""
    if record.name.startswith("aiohttp_retry"):
        return False
    return record.levelno >= logging.WARNING or not record.name.startswith("aiohttp")


@frozen
class Logging:
    """Logging as set up by `configure`, until closed."""

    writer: LogWriter
    level_before: int

    def close(self) -> None:
        """Write what waits, and leave logging as it was."""
        _gather(True)
        root = logging.getLogger()
        root.removeHandler(self.writer)
        root.setLevel(self.level_before)
        self.writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()


def _gather(wanted: bool) -> None:
    """Have records tell the process and the thread, or not: no line shows them, and finding out is slow."""
    logging.logProcesses = logging.logThreads = logging.logMultiprocessing = wanted


def configure(
    stream: TextIO,
    json: bool | None = None,
    *,
    colour: bool | None = None,
    level: int = logging.INFO,
) -> Logging:
    """Send everything that is logged to `stream`, as JSON lines or as text.

    None for `json` means text on a terminal, JSON elsewhere; None for `colour` means colours on a
    terminal. Without `close`, what waits is written at the interpreter's exit.
    """
    terminal = stream.isatty()
    formatter: logging.Formatter
    access: AccessLine
    if not terminal if json is None else json:
        formatter = JsonFormatter()
        access = JsonAccessLines(by_record(formatter)).line
    else:
        formatter = TextFormatter(COLOURS if (terminal if colour is None else colour) else {})
        access = by_record(formatter)
    handler = LogWriter(stream, formatter, access=access)
    handler.addFilter(_tame)
    root = logging.getLogger()
    before = root.level
    root.setLevel(level)
    root.addHandler(handler)
    _gather(False)
    return Logging(handler, before)
