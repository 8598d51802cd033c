"""What a configuration file says and where it says it: plain data with a position at every key."""

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field

from proxy.frozen import frozen
from proxy.misfits import Path

Plain = str | int | float | bool | None


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """A place in a file. Lines and columns count from 1; 0 stands for the file as a whole."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        """Return `FILE:LINE:COLUMN`, or `FILE` alone."""
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake in a configuration, in words that hold no secret."""

    mark: Mark
    message: str

    def __str__(self) -> str:
        """Return `FILE:LINE:COLUMN: what is wrong`."""
        return f"{self.mark}: {self.message}"


@frozen
class Scalar:
    """A text, number, truth value or null.

    `origin` names what was put in (`${NAME}`), which makes the value one that no message may show.
    """

    mark: Mark
    value: Plain = field(repr=False)
    text: str = field(repr=False)
    origin: str | None = None


@frozen
class Lost:
    """A value that could not be had. It was reported where that showed; nothing more is said of it."""

    mark: Mark


@frozen
class Items:
    """A list."""

    mark: Mark
    items: tuple["Node", ...]


@frozen
class Table:
    """A mapping. Each key comes with its own mark: where it is written, also when merged in."""

    mark: Mark
    entries: Mapping[str, tuple[Mark, "Node"]]


Node = Scalar | Lost | Items | Table


def plain(node: Node, as_text: Container[Path] = (), path: Path = ()) -> object:
    """Return the data alone: dicts, tuples (nothing alters them) and scalars.

    The scalars at the paths `as_text` come as they are written, though they look like a number.
    """
    if isinstance(node, Table):
        return {key: plain(value, as_text, (*path, key)) for key, (_, value) in node.entries.items()}
    if isinstance(node, Items):
        return tuple(plain(item, as_text, (*path, at)) for at, item in enumerate(node.items))
    if isinstance(node, Lost):
        return None
    return node.text if path in as_text else node.value


def find(node: Node, path: Path) -> Node | None:
    """Return the node at a path, or None where the path leads nowhere."""
    found: Node | None = node
    for part in path:
        found = _child(found, part)
    return found


def written_at(node: Node, path: Path) -> tuple[Path, Mark]:
    """Return as much of the path as is written, and the mark of its last key or item."""
    mark = node.mark
    for depth, part in enumerate(path):
        child = _child(node, part)
        if child is None:
            return path[:depth], mark
        mark = node.entries[str(part)][0] if isinstance(node, Table) else child.mark
        node = child
    return path, mark


def scalars(node: Node) -> Iterator[Scalar | Lost]:
    """Yield every leaf below a node, or the node itself if it is one."""
    if isinstance(node, Table):
        for _, value in node.entries.values():
            yield from scalars(value)
    elif isinstance(node, Items):
        for item in node.items:
            yield from scalars(item)
    else:
        yield node


def overlay(base: Node, top: Node) -> Node:
    """Lay one file's data over another's: mappings merge key by key, anything else replaces."""
    if not isinstance(base, Table) or not isinstance(top, Table):
        return top
    entries = dict(base.entries)
    for key, (mark, value) in top.entries.items():
        below = entries.get(key)
        entries[key] = (mark, overlay(below[1], value) if below else value)
    return Table(top.mark, entries)


def _child(node: Node | None, part: str | int) -> Node | None:
    if isinstance(node, Table):
        entry = node.entries.get(str(part))
        return entry[1] if entry else None
    if isinstance(node, Items) and isinstance(part, int) and 0 <= part < len(node.items):
        return node.items[part]
    return None
