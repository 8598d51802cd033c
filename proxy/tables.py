"""Route tables as the files of a configuration give them.

The user's own `routes` are laid over a table's before a route is read, so that a route is checked as it
will be used, and a mistake is shown in the file that it stands in.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from itertools import permutations
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from proxy.diagnosis import dotted, near, read_model
from proxy.frozen import frozen
from proxy.inputs import Input
from proxy.lookup import Files
from proxy.nodes import Lost, Mark, Node, Problem, Scalar, Table, find, overlay, scalars, written_at
from proxy.route import Route
from proxy.units import shown

DIALECTS: Final = ("plan", "newer")
ASKED: Final = ("session", "videos")
"""The routes that `auto` asks the gateway about: both tables must have them."""

RESERVED: Final = frozenset({"pass"})
"""Names that stand for what is no route, in metrics and logs."""

Tell = Callable[[Problem], None]


@frozen
class RouteTable:
    """A table that was read. `root` is what the files say, the user's changes included."""

    name: str
    root: Table = field(repr=False)
    routes: Mapping[str, Route]

    def mark(self, route: str, key: str) -> Mark:
        """Return where a key of a route is written."""
        return written_at(self.root, ("routes", route, key))[1]


def load_tables(files: Files, top: Table, own: str, tell: Tell) -> list[RouteTable]:
    """Read the tables that the configuration `top` (the file `own`) names; tell what is wrong."""
    wanted = _wanted(files, top, tell)
    bases = dict(_bases(files, wanted or DIALECTS, tell))
    names = {name for base in bases.values() for name in _entries(base)}
    changes = {name: entry for name, entry in _entries(top).items() if isinstance(entry[1], Table)}
    for name, (mark, _) in changes.items():
        if wanted and bases and name not in names:
            tell(Problem(mark, f"there is no route {dotted((name,))}{near(name, names)}"))
    tables = []
    for label, base in bases.items():
        entries = {name: entry for name, entry in changes.items() if name in _entries(base)}
        over = Table(base.mark, {"routes": (base.mark, Table(base.mark, entries))})
        root = overlay(base, over) if entries else base
        tables.append(RouteTable(label, root if isinstance(root, Table) else base, {}))
    read = [RouteTable(it.name, it.root, dict(_routes(it.root, own, tell))) for it in tables]
    for table in read:
        _tell_secrets(table.root, tell)
        _tell_overlaps(table, tell)
        _tell_trespass(table, tell)
    if len(read) > 1:
        _tell_differences(read, tell)
    return read


def _wanted(files: Files, top: Table, tell: Tell) -> tuple[str, ...]:
    """Return the names of the tables in use; none where the configuration does not name one."""
    path = ("gateway", "dialect")
    node = find(top, path)
    if not isinstance(node, Scalar) or not node.text or not (node.origin or isinstance(node.value, str)):
        return ()  # told of as a setting
    if node.text == "auto":
        return DIALECTS
    if files.find(_place(node.text)) is None:
        tell(Problem(written_at(top, path)[1], f"{dotted(path)}: {_no_dialect(node, files)}"))
        return ()
    return (node.text,)


def _place(name: str) -> str:
    return f"dialects/{name}.yaml" if name in DIALECTS else name


def _bases(files: Files, names: Iterable[str], tell: Tell) -> Iterable[tuple[str, Table]]:
    for name in names:
        path = files.find(_place(name))
        document = files.document(path or Path(_place(name)))
        for problem in document.problems:
            tell(problem)
        if not document.problems or document.root.entries:
            _tell_shape(document.root, tell)
            yield name, document.root


def _no_dialect(node: Scalar, files: Files) -> str:
    if node.origin:
        return f"the value of {node.origin} is no dialect and no file"
    hint = near(node.text, ["auto", *DIALECTS]) or files.near(node.text)
    return f"{shown(node.text)} is no dialect and no file{hint}"


def _tell_shape(root: Table, tell: Tell) -> None:
    for key, (mark, _) in root.entries.items():
        if key != "routes":
            tell(Problem(mark, f"unknown key {dotted((key,))}{near(key, ['routes'])}"))
    routes = find(root, ("routes",))
    if isinstance(routes, Lost):
        return
    if routes is None:
        tell(Problem(root.mark, "routes: is missing"))
    elif not isinstance(routes, Table):
        mark = written_at(root, ("routes",))[1]
        tell(Problem(mark, "routes: must be a mapping (key: value)"))


def _entries(root: Table) -> Mapping[str, tuple[Mark, Node]]:
    routes = find(root, ("routes",))
    return routes.entries if isinstance(routes, Table) else {}


