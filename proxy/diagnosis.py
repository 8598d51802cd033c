"""What a model found wrong with a file, in our own words and at the file's own lines.

No message shows a value that was put in from the environment or a secret file; it names where the value
came from instead.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from types import UnionType
from typing import Annotated, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from proxy.misfits import Misfits, Path
from proxy.nodes import Lost, Mark, Node, Problem, Scalar, find, plain, scalars, written_at
from proxy.units import WRITTEN, Refused, shown

Model = TypeVar("Model", bound=BaseModel)

_WORDS = {
    "string_type": "must be a text; put it in quotes",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list, like [a, b]",
    "dict_type": "must be a mapping (key: value)",
    "model_type": "must be a mapping (key: value)",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "string_too_short": "must not be empty",
    "string_too_long": "must not be longer than {max_length} characters",
    "string_pattern_mismatch": "must match {pattern}",
}
_UNFIT = "is not what belongs here"
_QUOTED = re.compile(r"'([^']*)'")
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,59}")


def near(word: str, known: Collection[str]) -> str:
    """Return ` (did you mean …?)` for the known word that is nearest, or nothing where none is near."""
    from difflib import get_close_matches  # noqa: PLC0415  (a sound configuration does not pay for it)

    found = get_close_matches(word.lower()[:100], known, 1, 0.6)
    if not found and len(word) >= 3:
        found = [name for name in sorted(known) if name.startswith(word.lower())]
    return f" (did you mean {found[0]}?)" if found else ""


def dotted(path: Path) -> str:
    """Return a path as people write it: `gateway.timeout.total`, `trusted_proxies[1]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (part if _PLAIN_KEY.fullmatch(part) else shown(part))
    return text


def read_model(
    model: type[Model],
    root: Node,
    under: Path,
    own: Collection[str],
    tell: Callable[[Problem], None],
) -> Model | None:
    """Read a model from the part of `root` that lies at `under`; tell what is wrong with it, if it is.

    `own` are the files that the user wrote: of two keys that clash, one of theirs is shown.
    """
    node = find(root, under) or root
    try:
        try:
            return _validate(model, plain(node))
        except ValidationError as error:
            texts = _text_paths(error, node)
            if not texts:
                raise
        return _validate(model, plain(node, texts))
    except ValidationError as error:
        for problem in _diagnose(error, root, model, own, under):
            tell(problem)
    except (RecursionError, OverflowError):
        tell(Problem(written_at(root, under)[1], f"{dotted(under)}: is too large to be read"))
    return None


def _validate(model: type[Model], data: object) -> Model:
    return model.model_validate(data, context=WRITTEN, by_alias=True, by_name=False)


def _text_paths(error: ValidationError, root: Node) -> frozenset[Path]:
    """Return where a value that was put in was refused, though it may only look like a number.

    A token of digits is a text; nobody can quote the environment.
    """
    found = {tuple(details["loc"]): find(root, tuple(details["loc"])) for details in error.errors()}
    return frozenset(
        path
        for path, node in found.items()
        if isinstance(node, Scalar) and node.origin and not isinstance(node.value, str)
    )


def _diagnose(
    error: ValidationError, root: Node, model: type[BaseModel], own: Collection[str], under: Path
) -> Iterable[Problem]:
    singles: dict[tuple[Mark, str], list[str]] = {}
    for details in error.errors(include_url=False):
        raw = tuple(details["loc"])
        path = (*under, *raw)
        cause = details.get("ctx", {}).get("error")
        if _lost(root, path):
            continue
        if isinstance(cause, Misfits):
            for at, message, others in cause.problems:
                yield _misfit(root, [(*path, *p) for p in (at, *others)], message, own)
        else:
            mark, name, message = _single(details, root, model, path, raw)
            singles.setdefault((mark, name), []).append(message)
    for (mark, name), messages in singles.items():  # several: the alternatives of a union
        yield Problem(mark, name + ", or ".join(dict.fromkeys(messages)))


def _misfit(root: Node, paths: list[Path], message: str, own: Collection[str]) -> Problem:
    marks = [(written_at(root, path)[1], path) for path in paths]
    mark, path = next((found for found in marks if found[0].file in own), marks[0])
    origin = _origin(find(root, paths[0]))
    told = f"the value of {origin} does not fit here" if origin else message
    return Problem(mark, f"{dotted(path)}: {told}")


def _single(
    details: ErrorDetails, root: Node, model: type[BaseModel], path: Path, raw: Path
) -> tuple[Mark, str, str]:
    """Return where it is, how the place is called, and what is wrong with it."""
    written, mark = written_at(root, path)
    if details["type"] == "extra_forbidden":
        return mark, f"unknown key {dotted(path)}", near(str(raw[-1]), known_keys(model, raw[:-1]))
    if details["type"] == "missing":
        return mark, f"{dotted(path)}: ", "is missing"
    return mark, f"{dotted(written)}: ", _wrong(details, find(root, written))


def _wrong(details: ErrorDetails, node: Node | None) -> str:
    origin = _origin(node)
    value, context = details["input"], details.get("ctx", {})
    cause = context.get("error")
    if origin:
        why = cause.why if isinstance(cause, Refused) else _words(details)
        return f"the value of {origin} {why}"
    if isinstance(cause, ValueError):
        return str(cause)
    if details["type"] == "literal_error":
        known = _QUOTED.findall(context["expected"])
        return f"{shown(value)} {_words(details)}{near(str(value), known)}"
    return "is empty; give it a value or leave the key out" if value is None else _words(details)


def _words(details: ErrorDetails) -> str:
    """Return what is wrong in words that hold nothing of the value."""
    context = details.get("ctx", {})
    if details["type"] == "literal_error":
        return f"is none of {', '.join(_QUOTED.findall(context['expected']))}"
    return _WORDS.get(details["type"], _UNFIT).format_map(context)


def known_keys(model: type[BaseModel], path: Path) -> list[str]:
    """Return the keys that the model knows at a path, as a file writes them."""
    at: object = model
    for part in path:
        fields = _fields(at)
        if fields is None:
            at = next((kind for kind in reversed(get_args(_bare(at))) if kind is not ...), None)
        else:
            at = fields.get(str(part))
    return sorted(_fields(at) or ())


def _fields(annotation: object) -> Mapping[str, object] | None:
    bare = _bare(annotation)
    if not isinstance(bare, type) or not issubclass(bare, BaseModel):
        return None
    return {
        field.alias or name: field.annotation
        for name, field in bare.model_fields.items()
        if not field.exclude
    }


def _bare(annotation: object) -> object:
    """Return an annotation without `Annotated` and without `None`."""
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    if get_origin(annotation) in {Union, UnionType}:
        return next(kind for kind in get_args(annotation) if kind is not type(None))
    return annotation


def _origin(node: Node | None) -> str | None:
    """Return what was put in anywhere below a node."""
    found = (
        [leaf.origin for leaf in scalars(node) if isinstance(leaf, Scalar) and leaf.origin] if node else []
    )
    return " and ".join(dict.fromkeys(found)) or None


def _lost(root: Node, path: Path) -> bool:
    """Whether a value could not be had here or below, so that what a model says of it means nothing."""
    written, _ = written_at(root, path)
    node = find(root, written)
    if node is None or isinstance(node, Lost):
        return node is not None
    return written == path and any(isinstance(leaf, Lost) for leaf in scalars(node))
