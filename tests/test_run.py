"""The sidecar as a process: what stop signals do from the first moment to the last."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from proxy import run
from proxy.cli import main
from proxy.run import serve
from proxy.sidecar import Sidecar
from tests.running import configured

ROOT = Path(__file__).parent.parent


def order_to_stop(_line: str = "") -> None:
    """Send this process what a container's end begins with."""
    os.kill(os.getpid(), signal.SIGTERM)


class NeverStarts(Sidecar):
    """A sidecar that is told to stop while it starts, and waits for something that never comes."""

    async def start(self) -> None:
        """Wait for ever."""
        order_to_stop()
        await asyncio.Event().wait()


class CannotStop(Sidecar):
    """A sidecar that fails when it stops."""

    async def stop(self, *, at_once: bool = False) -> None:
        """Stop, and fail."""
        await super().stop(at_once=True)
        raise RuntimeError("failed to stop")


async def test_an_order_to_stop_breaks_the_start_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that hangs ends with 0 and without a word."""
    monkeypatch.setattr(run, "Sidecar", NeverStarts)
    said: list[object] = []
    async with asyncio.timeout(15):
        # Few connections, or it may well have to say that there are not enough open files.
        few = configured(tmp_path, "limits: {connections: 100}")
        assert await serve(few, said.append, lambda *complaint: said.append(complaint)) == 0
    assert said == []


async def test_a_stop_that_fails_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes wrong at the stop is not passed over."""
    monkeypatch.setattr(run, "Sidecar", CannotStop)
    with pytest.raises(RuntimeError, match="failed to stop"):
        await serve(configured(tmp_path, "mode: offline"), order_to_stop, print)


async def test_signals_mean_afterwards_what_they_meant_before(tmp_path: Path) -> None:
    """The last moments of a process are not left to the system's default, which is no exit status 0."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        assert await serve(configured(tmp_path, "mode: offline"), order_to_stop, print) == 0
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("command", ["_run", "_demo", "_sandbox"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_an_order_to_stop_is_heeded_before_anything_is_loaded(command: str, number: signal.Signals) -> None:
    """A signal that comes while a command still imports what it needs ends it with 0."""
    code = (
        "import os, sys\n"
        "from proxy import cli\n"
        "class Loading:\n"
        "    def find_spec(self, *_):\n"
        f"        os.kill(os.getpid(), {number.value})\n"
        "sys.meta_path.insert(0, Loading())\n"
        "from argparse import Namespace\n"
        f"sys.exit(cli.{command}(Namespace(config='none', listen=None, admin=None)) + 10)\n"
    )
    done = subprocess.run(  # noqa: S603  (our own code)
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_command_leaves_the_signals_as_they_were(tmp_path: Path) -> None:
    """Whoever calls the command as a function keeps the handlers."""
    before = signal.getsignal(signal.SIGTERM)
    assert main(["run", "-c", str(tmp_path / "none.yaml")]) == 2
    assert signal.getsignal(signal.SIGTERM) is before


def loaded_when_ready(folder: Path, text: str) -> set[str]:
    """Run the command with a configuration of that text; return what is imported once it is ready."""
    path = folder / "proxy.yaml"
    path.write_text(f"listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\n{text}")
    code = (
        "import os, signal, sys\n"
        "from proxy import cli\n"
        "def say(_line):\n"
        "    print(*sys.modules)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "cli._say = say\n"
        f"sys.exit(cli.main(['run', '-c', {str(path)!r}]))\n"
    )
    done = subprocess.run(  # noqa: S603  (our own code)
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


KALTURA = {f"proxy.{name}" for name in ("direct", "kaltura", "kaltura_api", "kaltura_calls", "kaltura_entry")}
SNAPSHOT = {"proxy.restart", "proxy.snapshot"}
NOT_WANTED = {
    f"proxy.{name}" for name in ("demo", "explain", "openapi", "probe", "redis_link", "sandbox", "seal")
}


def test_what_is_off_is_not_imported(tmp_path: Path) -> None:
    """The start and the memory of who leaves a feature off are not burdened with it."""
    loaded = loaded_when_ready(tmp_path, "")
    assert "proxy.sidecar" in loaded
    assert not loaded & (KALTURA | SNAPSHOT | NOT_WANTED)


def test_what_is_on_is_imported(tmp_path: Path) -> None:
    """What a setting switches on comes with it."""
    kaltura = "kaltura: {enabled: true, partner_id: 1, admin_secret: s}"
    loaded = loaded_when_ready(tmp_path, f"{kaltura}\ncache: {{snapshot: {tmp_path / 'answers'}}}")
    assert loaded >= KALTURA | SNAPSHOT
