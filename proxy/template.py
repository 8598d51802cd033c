"""JSON with `{{name}}` leaves, compiled once: canned answers and the bodies of gateway calls.

A leaf that is one slot keeps its value's type (`"{{page}}"` becomes `2`); within a longer text the value is
written out. Values are put into finished trees and never read as templates, so nothing that a client sends
can alter one. `{{now}}` is the time as ISO 8601 with milliseconds, `{{now-36h}}` earlier, `{{nowMs}}` epoch
milliseconds.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Union

from proxy.frozen import frozen

_SLOT = re.compile(r"\{\{\s*([A-Za-z][A-Za-z0-9_.]*)\s*(?:-\s*(\d{1,5})([smhd])\s*)?\}\}")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_EARLIEST = 100 * 366 * 86400

Scope = Mapping[str, object]
"""Values by name; `now` is there as seconds since the epoch."""

BUILT_IN = frozenset({"now", "nowMs", "partnerId"})


@frozen
class _Slot:
    name: str
    earlier: int

    def value(self, scope: Scope) -> object:
        if self.name == "now":
            return iso_time(_epoch(scope) - self.earlier)
        if self.name == "nowMs":
            return int(_epoch(scope) * 1000)
        return scope[self.name]


@frozen
class _Text:
    parts: tuple[str | _Slot, ...]


_Node = Union[_Slot, _Text, "dict[str, _Node]", "list[_Node]", str, int, float, bool, None]


@frozen
class JsonTemplate:
    """A compiled tree. `names` are the values that it wants."""

    tree: _Node
    names: frozenset[str]

    @classmethod
    def compile(cls, tree: object) -> "JsonTemplate":
        """Compile a tree of dicts, lists and scalars. Raises ValueError for a malformed slot."""
        names: set[str] = set()
        return cls(_compile(tree, names), frozenset(names))

    def render(self, scope: Scope) -> object:
        """Return a new tree with the values filled in. Raises KeyError for a value that is not there."""
        return _render(self.tree, scope)


def iso_time(epoch: float) -> str:
    """Return an epoch time as the services write it: ISO 8601, UTC, milliseconds, `Z`."""
    moment = datetime.fromtimestamp(epoch, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def _compile(tree: object, names: set[str]) -> _Node:
    if isinstance(tree, dict):
        for key in tree:
            if "{{" in str(key):
                raise ValueError(f"{key!r}: a slot is a value and cannot be a key")
        return {str(key): _compile(value, names) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_compile(value, names) for value in tree]
    if isinstance(tree, str):
        return _compile_text(tree, names)
    if tree is None or isinstance(tree, bool | int | float):
        return tree
    raise ValueError(f"{type(tree).__name__} is no JSON value")


def _compile_text(text: str, names: set[str]) -> _Node:
    parts: list[str | _Slot] = []
    end = 0
    for found in _SLOT.finditer(text):
        name, amount, unit = found.groups()
        if amount and name != "now":
            raise ValueError(f"{found[0]}: only now can be moved back in time")
        earlier = int(amount) * _SECONDS[unit] if amount else 0
        if earlier > _EARLIEST:
            raise ValueError(f"{found[0]}: now cannot be moved back more than a hundred years")
        parts += [text[end : found.start()], _Slot(name, earlier)]
        names.add(name)
        end = found.end()
    rest = text[end:]
    if "{{" in rest or any("{{" in part for part in parts if isinstance(part, str)):
        raise ValueError(f"{text!r} holds a slot that is not like {{{{name}}}}")
    if not parts:
        return text
    parts = [part for part in [*parts, rest] if part != ""]
    if len(parts) == 1 and isinstance(parts[0], _Slot):
        return parts[0]
    return _Text(tuple(parts))


def _render(node: _Node, scope: Scope) -> object:
    if isinstance(node, dict):
        return {key: _render(value, scope) for key, value in node.items()}
    if isinstance(node, list):
        return [_render(value, scope) for value in node]
    if isinstance(node, _Slot):
        return node.value(scope)
    if isinstance(node, _Text):
        return "".join(part if isinstance(part, str) else str(part.value(scope)) for part in node.parts)
    return node


def _epoch(scope: Scope) -> float:
    now = scope["now"]
    if not isinstance(now, int | float):
        raise TypeError("now is not a time")
    return float(now)
