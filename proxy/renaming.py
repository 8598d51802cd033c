"""Reply mappings that only pick, rename and fall back, as plain calls.

JMESPath's interpreter walks its tree anew for each answer, which for a list of videos costs more than all the
rest of the call. Most mappings need a handful of its nodes; those are put together here, once, into
functions that say the same, node for node, as `jmespath.visitor.TreeInterpreter`.
"""

from collections.abc import Callable, Mapping
from typing import Any

Scope = Mapping[str, object]
Step = Callable[[object, Scope], object]
"""Maps a JSON value, with what `value()` gives at hand. Raises TypeError where JMESPath does."""
Node = Mapping[str, Any]
_MEASURED = (str, list, dict)


def plain(node: Node) -> Step | None:
    """Return the function for a parsed expression; None for one that needs the interpreter."""
    build = _BUILDERS.get(node["type"])
    return None if build is None else build(node)


def _field(node: Node) -> Step:
    name = node["value"]
    return lambda value, _: value.get(name) if isinstance(value, dict) else None


def _literal(node: Node) -> Step:
    constant = node["value"]
    return lambda _value, _scope: constant


def _current(_node: Node) -> Step:
    return lambda value, _: value


def _subexpression(node: Node) -> Step | None:
    first, *others = map(plain, node["children"])
    for second in others:
        first = _after(first, second)
    return first


def _after(first: Step | None, second: Step | None) -> Step | None:
    if first is None or second is None:
        return None
    return lambda value, scope: second(first(value, scope), scope)


def _or(node: Node) -> Step | None:
    first, second = map(plain, node["children"])
    if first is None or second is None:
        return None

    def either(value: object, scope: Scope) -> object:
        found = first(value, scope)
        return second(value, scope) if _is_false(found) else found

    return either


def _select(node: Node) -> Step | None:
    pairs = []
    for pair in node["children"]:
        step = plain(pair["children"][0])
        if step is None:
            return None
        pairs.append((pair["value"], step))

    def select(value: object, scope: Scope) -> object:
        return None if value is None else {key: step(value, scope) for key, step in pairs}

    return _rename(node, select) or select


def _rename(node: Node, select: Step) -> Step | None:
    """Return what says the same as `select`, sooner, where it picks nothing but fields of an object.

    Each may have something that stands in where it is not there, as in `{title: title, views: views || 0}`.
    """
    names: dict[str, str] = {}
    instead: list[tuple[str, Step]] = []
    for pair in node["children"]:
        key, picked = pair["value"], pair["children"][0]
        if picked["type"] == "or_expression":
            picked, other = picked["children"]
            step = plain(other)
            if step is None:
                return None
            instead.append((key, step))
        if picked["type"] != "field" or key in names:
            return None
        names[key] = picked["value"]
    pairs = tuple(names.items())

    def rename(value: object, scope: Scope) -> object:
        if not isinstance(value, dict):
            return select(value, scope)
        pick = value.get
        found = {key: pick(name) for key, name in pairs}
        for key, step in instead:
            if not found[key] and _is_false(found[key]):
                found[key] = step(value, scope)
        return found

    return rename


def _flatten(node: Node) -> Step | None:
    step = plain(node["children"][0])
    if step is None:
        return None

    def flat(value: object, scope: Scope) -> object:
        elements = step(value, scope)
        if not isinstance(elements, list):
            return None
        merged: list[object] = []
        for element in elements:
            if isinstance(element, list):
                merged.extend(element)
            else:
                merged.append(element)
        return merged

    return flat


def _projection(node: Node) -> Step | None:
    elements, each = map(plain, node["children"])
    if elements is None or each is None:
        return None

    def project(value: object, scope: Scope) -> object:
        found = elements(value, scope)
        if not isinstance(found, list):
            return None
        mapped = (each(element, scope) for element in found)
        return [element for element in mapped if element is not None]

    return project


def _function(node: Node) -> Step | None:
    argument = node["children"][0] if len(node["children"]) == 1 else None
    if argument is None:
        return None
    if node["value"] == "value":
        name = argument["value"]
        return lambda _, scope: scope[name]
    step = plain(argument) if node["value"] == "length" else None
    if step is None:
        return None

    def length(value: object, scope: Scope) -> int:
        measured = step(value, scope)
        if not isinstance(measured, _MEASURED):
            raise TypeError("length() takes an array, an object or a string")
        return len(measured)

    return length


def _is_false(value: object) -> bool:
    return not value and (value is None or value is False or isinstance(value, _MEASURED))


_BUILDERS: Mapping[str, Callable[[Node], Step | None]] = {
    "field": _field,
    "literal": _literal,
    "current": _current,
    "identity": _current,
    "subexpression": _subexpression,
    "or_expression": _or,
    "multi_select_dict": _select,
    "flatten": _flatten,
    "projection": _projection,
    "function_expression": _function,
}
