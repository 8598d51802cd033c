"""Holds the lock files against what they were made from, without asking a registry."""

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
RUNTIME = Path("deploy/requirements.txt")
BUILD = Path("deploy/build-requirements.txt")
DEVELOPMENT = Path(".ci/requirements.txt")
WANTED = Path(".ci/requirements.in")

_ENTRY = re.compile(
    r"(?P<name>[A-Za-z0-9._-]+)(?:\[[a-z0-9,_-]+\])?==(?P<version>\S+)(?: --hash=sha256:[0-9a-f]{64})+"
)


def problems() -> Iterator[str]:
    """Say what does not agree; the remedy is `make lock`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = (line.partition("#")[0].strip() for line in (ROOT / WANTED).read_text().splitlines())
    asked = {
        RUNTIME: project["project"]["dependencies"],
        BUILD: project["build-system"]["requires"],
        DEVELOPMENT: [line for line in wanted if line and not line.startswith("-")],
    }
    pins: dict[Path, Mapping[str, str]] = {}
    for lock, requirements in asked.items():
        entries, strays = _read(lock)
        pins[lock] = entries
        yield from (f"{lock}: not a pinned and hashed package: {stray[:60]}" for stray in strays)
        yield from _unmet(lock, entries, requirements)
    # One environment can hold them all, and tests run with what is deployed.
    for lock in (RUNTIME, BUILD):
        for name, version in pins[lock].items():
            found = pins[DEVELOPMENT].get(name)
            if found != version:
                yield f"{DEVELOPMENT}: {name} is {found or 'absent'}, in {lock} it is {version}"


def _read(lock: Path) -> tuple[Mapping[str, str], list[str]]:
    text = (ROOT / lock).read_text(encoding="utf-8").replace(" \\\n   ", "")
    entries: dict[str, str] = {}
    strays = []
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        entry = _ENTRY.fullmatch(line)
        if entry:
            entries[canonicalize_name(entry["name"])] = entry["version"]
        else:
            strays.append(line)
    return entries, strays


def _unmet(lock: Path, entries: Mapping[str, str], requirements: Iterable[str]) -> Iterator[str]:
    for text in requirements:
        requirement = Requirement(text)
        version = entries.get(canonicalize_name(requirement.name))
        if version is None:
            yield f"{lock}: {requirement.name} is missing"
        elif not requirement.specifier.contains(version, prereleases=True):
            yield f"{lock}: {requirement.name} is {version}, asked for is {requirement.specifier}"


if __name__ == "__main__":
    found = list(problems())
    print(*found, sep="\n", end="\n" if found else "")
    if found:
        sys.exit("the locks do not agree with what they are made from: make lock")
    print("locks: agree with pyproject.toml and .ci/requirements.in")
