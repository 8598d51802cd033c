"""Frozen dataclasses that cost a start little.

There are over a hundred of them here, and `dataclass(frozen=True)` compiles six methods for each whenever the
process starts: a quarter of a millisecond. Here one is compiled, `__init__`, since it is called most; the
others are the same for all.
"""

from collections.abc import Callable
from dataclasses import MISSING, Field, FrozenInstanceError, dataclass, field, fields
from operator import attrgetter
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar, dataclass_transform

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: type[T]) -> type[T]:
    """Make a class what `dataclass(frozen=True, slots=True)` would make of it.

    `fields`, `replace` and `asdict` of `dataclasses` know it as one. There are no keyword-only fields.
    """
    cls.__doc__ = cls.__doc__ or cls.__name__  # else its signature is worked out to stand in for it
    made: type[T] = dataclass(init=False, repr=False, eq=False, slots=True)(cls)  # compiles nothing
    every: tuple[Field[Any], ...] = fields(made)  # type: ignore[arg-type]  # of what is a dataclass by now
    compared = [each.name for each in every if each.compare]
    values = attrgetter(*compared) if compared else type
    for name, method in {**_METHODS, "__init__": _initializer(made, every), _COMPARED: values}.items():
        if name not in cls.__dict__:
            setattr(made, name, method)
    return made


def _initializer(made: type, every: tuple[Field[Any], ...]) -> Callable[..., None]:
    """Compile `__init__`: each field by its slot's own setter, which is the quickest past `__setattr__`."""
    known: dict[str, Any] = {"missing": MISSING}
    parameters, lines = ["self"], ["pass"]
    for each in every:
        name = value = parameter = each.name
        known[f"set_{name}"] = getattr(made, name).__set__
        if each.default is not MISSING:
            known[f"default_{name}"] = each.default
            parameter, value = f"{name}=default_{name}", name if each.init else f"default_{name}"
        elif each.default_factory is not MISSING:
            known[f"make_{name}"] = each.default_factory
            parameter, value = f"{name}=missing", f"make_{name}()"
            if each.init:
                value = f"{name} if {name} is not missing else {value}"
        elif not each.init:
            continue  # left to `__post_init__`
        if each.init:
            parameters.append(parameter)
        lines.append(f"set_{name}(self, {value})")
    if hasattr(made, "__post_init__"):
        lines.append("self.__post_init__()")
    text = f"def __init__({', '.join(parameters)}):\n " + "\n ".join(lines)
    exec(text, known)  # noqa: S102  # nosec B102  (the text is made of names of fields only)
    initializer: Callable[..., None] = known["__init__"]
    initializer.__qualname__ = f"{made.__qualname__}.__init__"  # what a complaint of wrong arguments says
    return initializer


class _Frozen:
    """The methods that are the same for all; `__compared__` gets what is compared."""

    __slots__ = ()
    __compared__: "attrgetter[object] | type"

    @recursive_repr()
    def __repr__(self) -> str:
        shown = [each.name for each in fields(self) if each.repr]  # type: ignore[arg-type]  # of a dataclass
        return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        values = self.__compared__
        return bool(values(self) == values(other))

    def __hash__(self) -> int:
        return hash(self.__compared__(self))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise FrozenInstanceError(f"{name!r} cannot be altered")

    def __delattr__(self, name: str) -> NoReturn:
        raise FrozenInstanceError(f"{name!r} cannot be deleted")

    def __getstate__(self: "DataclassInstance") -> list[object]:
        return [getattr(self, each.name) for each in fields(self)]

    def __setstate__(self: "DataclassInstance", state: list[object]) -> None:
        """Set what is copied, or read back, past `__setattr__`: part of how Python copies."""
        for each, value in zip(fields(self), state, strict=True):
            object.__setattr__(self, each.name, value)


_COMPARED: Final = "__compared__"
_METHODS: Final = {name: method for name, method in vars(_Frozen).items() if callable(method)}
