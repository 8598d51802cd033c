"""What a route's reply has to be: fields that are there, and their JSON types."""

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Literal, NamedTuple

from proxy.compiled import text

JsonType = Literal["string", "number", "boolean", "array", "object"]
_TYPES: Mapping[JsonType, tuple[type, ...]] = {
    "string": (str,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}


class FieldPath(str):
    """A field of a reply: `title`, or `videos[].id` for that field of each element of a list."""

    __slots__ = ("__dict__",)  # where `parts` is remembered

    @classmethod
    def parse(cls, value: object) -> "FieldPath":
        """Read a field path. Raises ValueError for anything deeper."""
        path = text(value)
        head, brackets, tail = path.partition("[].")
        if not head.isidentifier() or (brackets and not tail.isidentifier()):
            raise ValueError(f"{path!r} is not a field, like title or videos[].title")
        return cls(path)

    @cached_property
    def parts(self) -> tuple[str, str | None]:
        """The field, and the element's field behind `[].`."""
        head, _, tail = self.partition("[].")
        return head, tail or None


class Typed(NamedTuple):
    """A field, the key that its value stands under, its JSON type, and Python's types of such values.

    Null is of any type; JSON's numbers are no booleans, though Python's booleans are numbers.
    """

    path: FieldPath
    key: str
    kind: JsonType
    types: frozenset[type]


class Fields(NamedTuple):
    """What is wanted of one object: of the reply itself, or of each element of its list `head`."""

    head: str
    required: tuple[tuple[FieldPath, str], ...]
    typed: tuple[Typed, ...]

    @property
    def first(self) -> FieldPath:
        """The field that is named first."""
        return self.required[0][0] if self.required else self.typed[0].path


class Shape(NamedTuple):
    """What is wanted of a reply, sorted once for all its answers."""

    itself: Fields
    lists: tuple[Fields, ...]

    @classmethod
    def of(cls, require: Iterable[FieldPath], types: Mapping[FieldPath, JsonType]) -> "Shape":
        """Sort the fields by where they stand."""
        require = tuple(require)
        heads = dict.fromkeys(path.parts[0] for path in (*require, *types) if path.parts[1] is not None)
        lists = (
            Fields(
                head,
                tuple((path, path.parts[1] or "") for path in require if _is_in(path, head)),
                tuple(_typed(path, path.parts[1] or "", types[path]) for path in types if _is_in(path, head)),
            )
            for head in heads
        )
        itself = Fields(
            "",
            tuple((path, path.parts[0]) for path in require if path.parts[1] is None),
            tuple(_typed(path, path.parts[0], types[path]) for path in types if path.parts[1] is None),
        )
        return cls(itself, tuple(lists))


def _is_in(path: FieldPath, head: str) -> bool:
    return path.parts[0] == head and path.parts[1] is not None


def _typed(path: FieldPath, key: str, kind: JsonType) -> Typed:
    return Typed(path, key, kind, frozenset((*_TYPES[kind], type(None))))
