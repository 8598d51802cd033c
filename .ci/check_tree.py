"""Looks through the files of the repository for what must not be in it."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LARGEST = 1_000_000  # bytes

FORBIDDEN = {
    "a registry's host": re.compile(r"\b(?:pypi|pythonhosted|npmjs|debian)\.(?:org|com)\b"),
    "a path of one machine": re.compile(r"(?<![\w.$}-])/(?:root|work|home/\w+|Users/\w+|tmp)/\w"),
    "a private key": re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"),
    "an access key": re.compile(r"\bA[KS]IA[A-Z0-9]{16}\b|\bgh[pousr]_\w{36}\b|\bxox[abpr]-\w{10}"),
    "an unresolved merge": re.compile(r"^(?:<{7}|>{7}) ", re.MULTILINE),
}


def problems() -> Iterator[str]:
    """Say where something stands that must not."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in sorted(filter(None, listed.stdout.split("\0"))):
        path = ROOT / name
        if not path.is_file():
            continue
        content = path.read_bytes()
        if len(content) > LARGEST:
            yield f"{name}: {len(content)} bytes are too much for this repository"
        text = content.decode("utf-8", "replace")
        for what, pattern in FORBIDDEN.items():
            for hit in pattern.finditer(text):
                line = text.count("\n", 0, hit.start()) + 1
                yield f"{name}:{line}: {what}"


if __name__ == "__main__":
    found = list(problems())
    print(*found, sep="\n", end="\n" if found else "")
    if found:
        sys.exit(1)
    print("tree: no hosts of registries, paths of machines, or keys")
