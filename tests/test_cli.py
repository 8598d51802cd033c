"""The command, as a process and as a function: what it prints and how it ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from proxy import __version__
from proxy.cli import main
from tests.redis_server import free_port

ROOT = Path(__file__).parent.parent
ANY_PORTS = "{listen: 127.0.0.1:0, admin: 127.0.0.1:0, mode: offline}"
PATIENCE = 30


@contextmanager
def started(*arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """Run the command beside the test, and end it with the test."""
    process = subprocess.Popen(  # noqa: S603  (our own command)
        [sys.executable, "-m", "proxy", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def line(process: "subprocess.Popen[str]") -> str:
    """The next line that the command prints."""
    assert process.stdout is not None
    return process.stdout.readline()


def configuration(folder: Path, text: str = ANY_PORTS) -> str:
    """A configuration file of that text."""
    path = folder / "proxy.yaml"
    path.write_text(text)
    return str(path)


def get(url: str) -> tuple[int, bytes]:
    """Ask a URL on the loopback."""
    with urllib.request.urlopen(url, timeout=PATIENCE) as response:  # noqa: S310  (loopback)
        return response.status, response.read()


def addresses(ready: str) -> tuple[str, str]:
    """The public and the admin address of a ready line."""
    words = ready.split()
    return words[words.index("ready:") + 1], words[-1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_run_says_that_it_is_ready_and_stops_as_asked(tmp_path: Path, number: signal.Signals) -> None:
    """One line when ready, answers, and exit status 0 after the signal."""
    with started("run", "-c", configuration(tmp_path)) as process:
        ready = line(process)
        assert ready.startswith(f"activity-proxy {__version__} is ready: 127.0.0.1:")
        public, admin = addresses(ready)
        assert get(f"http://{admin}/readyz") == (200, b"ready")
        status, body = get(f"http://{public}/api/kaltura/video/1_abc")
        assert (status, json.loads(body)["id"]) == (200, "1_abc")
        process.send_signal(number)
        rest, log = process.communicate(timeout=PATIENCE)
    assert (process.returncode, rest) == (0, "")
    access = [json.loads(entry) for entry in log.splitlines() if '"route":"video"' in entry]
    assert [(entry["status"], entry["source"]) for entry in access] == [(200, "canned")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_while_it_starts_ends_it_with_0(tmp_path: Path, number: signal.Signals) -> None:
    """An order to stop is heeded from the first moment on, or a container would outlive it."""
    path = configuration(tmp_path)
    for _ in range(5):
        with started("run", "-c", path) as process:
            while b"proxy" not in Path(f"/proc/{process.pid}/cmdline").read_bytes():
                pass
            while "0000000000004001" not in caught(process.pid) and process.poll() is None:
                pass
            process.send_signal(number)
            said, log = process.communicate(timeout=PATIENCE)
        assert (process.returncode, "Traceback" in log) == (0, False), said + log


def caught(pid: int) -> str:
    """The signals that a process catches, as the system writes them."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    mask = next(line.split()[1] for line in lines if line.startswith("SigCgt"))
    # SIGTERM and SIGHUP: bits 14 and 0.
    return "0000000000004001" if int(mask, 16) & 0x4001 == 0x4001 else mask


def test_a_second_signal_stops_at_once(tmp_path: Path) -> None:
    """While it waits for a request that does not end, a second signal ends it, with 0."""
    with started("run", "-c", configuration(tmp_path)) as process, socket.socket() as waiting:
        public, admin = addresses(line(process))
        host, _, port = public.rpartition(":")
        waiting.connect((host, int(port)))
        waiting.sendall(b"POST /api/kaltura/session HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n{")
        while b'in_flight{listener="public"} 1.0' not in get(f"http://{admin}/metrics")[1]:
            pass
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


