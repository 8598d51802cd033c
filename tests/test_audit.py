"""The look-up of known vulnerabilities, with a stand-in for what asks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HOLE = {"id": "PYSEC-1", "fix_versions": ["2.0"]}
SOUND = {"name": "yarl", "version": "1", "vulns": []}
HOLED = {"name": "aiohttp", "version": "1", "vulns": [HOLE]}
UNKNOWN = {"name": "attrs", "skip_reason": "not found"}


def audit(folder: Path, says: str) -> tuple[int, str]:
    """The exit status and the words of the audit, where pip-audit prints that."""
    stand_in = folder / "pip_audit"
    stand_in.mkdir()
    (stand_in / "__init__.py").write_text("")
    (stand_in / "__main__.py").write_text(says)
    done = subprocess.run(
        [sys.executable, ".ci/audit.py"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("packages", "status", "words"),
    [
        ([SOUND], 0, "audit: 1 packages looked up, 0 vulnerable"),
        ([SOUND, HOLED], 1, "aiohttp 1: PYSEC-1, fixed in 2.0"),
        ([HOLED, UNKNOWN], 1, "aiohttp 1: PYSEC-1, fixed in 2.0"),
        ([SOUND, UNKNOWN], 0, "audit: no advisory data for 1 of 2: attrs"),
        ([UNKNOWN], 0, "audit: NOT DONE, the package index knows no advisories for any of 1."),
    ],
)
def test_a_known_vulnerability_fails(tmp_path: Path, packages: list[object], status: int, words: str) -> None:
    """Whatever else could not be looked up; what was not looked up is told."""
    said = json.dumps({"dependencies": packages})
    code, told = audit(tmp_path, f"import sys; print({said!r}); sys.exit({status})")
    assert (code, words in told) == (status, True), told


def test_a_lookup_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """With the reason, and where it can be made."""
    code, told = audit(tmp_path, "import sys; sys.exit('no connection')")
    assert code == 0
    assert told.startswith("audit: NOT DONE, nothing was looked up: no connection. Run `make check-security`")
