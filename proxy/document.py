"""YAML text to data with positions.

Built from the parser's events rather than by a ready-made loader, because those drop doubled keys, read
`on` as true and `12:30:00` as 45000, and forget where things stood. Scalars follow the core schema of
YAML 1.2, but only true, false, null, integers and floats are typed. Keys are texts. Merge keys (`<<`)
and aliases work, and what they bring keeps the mark of the place where it is written.
"""

import codecs
import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

import yaml

from proxy.frozen import frozen
from proxy.nodes import Items, Lost, Mark, Node, Plain, Problem, Scalar, Table
from proxy.substitution import Unsubstitutable
from proxy.units import shown

MAX_BYTES: Final = 1024 * 1024
MAX_NODES: Final = 50_000
MAX_DEPTH: Final = 40

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,30})")
_FLOAT = re.compile(r"[-+]?(\.[0-9]{1,30}|[0-9]{1,30}(\.[0-9]{0,30})?)([eE][-+]?[0-9]{1,3})?")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]")
# What YAML 1.2 (5.1) does not count as printable. Written the other way round, `[^…]` with nearly all of
# Unicode in it, it takes ten times as long to compile, 3 ms of each start.
_UNPRINTABLE = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufeff\ufffe\uffff]")
_TEXT_TAG = "tag:yaml.org,2002:str"


@frozen
class Document:
    """What a file says, and what is wrong with it as a file. `root` is empty where it cannot be read."""

    root: Table
    problems: tuple[Problem, ...] = ()


class _Unreadable(Exception):
    """The rest of the document cannot be made out."""

    def __init__(self, mark: Mark, message: str) -> None:
        super().__init__(message)
        self.problem = Problem(mark, message)


def decode(data: bytes, file: str) -> str | Problem:
    """Return a file's text, or what keeps it from being one."""
    if len(data) > MAX_BYTES:
        return Problem(Mark(file), f"is larger than {MAX_BYTES // 1024} KiB; that is no configuration")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return Problem(Mark(file, 1, 1), "is UTF-16; save it as UTF-8")
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        return Problem(_mark_after(data[: error.start].decode(), file), "is not UTF-8 text")
    if found := _UNPRINTABLE.search(text):
        mark = _mark_after(text[: found.start()], file)
        return Problem(mark, f"the character U+{ord(found[0]):04X} must not stand here")
    return text


def parse(data: bytes, file: str, substitute: Callable[[str], tuple[str, str | None]]) -> Document:
    """Read a document whose outermost value is a mapping (empty: an empty one). Never raises.

    `substitute` gives a text's finished form and what was put in, or raises `Unsubstitutable`.
    """
    top = Mark(file, 1, 1)
    text = decode(data, file)
    if isinstance(text, Problem):
        return Document(Table(top, {}), (text,))
    reader = _Reader(file, substitute)
    try:
        root = reader.document(text)
    except _Unreadable as error:
        reader.problems.append(error.problem)
    except yaml.YAMLError as error:
        reader.problems.append(_syntax(error, text, file))
    else:
        if isinstance(root, Table):
            return Document(root, tuple(reader.problems))
        if not (isinstance(root, Scalar) and root.value is None):
            reader.problems.append(Problem(root.mark, "a mapping is wanted here (key: value)"))
    return Document(Table(top, {}), tuple(reader.problems))