def test_the_demo_runs_and_stops() -> None:
    """The demo serves its page and real answers, and ends with 0."""
    with started("demo", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0") as process:
        public, _ = addresses(line(process))
        assert f"http://{public}/" in line(process)
        assert b"activity-proxy" in get(f"http://{public}/")[1]
        video = json.loads(get(f"http://{public}/api/kaltura/video/1_e0000003")[1])
        assert video["title"] == "Lecture 3: cats and networks"
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0


def test_the_sandbox_runs_and_stops() -> None:
    """The sandbox alone says where it listens and ends with 0."""
    ports = [f"--{name}-port=0" for name in ("activity", "gateway", "kaltura", "discord")]
    with started("sandbox", *ports) as process:
        url = line(process).split()[-1]
        assert json.loads(get(f"{url}/api/health")[1])["status"] == "ok"
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


def test_an_address_in_use_is_told_and_ends_with_1(tmp_path: Path) -> None:
    """A listener that cannot bind is said in a line, without a traceback."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        path = configuration(tmp_path, "{admin: 127.0.0.1:0, mode: offline}")
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with started("run", "-c", path, "--listen", address) as process:
            said, log = process.communicate(timeout=PATIENCE)
    assert (process.returncode, said) == (1, "")
    assert f"cannot listen at {address}" in log
    assert "Traceback" not in log


def test_health_asks_a_running_sidecar(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`health` ends with 0 while the sidecar is alive, and with 1 and a reason after."""
    path = configuration(tmp_path)
    with started("run", "-c", path) as process:
        _, admin = addresses(line(process))
        port = admin.rpartition(":")[2]
        assert main(["health", "-c", path, "--admin", admin]) == 0
        assert main(["health", "-c", path, "--admin", f"0.0.0.0:{port}"]) == 0
        process.terminate()
        process.communicate(timeout=PATIENCE)
    assert main(["health", "-c", path, "--admin", admin]) == 1
    assert f"no answer from 127.0.0.1 port {port}" in capsys.readouterr().err


def test_health_tells_a_wrong_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Asked at the public listener, whose /livez is no page of ours, `health` fails with the status."""
    path = configuration(
        tmp_path, f"{{{ANY_PORTS.strip('{}')}, activity: {{url: 'http://127.0.0.1:{free_port()}'}}}}"
    )
    with started("run", "-c", path) as process:
        public, _ = addresses(line(process))
        assert main(["health", "-c", path, "--admin", public]) == 1
    assert "answered 502" in capsys.readouterr().err


def test_check_says_sound_or_every_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`check` ends with 0 and a word, or with 2 and a line for each mistake with its place."""
    path = configuration(tmp_path)
    assert main(["check", "-c", path]) == 0
    assert capsys.readouterr().out == f"{path}: sound\n"
    configuration(tmp_path, "mood: auto\ngateway: {retry: {attempts: many}}\n")
    assert main(["check", "-c", path]) == 2
    mistakes = capsys.readouterr().err.splitlines()
    assert [mistake.split(" ")[0] for mistake in mistakes] == [f"{path}:1:1:", f"{path}:2:19:"]
    assert "did you mean mode?" in mistakes[0]


@pytest.mark.parametrize("command", ["run", "probe", "health", "explain"])
def test_every_command_refuses_a_wrong_configuration(
    tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 2 and the place of the mistake, before anything is done."""
    path = configuration(tmp_path, "mood: auto")
    more = ["GET", "/"] if command == "explain" else []
    assert main([command, "-c", path, *more]) == 2
    assert f"{path}:1:1: " in capsys.readouterr().err


def test_the_demo_refuses_a_wrong_address(capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong option of the demo is told like one of the configuration."""
    assert main(["demo", "--listen", "nowhere"]) == 2
    assert "--listen" in capsys.readouterr().err


def test_explain_and_probe_print_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both write to standard output; a gateway that is away makes `probe` end with 1."""
    path = configuration(tmp_path, 'gateway: {url: "http://127.0.0.1:1/api"}')
    assert main(["explain", "-c", path, "get", "/index.html"]) == 0
    assert capsys.readouterr().out.split() == ["passes", "GET", "http://127.0.0.1:3002/index.html"]
    assert main(["probe", "-c", path]) == 1
    assert "token      none" in capsys.readouterr().out


def test_warnings_of_a_configuration_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is sound but worth a word is said on standard error, but not by each health check."""
    path = configuration(tmp_path, 'admin: "0.0.0.0:9464"')
    assert main(["check", "-c", path]) == 0
    assert "warning: " in capsys.readouterr().err
    assert main(["health", "-c", path, "--admin", "127.0.0.1:1"]) == 1
    assert capsys.readouterr().err == "activity-proxy: no answer from 127.0.0.1 port 1\n"


def test_what_run_complains_of_is_a_line_of_its_log(tmp_path: Path) -> None:
    """JSON where a machine reads it, from the first warning on, also where nothing comes of the start."""
    path = configuration(tmp_path, "{listen: 127.0.0.1:0, admin: 127.0.0.1:0, cache: {snapshot: nowhere/x}}")
    with started("run", "-c", path) as process:
        line(process)
        process.terminate()
        _, log = process.communicate(timeout=PATIENCE)
    told = [json.loads(entry) for entry in log.splitlines()]
    warning = f"{path}:1:51: cache.snapshot: its folder is not there, or not to be written to"
    assert (told[0]["level"], told[0]["message"]) == ("warning", warning)
    configuration(tmp_path, "mood: auto\nlisten: here")
    with started("run", "-c", path) as process:
        _, log = process.communicate(timeout=PATIENCE)
    told = [json.loads(entry) for entry in log.splitlines()]
    assert [entry["level"] for entry in told] == ["error"] * 2
    assert told[0]["message"].startswith(f"{path}:1:1: unknown key mood")


@pytest.mark.parametrize("arguments", [[], ["fly"], ["run"], ["sandbox", "--gateway-port", "many"]])
def test_bad_usage_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong command line ends with 2 and the usage."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: activity-proxy" in capsys.readouterr().err


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` prints it."""
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert (ended.value.code, capsys.readouterr().out) == (0, f"activity-proxy {__version__}\n")


def test_a_reader_that_goes_away_is_no_traceback(tmp_path: Path) -> None:
    """Output into a pipe that nobody reads any more ends quietly with 1."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "proxy", "check", "-c", configuration(tmp_path)]
    done = subprocess.run(  # noqa: S603  (our own command)
        command, cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, timeout=PATIENCE, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")
