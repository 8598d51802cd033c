"""Quantities as people write them: `250ms`, `64MiB`, `20%`, `50/s`.

Each has a function that reads it and a type for pydantic models. A model that is filled by code
takes plain numbers (seconds, bytes, parts of one); one that is filled from a file
(`context=WRITTEN`) does not, because nobody can see whether `timeout: 3` means seconds.
"""

import json
import re
from collections.abc import Callable
from typing import Annotated, Any, Final

from pydantic import PlainValidator, ValidationInfo, WithJsonSchema

WRITTEN: Final = {"written": True}
"""Validation context of values that come from a file, where a number must have its unit."""

_NUMBER = r"([0-9]{1,9}(?:\.[0-9]{1,6})?)"
_DURATION = re.compile(_NUMBER + r"(ms|s|m|h|d)")
_SIZE = re.compile(r"([0-9]{1,12})(B|KiB|MiB|GiB)")
_SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)%")
_FREQUENCY = re.compile(r"([0-9]{1,7})/(s|m|h)")

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_SHOWN_LENGTH = 60


class Refused(ValueError):
    """A text is not what it should be.

    `why` reads after the value or in place of it, and never holds it. `hint` may hold parts of it.
    """

    def __init__(self, why: str, value: str | None = None, hint: str = "") -> None:
        self.why = why
        super().__init__(f"{'' if value is None else value + ' '}{why}{hint}")


def shown(value: object) -> str:
    """Return a value as an error shows it: as YAML writes it, on one line and not too long."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, str):
        short = value if len(value) <= _SHOWN_LENGTH else value[:_SHOWN_LENGTH] + "…"
        return json.dumps(short, ensure_ascii=not short.isprintable())
    return json.dumps(value, default=str)


def parse_duration(text: object) -> float:
    """Return the seconds of `250ms`, `3s`, `5m`, `12h` or `1d`. Raises `Refused`."""
    found = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise Refused(f"is not a duration; {_unit(text, 'write it like 250ms, 3s, 5m or 12h')}", shown(text))
    return float(found[1]) * _SECONDS[found[2]]


def parse_size(text: object) -> int:
    """Return the bytes of `512B`, `16KiB`, `64MiB` or `1GiB`. Raises `Refused`."""
    found = _SIZE.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise Refused(f"is not a size; {_unit(text, 'write it like 512B, 16KiB or 64MiB')}", shown(text))
    return int(found[1]) * _BYTES[found[2]]


def parse_share(text: object) -> float:
    """Return `20%` as 0.2; from 0% to 100%. Raises `Refused`."""
    found = _SHARE.fullmatch(text) if isinstance(text, str) else None
    if found is None or float(found[1]) > 100:
        raise Refused(f"is not a share; {_unit(text, 'write it like 20%, from 0% to 100%')}", shown(text))
    return float(found[1]) / 100


def parse_frequency(text: object) -> float | None:
    """Return `50/s`, `100/m` or `1000/h` as times a second; `off` as None. Raises `Refused`."""
    if text == "off" or text is False:  # which is the same to YAML 1.1
        return None
    found = _FREQUENCY.fullmatch(text) if isinstance(text, str) else None
    if found is None or not int(found[1]):
        raise Refused("is not a rate; write it like 50/s or 100/m, or off", shown(text))
    return int(found[1]) / _SECONDS[found[2]]


def _unit(value: object, hint: str) -> str:
    bare = isinstance(value, int | float) and not isinstance(value, bool)
    return f"it has no unit, {hint}" if bare else hint


def read_by(parse: Callable[[object], Any], *known: type) -> PlainValidator:
    """Return a validator that parses texts and lets finished values of code through."""

    def read(value: object, info: ValidationInfo) -> object:
        finished = isinstance(value, known) and not isinstance(value, bool | str)
        return value if finished and info.context is not WRITTEN else parse(value)

    return PlainValidator(read)


def written_like(pattern: str, *examples: str) -> WithJsonSchema:
    """Tell editors what such a text is like."""
    return WithJsonSchema({"type": "string", "pattern": f"^{pattern}$", "examples": list(examples)})


Duration = Annotated[
    float,
    read_by(parse_duration, float, int),
    written_like(r"[0-9]{1,9}(\.[0-9]{1,6})?(ms|s|m|h|d)", "250ms", "3s", "5m", "12h"),
]
"""Seconds."""

Size = Annotated[int, read_by(parse_size, int), written_like("[0-9]{1,12}(B|KiB|MiB|GiB)", "16KiB", "64MiB")]
"""Bytes."""

Share = Annotated[
    float,
    read_by(parse_share, float, int),
    written_like(r"(100(\.0{1,6})?|[0-9]{1,2}(\.[0-9]{1,6})?)%", "20%"),
]
"""Parts of one, 0.0 to 1.0."""

Frequency = Annotated[
    float | None,
    read_by(parse_frequency, float, int, type(None)),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string", "pattern": r"^(off|[1-9][0-9]{0,6}/(s|m|h))$"}, {"const": False}],
            "examples": ["50/s", "100/m", "off"],
        }
    ),
]
"""Times a second; None: off."""
