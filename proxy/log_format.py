"""Log records as lines: one JSON object each, or text for a terminal.

A record may carry `fields`: a mapping, or the `RequestEnded` of an access line, whose fields are made
here, away from the event loop.
"""

import logging
import traceback
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from math import floor, isfinite
from pathlib import PurePath
from typing import Final

import orjson

from proxy.call import Failure
from proxy.events import RequestEnded
from proxy.masking import masked_target, printable

# Characters of a message, of a field that is no target, and of a method.
_MESSAGE: Final = 8192
FIELD: Final = 256
METHOD: Final = 32
# Links of a chain of exceptions; a chain can be a ring.
_CHAIN: Final = 8
# Their texts quote addresses and the bytes of headers.
_QUOTING: Final = ("aiohttp", "multidict", "yarl")

COLOURS: Final[Mapping[str, str]] = {
    "DEBUG": "\x1b[2m",
    "WARNING": "\x1b[33m",
    "ERROR": "\x1b[31m",
    "CRITICAL": "\x1b[31m",
}
_COLOUR_END: Final = "\x1b[0m"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `ts` (ISO 8601, UTC, ms), `level`, `logger`, `message`, the fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's line."""
        line = {
            "ts": iso(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": printable(record.getMessage(), _MESSAGE),
            **_fields(record),
        }
        return orjson.dumps(line, default=str).decode()


class TextFormatter(logging.Formatter):
    """A line to read: time (UTC), level, message, fields; a traceback follows on lines of its own.

    `colours` gives the escape sequence that a level's name is written in.
    """

    def __init__(self, colours: Mapping[str, str]) -> None:
        super().__init__()
        self._colours = colours

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's line."""
        fields = _fields(record)
        exception = fields.pop("exception", None)
        if isinstance(getattr(record, "fields", None), RequestEnded):
            keys = ("method", "target", "status", "source", "duration_ms")
            method, target, status, source, duration = (fields.pop(key) for key in keys)
            text = f"{method} {target} {status} {source} {duration}ms"
        else:
            text = printable(record.getMessage(), _MESSAGE)
        level = f"{record.levelname.lower():<8}"
        if colour := self._colours.get(record.levelname):
            level = f"{colour}{level}{_COLOUR_END}"
        pairs = "".join(f" {key}={_readable(value)}" for key, value in fields.items())
        line = f"{iso(record.created)[11:]} {level} {text}{pairs}"
        return line if exception is None else f"{line}\n{exception}"


def failure_fields(failure: Failure) -> dict[str, object]:
    """Return what a line says of a source's failure."""
    fields: dict[str, object] = {"source": failure.source, "kind": failure.kind.value}
    if failure.status is not None:
        fields["upstream_status"] = failure.status
    if failure.retry_after is not None:
        fields["retry_after"] = failure.retry_after
    return {**fields, "detail": printable(failure.detail, FIELD)}


def milliseconds(seconds: float) -> float:
    """Return a duration in milliseconds, to the microsecond."""
    return round(seconds * 1000, 3)


def iso(seconds: float) -> str:
    """Return seconds since the epoch as ISO 8601 in UTC; as a number where no calendar reaches."""
    whole = floor(seconds) if isfinite(seconds) else seconds
    try:
        return f"{_to_the_second(whole)}.{min(int((seconds - whole) * 1000), 999):03}Z"
    except (OverflowError, ValueError, OSError):
        return str(seconds)


@lru_cache(16)
def _to_the_second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").removesuffix("+00:00")


def _fields(record: logging.LogRecord) -> dict[str, object]:
    given: Mapping[str, object] | RequestEnded = getattr(record, "fields", {})
    if isinstance(given, RequestEnded):
        fields = _access_fields(given)
    else:
        fields = {k: printable(v, FIELD) if isinstance(v, str) else v for k, v in given.items()}
    error = record.exc_info[1] if record.exc_info else None
    if error is None:
        return fields
    if not record.name.startswith("aiohttp"):
        return {**fields, "exception": _traceback(error)}
    # A client's malformed request is no defect: the kind and the place will do.
    fields["error"] = type(error).__name__
    for frame in traceback.extract_tb(error.__traceback__)[-1:]:
        fields["at"] = f"{PurePath(frame.filename).name}:{frame.lineno}"
    return fields


def _access_fields(event: RequestEnded) -> dict[str, object]:
    fields: dict[str, object] = {
        "listener": event.listener,
        "route": event.route,
        "method": printable(event.method, METHOD),
        "target": masked_target(event.target),
        "status": event.status,
        "source": event.source,
        "duration_ms": milliseconds(event.seconds),
        "bytes": event.bytes_sent,
        "client": printable(event.client, FIELD),
        "request_id": printable(event.request_id, FIELD),
    }
    if event.failures:
        fields["failures"] = [failure_fields(failure) for failure in event.failures]
    return fields


def _traceback(error: BaseException) -> str:
    """Return the traceback as Python prints it, less the texts that quote what a client sent."""
    blocks: list[str] = []
    for link in reversed(list(_chain(error))):
        name = type(link).__qualname__
        quotes = type(link).__module__.startswith(_QUOTING)
        text = name if quotes else f"{name}: {printable(str(link), _MESSAGE)}"
        blocks.append("".join(traceback.format_tb(link.__traceback__)) + text)
    return "\n\n".join(blocks)


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    for _ in range(_CHAIN):
        if link is None:
            return
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _readable(value: object) -> str:
    if isinstance(value, list):
        return ",".join(":".join(str(item[key]) for key in ("source", "kind")) for item in value)
    text = str(value)
    if text and not set(text) & set(' "='):
        return text
    return '"' + text.replace('"', '\\"') + '"'
