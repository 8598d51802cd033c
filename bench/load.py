"""Runs a load against something and says what came of it: rate, latency, processor time, memory."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.contenders import HERE, tool
from bench.processes import Cores, Running, pinned

Sample = Mapping[str, float]
"""`per_second`, `p50_us`, `p99_us`, `cpu_us` (of an operation), `rss_mib`, `errors`, and what a load adds."""
CONNECTIONS = 64


@dataclass(frozen=True, slots=True)
class Shot:
    """One measurement to be made: of what, at which path, for how long (seconds), and its number."""

    server: Running
    path: str
    seconds: float
    number: int
    cores: Cores


Load = Callable[[Shot], Sample]


def _measured(shot: Shot, command: Sequence[str]) -> Sample:
    before = shot.server.cpu_seconds()
    found = subprocess.run(
        pinned(shot.cores.load, command),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=shot.seconds * 3 + 60,
        check=False,
    )
    used = shot.server.cpu_seconds() - before
    if found.returncode != 0 or not found.stdout.strip():
        raise RuntimeError(f"{command[0]} failed: {found.stdout[-300:]} {found.stderr[-600:]}")
    counted: dict[str, float] = json.loads(found.stdout.strip().splitlines()[-1])
    operations, seconds = counted.pop("operations"), counted.pop("seconds")
    return {
        "per_second": operations / seconds,
        "bytes_per_second": counted.pop("bytes", 0) / seconds,
        "cpu_us": used / operations * 1e6 if operations else 0.0,
        "rss_mib": shot.server.rss_bytes() / 2**20,
        **counted,
    }


def wrk(*arguments: str, connections: int = CONNECTIONS) -> Load:
    """Return a closed loop: as many connections as said, each asking anew as soon as it was answered.

    `arguments` are those of wrk.lua; `{number}` in them becomes the measurement's number.
    """

    def run(shot: Shot) -> Sample:
        command = [tool("wrk") or "wrk", "-t1", f"-c{connections}", f"-d{max(1, round(shot.seconds))}s"]
        command += ["--timeout", "10s", "-s", str(HERE / "wrk.lua"), shot.server.url + shot.path, "--"]
        return _measured(shot, command + [it.format(number=f"{shot.number:03d}") for it in arguments])

    return run


def generator(module: str, *arguments: str) -> Load:
    """Return a load that `bench.loads.MODULE` makes; it is given URL, seconds, and the arguments."""

    def run(shot: Shot) -> Sample:
        command = [sys.executable, "-m", f"bench.loads.{module}", shot.server.url + shot.path]
        return _measured(shot, [*command, str(shot.seconds), *arguments])

    return run
