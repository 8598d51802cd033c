"""Request paths: one canonical form to match on, and templates for what comes in and what goes out.

A path is matched in one form only. A path that two servers could read differently (an encoded slash, a dot
segment, a doubled slash, a backslash, a fragment) never matches: it is `AMBIGUOUS` where some reading of it
would be a rewritten route, and no concern of ours where none would.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import field
from enum import Enum
from typing import Generic, TypeVar
from urllib.parse import quote, unquote

from proxy.frozen import frozen

T = TypeVar("T")

_SLOT = re.compile(r"\{([A-Za-z][A-Za-z0-9_]*)\}")
_PLAIN_SEGMENT = re.compile(r"[A-Za-z0-9_-]+")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_NO_SEGMENTS = frozenset({"", ".", ".."})
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})


class Ambiguous(Enum):
    """The one value `AMBIGUOUS`: a path that is a rewritten route in one reading and not in another."""

    PATH = "ambiguous"


AMBIGUOUS = Ambiguous.PATH
Found = tuple[T, Mapping[str, str]] | Ambiguous | None
"""A route with its path parameters, if there is one for sure."""


def split_target(target: str) -> tuple[str, str]:
    """Split a request target into its path and its query (without the `?`, empty where there is none)."""
    path, _, query = target.partition("?")
    return path, query


def escaped(value: object) -> str:
    """Return a value's text as one segment or one value of a query: nothing in it but what is unreserved."""
    text = str(value)
    return text if _PLAIN_SEGMENT.fullmatch(text) else quote(text, safe="")  # most are plain


def without_discord_prefix(target: str) -> str:
    """Return `/X` for `/.proxy/X`, as Discord's edge does; anything else comes back as it is."""
    if target.startswith("/.proxy/"):
        return target[7:]
    if target == "/.proxy" or target.startswith("/.proxy?"):
        return "/" + target[7:]
    return target


def canonical_segments(path: str) -> tuple[str, ...] | None:
    """Return the decoded segments of a path, or None when it can be read in more than one way.

    One trailing slash does not count, as with the Activity server. Follows RFC 3986, section 6.2.2.
    """
    if not path.startswith("/") or "#" in path or _BAD_ESCAPE.search(path):
        return None
    raw = path[1:].split("/")
    if len(raw) > 1 and raw[-1] == "":
        raw.pop()
    if "%" not in path and "\\" not in path and path.isprintable():
        return tuple(raw) if _NO_SEGMENTS.isdisjoint(raw) else None  # as most are
    segments = []
    for part in raw:
        try:
            segment = unquote(part, errors="strict") if "%" in part else part
        except UnicodeDecodeError:
            return None
        if not _is_segment(segment):
            return None
        segments.append(segment)
    return tuple(segments)


def other_readings(path: str) -> frozenset[tuple[str, ...]]:
    """Return the segments that other servers could see in an ambiguous path.

    Servers differ in whether escapes are decoded before a path is split, backslashes are slashes, a fragment
    is cut off, empty segments count, and dot segments are resolved.
    """
    readings: set[tuple[str, ...]] = set()
    for whole in (path, path.partition("#")[0]):
        for text in (whole, unquote(whole)):
            for slashed in (text, text.replace("\\", "/")):
                as_split = [unquote(part) for part in slashed.split("/")]
                readings.add(tuple(part for part in as_split if part))
                readings.add(_resolved(as_split))
                readings.add(_resolved([part for part in as_split if part]))
    return frozenset(readings)