@dataclass(slots=True)
class _Reader:
    """Builds the tree of one document from the parser's events."""

    file: str
    substitute: Callable[[str], tuple[str, str | None]]
    problems: list[Problem] = field(default_factory=list)
    anchors: dict[str, tuple[Node, int] | None] = field(default_factory=dict)
    count: int = 0

    def document(self, text: str) -> Node:
        events = yaml.parse(text, Loader=yaml.CSafeLoader)
        root: Node | None = None
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    raise _Unreadable(self._mark(event), "a second document; one is wanted")
                root = self._node(next(events), events, 0)
        return root or Table(Mark(self.file, 1, 1), {})

    def _mark(self, event: yaml.Event) -> Mark:
        at = event.start_mark
        return Mark(self.file, at.line + 1, at.column + 1) if at else Mark(self.file)

    def _node(self, event: yaml.Event, events: Iterator[yaml.Event], depth: int) -> Node:
        mark = self._mark(event)
        if depth > MAX_DEPTH:
            raise _Unreadable(mark, f"is nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(str(event.anchor), mark, depth)
        before = self.count
        self._add(1, mark)
        anchor, tag = getattr(event, "anchor", None), getattr(event, "tag", None)
        if anchor:
            self.anchors[anchor] = None  # while it is open
        if tag not in {None, "!", _TEXT_TAG}:
            self.problems.append(Problem(mark, f"the tag {tag} is not known here"))
        node: Node
        if isinstance(event, yaml.ScalarEvent):
            node = self._scalar(event, mark)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._items(events, mark, depth)
        else:
            node = self._table(events, mark, depth)
        if anchor:
            self.anchors[anchor] = (node, self.count - before)
        return node

    def _add(self, nodes: int, mark: Mark) -> None:
        self.count += nodes
        if self.count > MAX_NODES:
            raise _Unreadable(mark, f"more than {MAX_NODES} values, aliases counted in full")

    def _alias(self, name: str, mark: Mark, depth: int) -> Node:
        if name not in self.anchors:
            raise _Unreadable(mark, f"there is no anchor &{name} above the alias *{name}")
        anchored = self.anchors[name]
        if anchored is None:
            raise _Unreadable(mark, f"the alias *{name} stands within its own anchor")
        node, size = anchored
        self._add(size, mark)
        if depth + _height(node) > MAX_DEPTH:
            raise _Unreadable(mark, f"is nested deeper than {MAX_DEPTH} levels")
        return node

    def _scalar(self, event: yaml.ScalarEvent, mark: Mark) -> Node:
        try:
            text, origin = self.substitute(event.value)
        except Unsubstitutable as error:
            self.problems.append(Problem(mark, str(error)))
            return Lost(mark)
        if not event.implicit[0] or event.tag or (origin and not text):
            return Scalar(mark, text, text, origin)
        return Scalar(mark, typed(text), text, origin)

    def _items(self, events: Iterator[yaml.Event], mark: Mark, depth: int) -> Items:
        items: list[Node] = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            items.append(self._node(event, events, depth + 1))
        return Items(mark, tuple(items))

    def _table(self, events: Iterator[yaml.Event], mark: Mark, depth: int) -> Table:
        own: dict[str, tuple[Mark, Node]] = {}
        merged: dict[str, tuple[Mark, Node]] = {}
        merge: Mark | None = None
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            at = self._mark(event)
            key = self._key(event, events, depth)
            value = self._node(next(events), events, depth + 1)
            if key == "<<" and isinstance(event, yaml.ScalarEvent) and event.implicit[0]:
                if merge is not None:
                    self._doubled("<<", at, merge)
                merge = at
                merged = self._merged(value, at)
            elif key is not None and key in own:
                self._doubled(key, at, own[key][0])
            elif key is not None:
                own[key] = (at, value)
        return Table(mark, {**merged, **own})

    def _key(self, event: yaml.Event, events: Iterator[yaml.Event], depth: int) -> str | None:
        mark = self._mark(event)
        if isinstance(event, yaml.ScalarEvent):
            self._add(1, mark)
            if event.anchor:
                self.anchors[event.anchor] = (Scalar(mark, event.value, event.value), 1)
            if not event.implicit[0] or isinstance(typed(event.value), str):
                return event.value
            message = f"the key {shown(event.value)} must be a text: put it in quotes"
            self.problems.append(Problem(mark, message))
            return None
        self._node(event, events, depth + 1)
        self.problems.append(Problem(mark, "a key must be a text"))
        return None

    def _doubled(self, key: str, mark: Mark, first: Mark) -> None:
        self.problems.append(
            Problem(
                mark, f"the key {shown(key)} stands here a second time; the first is in line {first.line}"
            )
        )

    def _merged(self, value: Node, mark: Mark) -> dict[str, tuple[Mark, Node]]:
        tables = value.items if isinstance(value, Items) else (value,)
        merged: dict[str, tuple[Mark, Node]] = {}
        for table in tables:
            if isinstance(table, Table):
                for key, entry in table.entries.items():
                    merged.setdefault(key, entry)
            else:
                self.problems.append(Problem(mark, "<< takes a mapping or a list of mappings"))
        return merged


def _height(node: Node) -> int:
    below: Iterable[Node] = ()
    if isinstance(node, Table):
        below = (value for _, value in node.entries.values())
    elif isinstance(node, Items):
        below = node.items
    return max((1 + _height(child) for child in below), default=0)


def typed(text: str) -> Plain:
    """Return what an unquoted text means."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text) and not _LEADING_ZERO.match(text):
        number = float(text)
        return number if math.isfinite(number) else text
    return text


def _syntax(error: yaml.YAMLError, text: str, file: str) -> Problem:
    mark = getattr(error, "problem_mark", None)
    what = getattr(error, "problem", None) or "it cannot be read"
    context = getattr(error, "context", None)
    message = f"this is not YAML: {what}" + (f" {context}" if context else "")
    if mark is None:
        return Problem(Mark(file, 1, 1), message)
    lines = text.splitlines() or [""]
    at, column = (mark.line, mark.column) if mark.line < len(lines) else (len(lines) - 1, len(lines[-1]))
    if "\t" in lines[at]:
        message += "; indent with blanks, not with tabs"
    elif "${" in lines[at] and "{" in lines[at].replace("${", ""):
        message += '; within { } put "${…}" in quotes'
    return Problem(Mark(file, at + 1, column + 1), message)


def _mark_after(before: str, file: str) -> Mark:
    line = before.count("\n") + 1
    return Mark(file, line, len(before) - (before.rfind("\n") + 1) + 1)
