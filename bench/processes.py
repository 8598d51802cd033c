"""Processes under measurement: pinned to a core, watched in `/proc`, stopped by their id.

Linux only, since taskset and `/proc` are.
"""

import contextlib
import http.client
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_ROOT = Path(__file__).parent.parent
PATIENCE = 20.0
"""Seconds that a server has to come up, and a quarter of that to end."""


class DidNotStart(Exception):
    """A server did not come up, with its last words."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Where processes run: load and origin on one core, what is measured on the other."""

    load: int
    proxy: int

    @classmethod
    def of_this_machine(cls) -> "Cores":
        """Take the first and the last core that this process may use: they are the least likely siblings."""
        usable = sorted(os.sched_getaffinity(0))
        return cls(usable[0], usable[-1])


def pinned(core: int, command: Sequence[str]) -> list[str]:
    """Return the command that runs another one on one core, and not longer than its parent lives."""
    return ["setpriv", "--pdeathsig", "KILL", "taskset", "--cpu-list", str(core), *command]


def free_port() -> int:
    """Return a port that nobody listens on right now.

    It is below those that the system gives to whoever asks for any: none of these can come to be there while
    the server that it is for starts.
    """
    while True:
        port = random.randrange(15_000, 32_000)  # noqa: S311  (chance, not a secret)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@dataclass(frozen=True, slots=True)
class Running:
    """A process that was started, with its children.

    It was ready after `ready_seconds`, of which it had a processor for `ready_cpu_seconds`.
    """

    process: "subprocess.Popen[bytes]"
    port: int
    ready_seconds: float = 0.0
    ready_cpu_seconds: float = 0.0
    patience: float = PATIENCE

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def pids(self) -> list[int]:
        """Return the process and all that descend from it."""
        found, wanted = [], [self.process.pid]
        while wanted:
            pid = wanted.pop()
            found.append(pid)
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                with contextlib.suppress(OSError):
                    wanted += map(int, children.read_text().split())
        return found

    def cpu_seconds(self) -> float:
        """Return the processor time used so far, that of all threads and children."""
        return sum(map(_cpu_seconds, self.pids()))

    def rss_bytes(self) -> int:
        """Return the resident memory."""
        return sum(map(_rss_bytes, self.pids()))

    def peak_bytes(self) -> int:
        """Return the most resident memory that it has had so far."""
        return sum(map(_peak_bytes, self.pids()))

    def stop(self) -> None:
        """Ask it to end, and end it when it does not."""
        pids = self.pids()
        self.process.terminate()
        try:
            self.process.wait(self.patience / 4)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)
        for pid in pids[1:]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _cpu_seconds(pid: int) -> float:
    # The name, which may hold spaces, ends with the last parenthesis.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _cpu_seconds_at_start(pid: int) -> float:
    # The above is in hundredths of a second, too coarse for a start; this leaves out threads that have ended.
    told = (path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/schedstat"))
    return sum(int(line.split()[0]) for line in told) / 1e9


def _rss_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _peak_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


@contextlib.contextmanager
def running(
    command: Sequence[str],
    port: int,
    core: int,
    *,
    errors: Path,
    environment: Mapping[str, str] | None = None,
    ready_path: str | None = None,
    patience: float = PATIENCE,
) -> Iterator[Running]:
    """Run a server while the block lasts; `errors` takes what it writes.

    It is ready when it takes connections, or answers at `ready_path`, where that is given. Raises
    `DidNotStart` with its last words when it does not come up.
    """
    began = time.perf_counter()
    with errors.open("ab") as output:
        process = subprocess.Popen(
            pinned(core, command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=_ROOT,
            env={**os.environ, **(environment or {})},
        )
    server = Running(process, port, patience=patience)
    try:
        while not is_ready(port, ready_path):
            if process.poll() is not None or time.perf_counter() - began > patience:
                words = errors.read_text(errors="replace")[-600:]
                raise DidNotStart(f"{Path(command[0]).name} did not come up: {words.strip()}")
            time.sleep(0.002)
        if process.poll() is not None:
            raise DidNotStart(f"{Path(command[0]).name} ended at once, and another listens at its port")
        yield Running(
            process, port, time.perf_counter() - began, _cpu_seconds_at_start(process.pid), patience
        )
    finally:
        server.stop()


def is_ready(port: int, path: str | None) -> bool:
    """Tell whether a port takes connections, or answers at a path, where that is given."""
    try:
        if path is None:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            return True
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        with contextlib.closing(connection):
            connection.request("GET", path)
            return connection.getresponse().status < 500
    except (OSError, http.client.HTTPException):
        return False
