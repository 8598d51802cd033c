"""A sidecar in a thread of its own, for tools that do not live in an event loop."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from proxy.sandbox import Sandbox
from proxy.sidecar import Sidecar
from tests.running import watching

PATIENCE = 30.0


@dataclass
class Running:
    """What runs in the other thread."""

    base: str
    sandbox: Sandbox
    sidecar: Sidecar


@contextmanager
def in_a_thread(folder: Path, text: str = "") -> Iterator[Running]:
    """Run a sandbox, whose gateway offers all that is planned, with a sidecar in front."""
    started, stop = threading.Event(), asyncio.Event()
    running: list[Running] = []
    loop = asyncio.new_event_loop()

    async def run() -> None:
        async with watching(folder, text, manner="plan") as (sandbox, sidecar, viewer):
            running.append(Running(viewer.base, sandbox, sidecar))
            started.set()
            await stop.wait()

    def live() -> None:
        try:
            loop.run_until_complete(run())
        finally:
            started.set()

    thread = threading.Thread(target=live)
    thread.start()
    try:
        assert started.wait(PATIENCE)
        assert running, "it did not start"
        yield running[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(PATIENCE)
        loop.close()
