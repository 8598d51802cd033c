"""Settings that are each sound but do not go together."""

from collections.abc import Iterable
from typing import NamedTuple

Path = tuple[str | int, ...]
"""Keys and list indices that lead from the outermost model to a value."""


class Misfit(NamedTuple):
    """One thing that does not fit.

    `path` names the offending key, seen from the model that complains. `others` are the keys that
    it clashes with: the mistake is shown at the first of them all that the user wrote.
    """

    path: Path
    message: str
    others: tuple[Path, ...] = ()


class Misfits(ValueError):
    """Raised by a model's validator with all that does not fit, each at its own key.

    A bare `ValueError` would show at the model as a whole, and only the first would be told.
    """

    def __init__(self, problems: Iterable[tuple[Path, str] | tuple[Path, str, tuple[Path, ...]]]) -> None:
        self.problems = tuple(Misfit(*problem) for problem in problems)
        super().__init__("; ".join(problem.message for problem in self.problems))
