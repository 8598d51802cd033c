"""Draws a flame graph of what is measured while it is under load, with py-spy."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from bench.contenders import tool
from bench.processes import Running

RATE = 500
"""Samples a second."""


@contextlib.contextmanager
def profiled(server: Running, seconds: float, graph: Path) -> Iterator[None]:
    """Sample a server while the block lasts, `seconds` at most, native frames too, and draw it.

    Raises `RuntimeError` when py-spy cannot do so.
    """
    command = [tool("py-spy") or "py-spy", "record", "--pid", str(server.process.pid), "--output", str(graph)]
    command += ["--duration", str(max(1, round(seconds))), "--rate", str(RATE), "--native"]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        yield
        told, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    if process.returncode != 0:
        raise RuntimeError(f"py-spy failed: {told.decode(errors='replace')[-300:]}")
