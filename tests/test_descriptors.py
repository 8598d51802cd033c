"""Room for connections, tried in processes of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TRY = (
    "import resource as r; from proxy.descriptors import make_room;"
    "r.setrlimit(r.RLIMIT_NOFILE, ({soft}, {hard}));"
    "print(make_room({connections}), *r.getrlimit(r.RLIMIT_NOFILE))"
)


def tried(soft: int, hard: int, connections: int) -> str:
    """What is returned, and what the limits are then."""
    words = TRY.format(soft=soft, hard=hard, connections=connections)
    done = subprocess.run(  # noqa: S603  (our own words)
        [sys.executable, "-c", words], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("soft", "hard", "connections", "found"),
    [
        (1512, 1512, 500, "None 1512 1512"),
        (100, 1512, 200, "None 912 1512"),
        (100, 1512, 501, "1512 1512 1512"),
    ],
)
def test_the_limit_is_raised_as_far_as_wanted_and_allowed(
    soft: int, hard: int, connections: int, found: str
) -> None:
    """No further than it takes, and too little is told."""
    assert tried(soft, hard, connections) == found


def test_run_says_that_connections_will_not_fit(tmp_path: Path) -> None:
    """Before it is ready, once, and it runs all the same."""
    (tmp_path / "proxy.yaml").write_text("mode: offline\nlisten: 127.0.0.1:0\nadmin: 127.0.0.1:0\n")
    words = (
        "import resource as r, sys; r.setrlimit(r.RLIMIT_NOFILE, (900, 900));"
        "from proxy.cli import main; sys.exit(main(['run', '-c', 'proxy.yaml']))"
    )
    process = subprocess.Popen(  # noqa: S603  (our own words)
        [sys.executable, "-c", words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    ready = process.stdout.readline()
    process.terminate()
    _, complaints = process.communicate()
    assert "is ready" in ready
    assert process.returncode == 0
    told = (
        "limits.connections: 10000 may take 20512 open files, and 900 are allowed; "
        "raise ulimit -n, or lower it"
    )
    first = json.loads(complaints.splitlines()[0])
    assert (first["level"], first["message"]) == ("warning", told)
