"""Access lines as JSON, straight from what ended: one for each request, so each has to be cheap.

They are byte for byte what `JsonFormatter` makes of a record of the same, in a fifth of the time.
"""

import logging
from collections.abc import Callable
from math import floor, isfinite, nan
from typing import Final

import orjson

from proxy.events import RequestEnded
from proxy.log_format import FIELD, METHOD, failure_fields, iso
from proxy.masking import is_clear, masked_target, printable

ACCESS: Final = "activity_proxy.access"
"""The logger of the access lines."""

AccessLine = Callable[[float, RequestEnded], str]
"""Makes the line, without its end, of a request that ended at that time (seconds since the epoch)."""

_PLAIN: Final = vars(logging.LogRecord("", logging.INFO, "", 0, "request", (), None))
# Kinds of requests, targets and clients that are remembered, so many of each.
_REMEMBERED: Final = 1024
# Below this a duration in ms with three decimals has 15 digits at most, and so is the shortest number that
# reads the same, which is what JSON has.
_SECONDS: Final = 1e9


def level_of(ended: RequestEnded) -> int:
    """Return a line's level: probes and scrapes that went well would drown the rest."""
    return logging.DEBUG if ended.listener == "admin" and ended.status < 400 else logging.INFO


class AccessRecord(logging.LogRecord):
    """An access line's record; `LogRecord`'s own making costs more than all the rest of the logging."""

    def __init__(self, name: str, ended: RequestEnded, created: float) -> None:
        self.__dict__.update(_PLAIN)
        self.name = name
        self.levelno = level_of(ended)
        self.levelname = logging.getLevelName(self.levelno)
        self.created = created
        self.fields = ended


def by_record(formatter: logging.Formatter) -> AccessLine:
    """Return what makes each line by way of a record and its formatter."""
    return lambda at, ended: formatter.format(AccessRecord(ACCESS, ended, at))


class _Shown(dict[str, str]):
    """Texts as JSON by what they are made of; the latest are remembered, but for what may hide something."""

    def __init__(self, shown: Callable[[str], str]) -> None:
        super().__init__()
        self._shown = shown

    def __missing__(self, text: str) -> str:
        made = _json(self._shown(text))
        if len(text) <= FIELD and is_clear(text):
            if len(self) >= _REMEMBERED:
                self.clear()
            self[text] = made
        return made


class JsonAccessLines:
    """Makes access lines; all by one thread. What has no usual duration is left to `unusual`."""

    def __init__(self, unusual: AccessLine) -> None:
        self._unusual = unusual
        self._time = ""
        self._second = 0.0
        self._millisecond = nan
        self._kinds: dict[tuple[object, ...], tuple[str, str]] = {}
        self._targets = _Shown(masked_target)
        self._clients = _Shown(lambda client: printable(client, FIELD))

    def line(self, at: float, ended: RequestEnded) -> str:
        """Return the line of a request that ended at that time."""
        _, _, _, _, _, seconds, request_id, target, client, sent, failures = ended
        if not 0.0 <= seconds < _SECONDS:
            return self._unusual(at, ended)
        if (at - self._second) * 1000 // 1 != self._millisecond:
            self._tick(at)
        before, between = self._kinds.get(ended[:5]) or self._kind(ended)
        duration = f"{seconds * 1000:.3f}".rstrip("0")
        if duration[-1] == ".":
            duration += "0"
        if not request_id.isprintable() or len(request_id) > FIELD:
            request_id = printable(request_id, FIELD)
        told = f',"failures":{_json([failure_fields(each) for each in failures])}' if failures else ""
        target, client, request_id = self._targets[target], self._clients[client], _json(request_id)
        return (
            f"{self._time}{before}{target}{between}{duration}"
            f',"bytes":{sent},"client":{client},"request_id":{request_id}{told}}}'
        )

    def _tick(self, at: float) -> None:
        self._time = f'{{"ts":"{iso(at)}"'
        self._second = float(floor(at)) if isfinite(at) else 0.0
        millisecond = (at - self._second) * 1000 // 1
        # Just before the epoch it may come out as 1000, which is reached by what is after it too.
        self._millisecond = millisecond if millisecond < 1000 else nan

    def _kind(self, ended: RequestEnded) -> tuple[str, str]:
        """Return what stands between time, target and duration in the lines of requests like this one."""
        before = {
            "level": logging.getLevelName(level_of(ended)).lower(),
            "logger": ACCESS,
            "message": "request",
            "listener": ended.listener,
            "route": ended.route,
            "method": printable(ended.method, METHOD),
        }
        between = {"status": ended.status, "source": ended.source}
        kind = f',{_json(before)[1:-1]},"target":', f',{_json(between)[1:-1]},"duration_ms":'
        if len(self._kinds) < _REMEMBERED:  # methods are the clients' to invent
            self._kinds[ended[:5]] = kind
        return kind


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
