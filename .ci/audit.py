"""Looks the pinned packages up among the known vulnerabilities, as far as these can be reached from here.

A vulnerable package fails. Advisory data that cannot be had is told, and fails nothing.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ("deploy/requirements.txt", "deploy/build-requirements.txt", ".ci/requirements.txt")
PATIENCE = 120  # seconds; each package is a question of its own

ELSEWHERE = "Run `make check-security` where they can be reached"


def audited() -> dict[str, list[dict[str, object]]] | str:
    """Return what `pip-audit` says of each package, or why it says nothing."""
    command = [sys.executable, "-m", "pip_audit", "--format=json", "--progress-spinner=off", "--timeout=5"]
    # The locks are whole, so that nothing has to be resolved or downloaded.
    command += ["--no-deps", "--disable-pip", *(f"--requirement={lock}" for lock in LOCKS)]
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {PATIENCE} s"
    try:
        found: dict[str, list[dict[str, object]]] = json.loads(done.stdout)
    except json.JSONDecodeError:
        return (done.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1][:200]
    return found


def main() -> int:
    """Print what was found; return 1 for a vulnerability."""
    found = audited()
    if isinstance(found, str):
        print(f"audit: NOT DONE, nothing was looked up: {found}. {ELSEWHERE}")
        return 0
    packages = found["dependencies"]
    unknown = [package["name"] for package in packages if "skip_reason" in package]
    vulnerable = [package for package in packages if package.get("vulns")]
    for package in vulnerable:
        for hit in package["vulns"]:  # type: ignore[attr-defined]  # a list, as is tested above
            fixed = ", ".join(hit["fix_versions"]) or "no release yet"
            print(f"{package['name']} {package['version']}: {hit['id']}, fixed in {fixed}")
    if len(unknown) == len(packages):
        print(
            f"audit: NOT DONE, the package index knows no advisories for any of {len(packages)}. {ELSEWHERE}"
        )
    elif unknown:
        print(
            f"audit: no advisory data for {len(unknown)} of {len(packages)}: {', '.join(map(str, unknown))}"
        )
    else:
        print(f"audit: {len(packages)} packages looked up, {len(vulnerable)} vulnerable")
    return 1 if vulnerable else 0


if __name__ == "__main__":
    sys.exit(main())
