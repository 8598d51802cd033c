"""What a route takes from the client, checked as the Activity server checks it.

Numbers are read the way JavaScript's `parseInt` reads them, and fall back to their defaults as the Activity
server's `|| default` does: `page=2x` is 2, `page=abc` and `page=0` are the default.
"""

import re
import warnings
from collections.abc import Mapping
from typing import Annotated, Literal
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, Field, model_validator

from proxy.compiled import Compiled, text
from proxy.misfits import Misfits

Value = str | int

ID_PATTERN = r"[A-Za-z0-9_-]{1,64}"
_NO_TEXT = (bool, list, dict)
# White space as JavaScript has it; more digits than these cannot change what a bounded number comes to.
_LEADING_INTEGER = re.compile(
    r"[\t\n\v\f\r \xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff]*([+-]?)0*([0-9]{1,15})"
)


class InvalidInput(Exception):
    """A value that the client sent, or did not send; the text is for the client (status 400)."""


def _compile_pattern(value: object) -> re.Pattern[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "error"
            )  # Python warns of what will mean something else one day, such as [[
            return re.compile(text(value))
    except (re.error, RecursionError, OverflowError, Warning) as error:
        raise ValueError(f"not a regular expression: {error}") from None


Pattern = Annotated[re.Pattern[str], Compiled(_compile_pattern, (("type", "string"), ("format", "regex")))]


class Input(BaseModel):
    """One value that a route takes: where it stands, what it may be, what is said when it may not."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    where: Literal["path", "query", "body"] = Field(
        alias="from", description="Where the value stands: path, query, or body (a JSON object)."
    )
    type: Literal["string", "integer"] = Field("string", description="What the value is.")
    required: str | None = Field(
        None, description="The error a client gets (400) when the value is missing or empty."
    )
    default: str | int | None = Field(None, description="The value where the client gives none.")
    pattern: Pattern | None = Field(None, description="A regular expression that the whole text must match.")
    minimum: int = Field(1, description="Numbers below this are called with the default instead.")
    maximum: int = Field(1_000_000, description="Numbers above this count as this.")
    max_length: int = Field(1000, ge=1, description="Longest text in characters.")

    @model_validator(mode="after")
    def _fits(self) -> "Input":
        problems = []
        if self.default is None and self.required is None and self.where != "path":
            problems.append((("from",), "give `required` (what the client is told) or a `default`"))
        if self.default is not None and isinstance(self.default, int) != (self.type == "integer"):
            problems.append((("default",), f"the default is no {self.type}"))
        elif isinstance(self.default, int) and not self.minimum <= self.default <= self.maximum:
            problems.append((("default",), "the default is not between minimum and maximum"))
        if self.minimum > self.maximum:
            problems.append((("minimum",), "minimum is over maximum"))
        if problems:
            raise Misfits(tuple(problems))
        return self

    def read(self, name: str, found: object) -> Value:
        """Return the value of what the client sent (None: nothing). Raises `InvalidInput`."""
        if self.type == "integer":
            return self._integer(name, found)
        if not found:
            if self.required is not None:
                raise InvalidInput(self.required)
            return "" if self.default is None else self.default
        if isinstance(found, _NO_TEXT):  # given twice, or no text at all
            raise InvalidInput(self.required or f"{name} must be a text")
        given = str(found)
        if not given.isascii():
            # Bytes that are no UTF-8 come as lone surrogates, which nothing further on can write.
            given = given.encode(errors="replace").decode()
        if len(given) > self.max_length:
            raise InvalidInput(f"{name} is too long")
        if self.pattern is not None and not self.pattern.fullmatch(given):
            raise InvalidInput(f"{name} is not valid")
        return given

    def _integer(self, name: str, found: object) -> int:
        number = min(_leading_integer(found), self.maximum)
        if isinstance(self.default, int):
            return number or self.default
        if number < self.minimum:
            raise InvalidInput(self.required or f"{name} is not valid")
        return number


def _leading_integer(found: object) -> int:
    """Return what `parseInt` makes of a value, and 0 where it makes nothing."""
    leading = _LEADING_INTEGER.match(str(found))  # what is no text and no number begins with no digit
    return int(leading[1] + leading[2]) if leading else 0


def query_values(query: str) -> dict[str, str | list[str]]:
    """Read a query string; a name that is given more than once has a list."""
    values: dict[str, str | list[str]] = {}
    if not query:
        return values
    for name, value in parse_qsl(query, keep_blank_values=True, errors="replace"):
        before = values.get(name)
        if before is None:
            values[name] = value
        elif isinstance(before, list):
            before.append(value)
        else:
            values[name] = [before, value]
    return values


def read_inputs(
    inputs: Mapping[str, Input],
    path: Mapping[str, str],
    query: Mapping[str, str | list[str]],
    body: Mapping[str, object],
) -> dict[str, Value]:
    """Return all values of a route's inputs. Raises `InvalidInput` for the first that may not be."""
    values: dict[str, Value] = {}
    for name, wanted in inputs.items():
        if wanted.where == "path":
            found: object = path.get(name)
        elif wanted.where == "query":
            found = query.get(name)
            if wanted.type == "integer" and isinstance(found, list):
                found = found[0]
        else:
            found = body.get(name)
        values[name] = wanted.read(name, found)
    return values


def called_with(inputs: Mapping[str, Input], values: Mapping[str, Value]) -> dict[str, Value]:
    """Return the values as the gateway is asked: numbers under their minimum become the default.

    The client still reads its own number in the answer, as the Activity server has it.
    """
    called = dict(values)
    for name, wanted in inputs.items():
        value = values.get(name)
        if isinstance(value, int) and value < wanted.minimum and isinstance(wanted.default, int):
            called[name] = wanted.default
    return called
