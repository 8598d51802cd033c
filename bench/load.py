"""Runs a load against something and says what came of it: rate, latency, processor time, memory."""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from bench.contenders import HERE, tool
from bench.processes import Cores, Running, pinned

Sample = Mapping[str, float]
"""What was measured, by names of `bench.report.HEADINGS`; and `errors`."""
CONNECTIONS = 64


class LoadFailed(Exception):
    """A load did not come to its end, with what it said."""


_FILES_BESIDE = 800  # the sidecar keeps some free, and takes no more connections than fit


@dataclass(frozen=True, slots=True)
class Shot:
    """One measurement to be made: of what, at which path, for how long (seconds), and its number.

    `rss_at_start` are the resident bytes that it had before any load.
    """

    server: Running
    path: str
    seconds: float
    number: int
    cores: Cores
    rss_at_start: int

    @property
    def patience(self) -> float:
        """Seconds after which a load has failed."""
        return self.seconds * 3 + 90


Load = Callable[[Shot], Sample]


def _figures(shot: Shot, line: str, cpu: float, rss: int) -> Sample:
    """Return what a load told and what it cost: processor time used (seconds), memory before it (bytes)."""
    told: dict[str, float] = json.loads(line)
    operations, seconds = told.pop("operations"), told.pop("seconds")
    now = shot.server.rss_bytes()
    return {
        "per_second": operations / seconds,
        "bytes_per_second": told.pop("bytes", 0.0) / seconds,
        "cpu_us": cpu / operations * 1e6 if operations else 0.0,
        "rss_mib": now / 2**20,
        "grown_mib": (shot.server.peak_bytes() - shot.rss_at_start) / 2**20,
        "each_kib": (now - rss) / operations / 1024 if operations else 0.0,
        "operations": operations,
        **told,
    }


def wrk(*arguments: str, connections: int = CONNECTIONS) -> Load:
    """Return a closed loop: as many connections as said, each asking anew as soon as it was answered.

    `arguments` are those of wrk.lua; `{number}` in them becomes the measurement's number.
    """

    def run(shot: Shot) -> Sample:
        command = [tool("wrk") or "wrk", "-t1", f"-c{connections}", f"-d{max(1, round(shot.seconds))}s"]
        command += ["--timeout", "10s", "-s", str(HERE / "wrk.lua"), shot.server.url + shot.path, "--"]
        command += [it.format(number=f"{shot.number:03d}") for it in arguments]
        cpu, rss = shot.server.cpu_seconds(), shot.server.rss_bytes()
        try:
            told = subprocess.run(
                pinned(shot.cores.load, command),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=shot.patience,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise LoadFailed(f"wrk did not end within {shot.patience:.0f} s") from None
        cpu = shot.server.cpu_seconds() - cpu
        if told.returncode != 0 or not told.stdout.strip():
            raise LoadFailed(f"wrk failed: {told.stdout[-300:]} {told.stderr[-600:]}")
        return _figures(shot, told.stdout.strip().splitlines()[-1], cpu, rss)

    return run


def generator(module: str, *arguments: str) -> Load:
    """Return a load that `bench.loads.MODULE` makes; it is given URL, seconds, and the arguments."""

    def run(shot: Shot) -> Sample:
        command = [sys.executable, "-m", f"bench.loads.{module}", shot.server.url + shot.path]
        command += [str(shot.seconds), *arguments]
        with tempfile.TemporaryFile("w+") as errors:
            return _generated(shot, command, errors)

    return run


def _generated(shot: Shot, command: Sequence[str], errors: IO[str]) -> Sample:
    process = subprocess.Popen(
        pinned(shot.cores.load, command),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        cwd=HERE.parent,
    )
    try:
        if process.stdin is None or process.stdout is None or process.stdout.readline() != "begin\n":
            raise LoadFailed(f"{command[2]} did not begin")
        cpu, rss = shot.server.cpu_seconds(), shot.server.rss_bytes()
        line = process.stdout.readline()
        cpu = shot.server.cpu_seconds() - cpu
        if not line:
            raise LoadFailed(f"{command[2]} told nothing")
        sample = _figures(shot, line, cpu, rss)
        process.stdin.close()
        process.wait(30)
    except (LoadFailed, subprocess.TimeoutExpired) as error:
        process.kill()
        errors.seek(0)
        raise LoadFailed(f"{error}: {errors.read()[-600:]}") from None
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
    return sample


def idle(connections: int) -> Load:
    """Return so many WebSockets that say nothing; fewer where processes may not have that many files."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    # What is measured has two connections for each.
    return generator("idle", str(min(connections, (most - _FILES_BESIDE) // 2)))


def at_rest(shot: Shot) -> Sample:
    """Look at what has just started and does nothing."""
    time.sleep(shot.seconds)
    return {
        "ready_ms": shot.server.ready_seconds * 1e3,
        "cpu_us": shot.server.ready_cpu_seconds * 1e6,
        "rss_mib": shot.server.rss_bytes() / 2**20,
    }
