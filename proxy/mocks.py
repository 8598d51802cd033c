"""Canned answers as the files of a configuration give them: JSON with slots, checked against their routes."""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import orjson

from proxy.diagnosis import near
from proxy.document import MAX_DEPTH, decode
from proxy.lookup import Files, read
from proxy.nodes import Mark, Problem, Scalar, find
from proxy.route import Route
from proxy.tables import RouteTable
from proxy.template import BUILT_IN, JsonTemplate
from proxy.units import shown

Tell = Callable[[Problem], None]


def load_mocks(files: Files, tables: Iterable[RouteTable], tell: Tell) -> Mapping[str, JsonTemplate]:
    """Compile the canned answer of each route that has one; tell what is wrong."""
    mocks: dict[str, JsonTemplate] = {}
    read_files: dict[Path, tuple[str, object] | None] = {}
    for table in tables:
        for name, route in table.routes.items():
            if route.canned is None:
                continue
            path = files.find(route.canned)
            if path is None:
                text = f"routes.{name}.canned: {_no_file(table, route, files)}"
                tell(Problem(table.mark(name, "canned"), text))
                continue
            if path not in read_files:
                read_files[path] = _json(path, tell)
            found = read_files[path]
            if found is not None:
                template = _template(path, *found, route, tell)
                if template is not None:
                    mocks[name] = template
    return mocks


def _no_file(table: RouteTable, route: Route, files: Files) -> str:
    node = find(table.root, ("routes", route.name, "canned"))
    if isinstance(node, Scalar) and node.origin:
        return f"the value of {node.origin} is no file"
    return f"there is no file {shown(route.canned)}{files.near(route.canned or '')}"


def _json(path: Path, tell: Tell) -> tuple[str, object] | None:
    """Return a file's text and tree."""
    file = str(path)
    try:
        text = decode(read(path), file)
    except OSError as error:
        tell(Problem(Mark(file), f"cannot be read: {error.strerror or error}"))
        return None
    if isinstance(text, Problem):
        tell(text)
        return None
    try:
        tree = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        tell(Problem(Mark(file, error.lineno, error.colno), f"this is not JSON: {error.msg}"))
        return None
    if not _shallow(tree, MAX_DEPTH):
        tell(Problem(Mark(file, 1, 1), f"is nested deeper than {MAX_DEPTH} levels"))
        return None
    return text, tree


def _template(path: Path, text: str, tree: object, route: Route, tell: Tell) -> JsonTemplate | None:
    file = str(path)
    try:
        template = JsonTemplate.compile(tree)
    except ValueError as error:
        tell(Problem(_malformed_at(text, file), str(error)))
        return None
    known = {*route.inputs, *BUILT_IN}
    unknown = sorted(template.names - known)
    for name in unknown:
        message = f"{name} is no value of the route {route.name}{near(name, known)}"
        tell(Problem(_slot_at(text, name, file), message))
    if route.paging and not (isinstance(tree, dict) and isinstance(tree.get(route.paging), list)):
        tell(Problem(Mark(file, 1, 1), f"{route.paging} must be a list: the route {route.name} cuts it"))
        return None
    return None if unknown else template


def _malformed_at(text: str, file: str) -> Mark:
    """Return the line that does not compile by itself; the tree does not tell where it was."""
    for number, line in enumerate(text.splitlines(), 1):
        try:
            JsonTemplate.compile(line)
        except ValueError:
            return Mark(file, number, line.find("{{") + 1)
    return Mark(file, 1, 1)


def _slot_at(text: str, name: str, file: str) -> Mark:
    found = re.search(r"\{\{\s*" + re.escape(name) + r"\b", text)
    before = text[: found.start()] if found else ""
    return Mark(file, before.count("\n") + 1, len(before) - before.rfind("\n"))


def _shallow(tree: object, levels: int) -> bool:
    below = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    return levels > 0 and all(_shallow(child, levels - 1) for child in below)
