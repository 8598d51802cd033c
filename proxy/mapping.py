"""Reply mappings: JMESPath, compiled when the configuration is read.

One function is added to the standard ones: `value('page')` gives an input of the request, or `partnerId`
from the configuration, where the gateway's answer does not hold what the client expects.
"""

from collections.abc import Mapping
from dataclasses import field
from typing import Any

import jmespath
from jmespath import exceptions, functions
from jmespath.parser import ParsedResult

from proxy.frozen import frozen
from proxy.renaming import Step, plain

MAX_LENGTH = 4000
"""Characters; a longer chain would be walked deeper than the interpreter goes."""


class UnmappableReply(Exception):
    """The gateway's answer is of another shape than the mapping expects."""


class _Functions(functions.Functions):
    """The standard functions and `value`."""

    def __init__(self, scope: Mapping[str, object]) -> None:
        self._scope = scope

    @functions.signature({"types": ["string"]})
    def _func_value(self, name: str) -> object:
        return self._scope[name]


@frozen
class ReplyMapping:
    """A compiled expression. `names` are the values that its `value('…')` calls want."""

    text: str
    names: frozenset[str]
    _parsed: ParsedResult = field(repr=False, compare=False)
    _plain: Step | None = field(repr=False, compare=False)

    @classmethod
    def compile(cls, text: str) -> "ReplyMapping":
        """Compile an expression. Raises ValueError saying what is wrong and where in it."""
        if len(text) > MAX_LENGTH:
            raise ValueError(f"the expression is longer than {MAX_LENGTH} characters")
        names: set[str] = set()
        try:
            parsed = jmespath.compile(text)
            _inspect(parsed.parsed, names)
            step = plain(parsed.parsed)
        except exceptions.JMESPathError as error:
            raise ValueError(f"not a JMESPath expression: {_one_line(error)}") from None
        except RecursionError:
            raise ValueError("not a JMESPath expression: it is nested too deep") from None
        return cls(text, frozenset(names), parsed, step)

    def __call__(self, body: object, scope: Mapping[str, object]) -> object:
        """Map an answer. Raises `UnmappableReply` where an operand is of a type that is not taken."""
        try:
            if self._plain is not None:
                return self._plain(body, scope)
            options = jmespath.Options(custom_functions=_Functions(scope))
            return self._parsed.search(body, options=options)
        except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
            # JMESPath lets Python's own errors out: 1 < 'a', ceil(to_number('inf')), a[::0].
            raise UnmappableReply(_one_line(error)) from None


def _inspect(node: Mapping[str, Any], names: set[str]) -> None:
    """Refuse wrong calls of functions, which JMESPath itself notices only in use; collect `value`'s names."""
    if node["type"] == "function_expression":
        name, arguments = node["value"], node["children"]
        known = _Functions.FUNCTION_TABLE
        if name not in known:
            raise ValueError(f"there is no function {name}() in JMESPath")
        if name == "value":
            literal = arguments[0] if len(arguments) == 1 and arguments[0]["type"] == "literal" else {}
            if not isinstance(literal.get("value"), str):
                raise ValueError("value() takes one name in single quotes, like value('page')")
            names.add(literal["value"])
        takes = known[name]["signature"]
        if len(arguments) != len(takes) and not (takes[-1].get("variadic") and len(arguments) > len(takes)):
            raise ValueError(f"{name}() takes {len(takes)} arguments, not {len(arguments)}")
    for child in node["children"]:
        if isinstance(child, dict):
            _inspect(child, names)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
