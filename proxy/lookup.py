"""The files of a configuration: where they are looked up, and how they are read.

A file beside the user's configuration wins over the one that the package carries.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import field
from pathlib import Path

from proxy.diagnosis import near
from proxy.document import MAX_BYTES, Document, parse
from proxy.frozen import frozen
from proxy.nodes import Mark, Problem, Table


def carried_directory() -> Path:
    """Return the configuration that comes along: in the package, or beside it in a checkout."""
    package = Path(__file__).parent
    packed = package / "config"
    return packed if packed.is_dir() else package.parent / "config"


def read(path: Path, limit: int = MAX_BYTES) -> bytes:
    """Return a file's bytes, or one byte more than `limit` of a larger one. Raises OSError."""
    try:
        with path.open("rb") as stream:
            return stream.read(limit + 1)
    except ValueError as error:  # a NUL within the name
        raise OSError(str(error)) from None


@frozen
class Files:
    """Where the files of a configuration are looked up: in these directories, in order."""

    directories: tuple[Path, ...]
    substitute: Callable[[str], tuple[str, str | None]] = field(repr=False)

    def find(self, name: str) -> Path | None:
        """Return the first file of that name; an absolute path stands for itself."""
        return next((path for folder in self.directories if _exists(path := folder / name)), None)

    def near(self, name: str) -> str:
        """Return ` (did you mean …?)` for the file that is nearest in name, or nothing."""
        folder = Path(name).parent
        known: set[str] = set()
        for directory in self.directories:
            with suppress(OSError, ValueError):  # a name that no file can have
                known.update(str(folder / path.name) for path in (directory / folder).iterdir())
        return near(name, known)

    def document(self, path: Path) -> Document:
        """Return a YAML file, whatever is wrong with it. Never raises."""
        file = str(path)
        try:
            data = read(path)
        except OSError as error:
            why = f"cannot be read: {error.strerror or error}"
            return Document(Table(Mark(file, 1, 1), {}), (Problem(Mark(file), why),))
        return parse(data, file, self.substitute)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name too long, or with a NUL within
        return False
