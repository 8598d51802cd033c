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
REDIS = Path("deploy/redis-requirements.txt")
BUILD = Path("deploy/build-requirements.txt")
DEVELOPMENT = Path(".ci/requirements.txt")
WANTED = Path(".ci/requirements.in")
OLDER = {"async-timeout"}  # for Pythons before 3.11.3, with which nothing is checked
BENCH = Path("bench/requirements.txt")
BENCH_WANTED = Path("bench/requirements.in")

_ENTRY = re.compile(
    r"(?P<name>[A-Za-z0-9._-]+)(?:\[[a-z0-9,_-]+\])?==(?P<version>\S+)(?: ; [^-]+)?"
    r"(?: --hash=sha256:[0-9a-f]{64})+"
)


def problems() -> Iterator[str]:
    """Say what does not agree; the remedy is `make lock`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    asked = {
        RUNTIME: project["project"]["dependencies"],
        REDIS: project["project"]["optional-dependencies"]["redis"],
        BUILD: project["build-system"]["requires"],
        DEVELOPMENT: _wanted(WANTED),
        BENCH: _wanted(BENCH_WANTED),
    }
    pins: dict[Path, Mapping[str, str]] = {}
    for lock, requirements in asked.items():
        entries, strays = _read(lock)
        pins[lock] = entries
        yield from (f"{lock}: not a pinned and hashed package: {stray[:60]}" for stray in strays)
        yield from _unmet(lock, entries, requirements)
    # One environment can hold them all, and what is tested and measured is what is deployed.
    for lock, within in (
        (RUNTIME, DEVELOPMENT),
        (REDIS, DEVELOPMENT),
        (BUILD, DEVELOPMENT),
        (RUNTIME, BENCH),
    ):
        for name, version in pins[lock].items():
            found = pins[within].get(name)
            if found != version and name not in OLDER:
                yield f"{within}: {name} is {found or 'absent'}, in {lock} it is {version}"


def _wanted(path: Path) -> list[str]:
    lines = (line.partition("#")[0].strip() for line in (ROOT / path).read_text().splitlines())
    return [line for line in lines if line and not line.startswith("-")]


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
    for requirement in map(Requirement, requirements):
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
