"""Configurations for tests: files in a directory of their own, and what loading them says."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import pytest

from proxy.configuration import Configuration, ConfigurationError, load


@dataclass(frozen=True, slots=True)
class Folder:
    """A directory with a configuration in it."""

    path: Path

    def write(self, name: str, text: str | bytes) -> Path:
        """Write a file, indentation that all lines share taken off."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else dedent(text).encode())
        return path

    def load(self, text: str | bytes = "", environ: Mapping[str, str] | None = None) -> Configuration:
        """Load a configuration with this text."""
        return load(self.write("proxy.yaml", text), environ or {})

    def problems(self, text: str | bytes = "", environ: Mapping[str, str] | None = None) -> list[str]:
        """Return what is wrong with a configuration, a line each, as files of this directory."""
        with pytest.raises(ConfigurationError) as caught:
            self.load(text, environ)
        return self.relative(str(caught.value))

    def relative(self, text: str) -> list[str]:
        """Return the lines of a text without this directory's name."""
        return text.replace(f"{self.path}/", "").splitlines()
