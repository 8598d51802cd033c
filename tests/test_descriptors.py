"""Room for connections, tried in processes of their own."""

import json
import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from proxy.descriptors import fitting, wanted
from proxy.settings import Settings

ROOT = Path(__file__).parent.parent
TRY = (
    "import resource as r; from proxy.descriptors import make_room;"
    "r.setrlimit(r.RLIMIT_NOFILE, ({soft}, {hard}));"
    "print(make_room({files}), *r.getrlimit(r.RLIMIT_NOFILE))"
)


def tried(soft: int, hard: int, files: int) -> str:
    """What is returned, and what the limits are then."""
    words = TRY.format(soft=soft, hard=hard, files=files)
    done = subprocess.run(  # noqa: S603  (our own words)
        [sys.executable, "-c", words], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("soft", "hard", "files", "found"),
    [
        (1512, 1512, 1000, "1000 1512 1512"),
        (100, 1512, 912, "912 912 1512"),
        (100, 1512, 1513, "1512 1512 1512"),
    ],
)
def test_the_limit_is_raised_as_far_as_wanted_and_allowed(
    soft: int, hard: int, files: int, found: str
) -> None:
    """No further than it takes, and what is allowed is told."""
    assert tried(soft, hard, files) == found


@pytest.mark.parametrize(
    ("files", "calls", "connections"), [(20_000, 100, 9650), (900, 100, 225), (256, 100, 64), (1, 1, 1)]
)
def test_connections_leave_room_for_the_rest(files: int, calls: int, connections: int) -> None:
    """Two files each, and what the rest takes; of few files half."""
    assert fitting(files, calls) == connections


def test_the_default_fits_where_20000_files_are_allowed() -> None:
    """A start with the defaults says nothing on most systems, with Kaltura neither."""
    settings = Settings()
    assert wanted(settings.limits.connections, 2 * settings.gateway.max_concurrency) < 20_000


def test_run_takes_and_says_how_many_connections_fit(tmp_path: Path) -> None:
    """Said before it is ready; who comes when there are so many is turned away."""
    (tmp_path / "proxy.yaml").write_text("mode: offline\nlisten: 127.0.0.1:0\nadmin: 127.0.0.1:0\n")
    words = (
        "import resource as r, sys; r.setrlimit(r.RLIMIT_NOFILE, (200, 200));"
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
    host, _, port = ready.split("ready: ")[1].split()[0].rpartition(":")
    with ExitStack() as open_ones:
        for _ in range(50):
            open_ones.enter_context(socket.create_connection((host, int(port))))
        late = open_ones.enter_context(socket.create_connection((host, int(port))))
        late.sendall(b"GET /api/kaltura/videos HTTP/1.1\r\nHost: x\r\n\r\n")
        assert late.recv(100).startswith(b"HTTP/1.1 503 ")
    process.terminate()
    _, complaints = process.communicate()
    assert "is ready" in ready
    assert process.returncode == 0
    told = (
        "limits.connections: is 50, for 8000 may take 16700 open files, and 200 are allowed; "
        "raise ulimit -n, or lower it"
    )
    first = json.loads(complaints.splitlines()[0])
    assert (first["level"], first["message"]) == ("warning", told)