def _routes(root: Table, own: str, tell: Tell) -> Iterable[tuple[str, Route]]:
    for name, (mark, node) in _entries(root).items():
        path = ("routes", name)
        if isinstance(node, Lost):
            continue
        if not isinstance(node, Table):
            tell(Problem(mark, f"{dotted(path)}: must be a mapping (key: value)"))
            continue
        if name in RESERVED:
            tell(Problem(mark, f"{dotted(path)}: no route can have this name"))
        if "name" in node.entries:
            tell(Problem(node.entries["name"][0], f"unknown key {dotted((*path, 'name'))}"))
        named = Table(root.mark, {"name": (mark, Scalar(mark, name, name))})
        whole = Table(root.mark, {"routes": (mark, Table(mark, {name: (mark, named)}))})
        route = read_model(Route, overlay(root, whole), path, {own}, tell)
        if route is not None:
            yield name, route


def _tell_secrets(root: Table, tell: Tell) -> None:
    """What is put into a call may be a secret, and an operator is shown what a route calls and sends."""
    for name in _entries(root):
        for key in ("call", "send"):
            path = ("routes", name, key)
            node = find(root, path)
            for leaf in scalars(node) if node is not None else ():
                if isinstance(leaf, Scalar) and leaf.origin:
                    text = f"takes no {leaf.origin}: what a route calls and sends is shown in /status"
                    tell(Problem(leaf.mark, f"{dotted(path)}: {text} and by explain"))


def _tell_overlaps(table: RouteTable, tell: Tell) -> None:
    """Two routes for the same calls: one of them would never be used."""
    seen: dict[tuple[object, ...], str] = {}
    for name, route in table.routes.items():
        pattern = route.match
        same = (pattern.method, *(None if slot else text for slot, text in _parts(route)))
        other = seen.setdefault(same, name)
        if other != name:
            text = f"{dotted(('routes', name, 'match'))}: the route {dotted((other,))} matches this too"
            tell(Problem(table.mark(name, "match"), text))


def _tell_trespass(table: RouteTable, tell: Tell) -> None:
    """A value from the client that makes one route's gateway call into another's."""
    for (name, route), (other_name, other) in permutations(table.routes.items(), 2):
        by = trespass(route, other)
        if by is not None:
            text = (
                f"{by} can make it the call of {dotted((other_name,))}; give {by} a pattern that rules it out"
            )
            tell(Problem(table.mark(name, "call"), f"{dotted(('routes', name, 'call'))}: {text}"))


def _parts(route: Route) -> Iterable[tuple[str | None, str]]:
    return zip(route.match.names, route.match.segments, strict=True)


def _tell_differences(tables: list[RouteTable], tell: Tell) -> None:
    """What `auto` cannot choose between: a client's call, its canned answer and whose it is."""
    first, *rest = tables
    for table in tables:
        for name in ASKED:
            if name not in _entries(table.root):
                tell(Problem(table.root.mark, f"routes.{name}: is missing; the dialect auto asks for it"))
    for table in rest:
        for name in table.routes.keys() & first.routes.keys():
            one, other = first.routes[name], table.routes[name]
            for key, differs in (
                ("match", one.match != other.match),
                ("canned", one.canned != other.canned),
                ("as", one.as_ != other.as_),
            ):
                if differs:
                    text = f"routes.{name}.{key}: is not as in {first.name}; auto wants the same in both"
                    tell(Problem(table.mark(name, key), text))


def trespass(route: Route, other: Route) -> str | None:
    """Return the input of `route` by which its gateway call can become that of `other`, if there is one.

    With the id `search`, `GET /videos/{videoId}` is `GET /videos/search`, in any letter case.
    """
    if route.call is None or other.call is None or route.call.method != other.call.method:
        return None
    if len(route.call.path) != len(other.call.path):
        return None
    names = []
    for (here, is_slot), (there, other_is_slot) in zip(route.call.path, other.call.path, strict=True):
        if is_slot and not other_is_slot:
            if not _can_be(route.inputs[here], unquote(there)):
                return None
            names.append(here)
        elif not is_slot and not other_is_slot and here.lower() != there.lower():
            return None
    return names[0] if names else None


def _can_be(given: Input, value: str) -> bool:
    if given.type == "integer":
        return value.isdecimal()
    pattern = given.pattern
    spellings = {value, value.lower(), value.upper(), value.capitalize(), value.swapcase()}
    return pattern is None or any(pattern.fullmatch(spelling) for spelling in spellings)