@frozen
class PathPattern:
    """What a route matches: a method and a path whose `{name}` segments are its path parameters."""

    method: str
    segments: tuple[str, ...]
    names: tuple[str | None, ...]
    _literals: tuple[tuple[int, str], ...] = field(init=False, default=(), repr=False, compare=False)
    _slots: tuple[tuple[int, str], ...] = field(init=False, default=(), repr=False, compare=False)

    def __post_init__(self) -> None:
        named = tuple((place, name) for place, name in enumerate(self.names) if name)
        literal = [(place, self.segments[place]) for place, name in enumerate(self.names) if not name]
        object.__setattr__(self, "_slots", named)
        # The last one first: routes have the beginning of their paths in common.
        object.__setattr__(self, "_literals", tuple(reversed(literal)))

    @classmethod
    def parse(cls, text: str) -> "PathPattern":
        """Read `GET /api/kaltura/video/{videoId}`. Raises ValueError saying what is wrong."""
        method, path = _method_and_path(text)
        if "?" in path:
            raise ValueError("a route matches a path; it cannot hold a query")
        segments = canonical_segments(path)
        if segments is None or path.endswith("/"):
            raise ValueError(f"{path!r} is not a plain path like /api/kaltura/video/{{videoId}}")
        names: list[str | None] = []
        for segment in segments:
            slot = _SLOT.fullmatch(segment)
            if slot is None and ("{" in segment or "}" in segment):
                raise ValueError(f"{segment!r}: a parameter is a whole segment, like {{videoId}}")
            names.append(slot[1] if slot else None)
        _refuse_doubles([name for name in names if name])
        return cls(method, tuple(segment.lower() for segment in segments), tuple(names))

    def __str__(self) -> str:
        """Return the pattern as it is written in a route table."""
        return f"{self.method} /" + "/".join(
            f"{{{name}}}" if name else segment
            for name, segment in zip(self.names, self.segments, strict=True)
        )

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the path parameters."""
        return tuple(name for name in self.names if name)

    @property
    def specificity(self) -> tuple[bool, ...]:
        """Order of trial: a literal segment goes before a parameter."""
        return tuple(name is not None for name in self.names)

    def match(self, segments: tuple[str, ...]) -> dict[str, str] | None:
        """Return the path parameters, or None when the path is another. Letter case is not minded."""
        if len(segments) != len(self.segments):
            return None
        for place, literal in self._literals:
            if segments[place] != literal and segments[place].lower() != literal:
                return None
        return {name: segments[place] for place, name in self._slots}


@frozen
class CallTemplate:
    """What a route calls at the gateway: a method, a path below the base URL, a query, all with slots."""

    method: str
    path: tuple[tuple[str, bool], ...]
    query: tuple[tuple[str, str, bool], ...]

    @classmethod
    def parse(cls, text: str) -> "CallTemplate":
        """Read `GET /videos/search?q={query}&limit={pageSize}`. Raises ValueError saying what is wrong."""
        method, target = _method_and_path(text)
        raw_path, query = split_target(target)
        if canonical_segments(raw_path) is None or raw_path.endswith("/"):
            raise ValueError(f"{raw_path!r} is not a plain path like /videos/{{videoId}}")
        path = tuple(_slot_or_literal(part) for part in raw_path[1:].split("/"))
        pairs = []
        for pair in query.split("&") if query else ():
            key, equals, value = pair.partition("=")
            if not key or not equals or "{" in key or "}" in key:
                raise ValueError(f"{pair!r} in the query is not name=value")
            pairs.append((key, *_slot_or_literal(value)))
        return cls(method, path, tuple(pairs))

    @property
    def names(self) -> frozenset[str]:
        """The names of all slots."""
        return frozenset(
            [text for text, is_slot in self.path if is_slot]
            + [text for _, text, is_slot in self.query if is_slot]
        )

    def render(self, values: Mapping[str, object]) -> str:
        """Return path and query with each value as one escaped segment or query value.

        Raises ValueError for a value that some server could read as more or less than one segment.
        """
        path = "".join(
            ["/" + (_as_segment(text, values[text]) if is_slot else text) for text, is_slot in self.path]
        )
        if not self.query:
            return path
        return f"{path}?" + "&".join(
            [f"{key}={escaped(values[text]) if is_slot else text}" for key, text, is_slot in self.query]
        )

    def __str__(self) -> str:
        """Return the call as it is written in a route table."""
        path = "".join(f"/{{{text}}}" if is_slot else f"/{text}" for text, is_slot in self.path)
        query = "&".join(
            f"{key}={{{text}}}" if is_slot else f"{key}={text}" for key, text, is_slot in self.query
        )
        return f"{self.method} {path}" + (f"?{query}" if query else "")


@frozen
class PathIndex(Generic[T]):
    """The patterns of all routes, by method and number of segments, to find the one that a request is for.

    What was found last is remembered: who finds that a request is not for them leaves it to the next one, who
    looks for the same.
    """

    entries: Mapping[tuple[str, int], Sequence[tuple[PathPattern, T]]]
    _last: dict[tuple[str, str], Found[T]] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, entries: Sequence[tuple[PathPattern, T]]) -> "PathIndex[T]":
        """Order the patterns so that the more literal one is tried first."""
        index: dict[tuple[str, int], list[tuple[PathPattern, T]]] = {}
        for entry in sorted(entries, key=lambda entry: entry[0].specificity):
            index.setdefault((entry[0].method, len(entry[0].segments)), []).append(entry)
        return cls(index)

    def find(self, method: str, path: str) -> Found[T]:
        """Return the route for a raw path with its path parameters; `HEAD` finds what `GET` does."""
        asked = method, path
        if asked not in self._last:
            found = self._look_for("GET" if method == "HEAD" else method, path)
            self._last.clear()
            self._last[asked] = found
        return self._last[asked]

    def _look_for(self, wanted: str, path: str) -> Found[T]:
        segments = canonical_segments(path)
        if segments is not None:
            return self._find(wanted, segments)
        if path != "/" and any(self._find(wanted, reading) for reading in other_readings(path)):
            return AMBIGUOUS
        return None

    def _find(self, method: str, segments: tuple[str, ...]) -> tuple[T, Mapping[str, str]] | None:
        for pattern, found in self.entries.get((method, len(segments)), ()):
            if (values := pattern.match(segments)) is not None:
                return found, values
        return None


def _method_and_path(text: str) -> tuple[str, str]:
    method, space, path = text.partition(" ")
    if not space or method not in _METHODS or not path.startswith("/"):
        raise ValueError(f"{text!r} is not a method and a path, like GET /videos/{{videoId}}")
    if not path.isascii() or not path.isprintable() or " " in path or "#" in path:
        raise ValueError(f"{path!r}: a path is printable ASCII without blanks and #")
    return method, path


def _slot_or_literal(text: str) -> tuple[str, bool]:
    slot = _SLOT.fullmatch(text)
    if slot:
        return slot[1], True
    if "{" in text or "}" in text:
        raise ValueError(f"{text!r}: a slot stands alone, like {{videoId}}")
    return text, False


def _as_segment(name: str, value: object) -> str:
    text = str(value)
    if _PLAIN_SEGMENT.fullmatch(text):
        return text
    decoded = unquote(text)  # what a server that decodes twice would see
    if not all(_is_segment(reading) for reading in (text, decoded, unquote(decoded))):
        raise ValueError(f"{name} cannot be a path segment")
    return quote(text, safe="")


def _is_segment(text: str) -> bool:
    return text not in _NO_SEGMENTS and text.isprintable() and "/" not in text and "\\" not in text


def _resolved(parts: Sequence[str]) -> tuple[str, ...]:
    """Resolve dot segments (RFC 3986, section 5.2.4); what is left of empty segments does not count."""
    resolved: list[str] = []
    for part in parts:
        if part == "..":
            del resolved[-1:]
        elif part != ".":
            resolved.append(part)
    return tuple(part for part in resolved if part)


def _refuse_doubles(names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"the parameter {{{name}}} is given twice")
