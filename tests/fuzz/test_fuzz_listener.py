"""The listeners under raw fuzz: nothing breaks, nothing grows, and viewers notice nothing.

`FUZZ_SECONDS` and `FUZZ_SEED` say how long and by which dice; `make fuzz` runs long.
"""

import asyncio
import gc
import json
import logging
import os
import re
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from proxy.events import Crashed, Event
from tests.fuzz.grammar import Requests
from tests.origins import reset, until
from tests.running import Viewer, watching

SECONDS = float(os.environ.get("FUZZ_SECONDS", "4"))
SEED = int(os.environ.get("FUZZ_SEED", "20261124"))
ATTACKERS = 6
PAGE = os.sysconf("SC_PAGE_SIZE")
GROWTH = 16 * 1024 * 1024
"""Bytes that the whole process, fuzzer and stand-ins included, may gain after its first third."""
_ANSWER = re.compile(rb"HTTP/1\.[01] (\d{3}) [^\r\n]*\r\n(.*?)\r\n\r\n", re.DOTALL)
_OURS = re.compile(rb'\{"error":"[^"]*","message":"[^"]*","code":"([a-z_]+)","requestId":"[^"]+"\}')
# What the client itself caused by what it asked for.
CAUSED = {"transfer_coding", "http_version", "loop_detected"}
# The stand-in closes a connection on which it met a body that it cannot read, just as the next request comes:
# what may not be sent twice is a 502 then, and says why (docs/decisions/0002).
CLOSED = b'details="the Activity server is away (reset)"'


@dataclass
class Seen:
    """What came of it."""

    connections: int = 0
    sent: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    failures: list[tuple[str, bytes]] = field(default_factory=list)
    closed: int = 0
    normal: int = 0
    slowest: float = 0.0

    def answer(self, sent: list[bytes], got: bytes) -> None:
        """Take what one connection was answered, and look for errors of the sidecar's own."""
        self.connections += 1
        self.sent += sum(map(len, sent))
        self.statuses.update(int(status) for status, _ in _ANSWER.findall(got))
        for error in _OURS.finditer(got):
            status, head = _ANSWER.findall(got[: error.start()])[-1]
            code = error[1].decode()
            if code == "activity_unreachable" and CLOSED in head:
                self.closed += 1
            elif int(status) >= 500 and code not in CAUSED:
                self.failures.append((f"{status.decode()} {code} {head!r}", b"".join(sent)))
        if got and not got.startswith(b"HTTP/1."):
            self.failures.append(("no HTTP", b"".join(sent)))


def memory() -> int:
    """Return the bytes of memory that this process has."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def descriptors() -> int:
    """Return the number of open files."""
    return len(list(Path("/proc/self/fd").iterdir()))


async def attack(port: int, random: Random, seen: Seen, end: float) -> None:
    """Send one connection after the other, and leave each in one of the ways there are."""
    requests = Requests(random)
    while time.monotonic() < end:
        pieces = requests.connection()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        got = b""
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0 if random.random() < 0.8 else 0.002)
            leaving = random.randrange(4)
            if leaving == 0:
                reset(writer)
                continue
            if leaving == 1:
                writer.write_eof()
            got = await _all(reader, 0.1)
        except OSError:
            pass  # cut off, as it should be
        finally:
            seen.answer(pieces, got)
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


async def _all(reader: asyncio.StreamReader, patience: float) -> bytes:
    got = bytearray()
    with suppress(TimeoutError, OSError):
        async with asyncio.timeout(patience):
            while piece := await reader.read(65536):
                got += piece
    return bytes(got)


async def live(viewer: Viewer, seen: Seen, end: float) -> None:
    """Ask what viewers ask, and get it, all the while."""
    calls: tuple[tuple[str, str, object], ...] = (
        ("GET", "/api/kaltura/video/1_e0000003", None),
        ("POST", "/api/kaltura/session", {"videoId": "1_e0000003"}),
        ("GET", "/api/kaltura/videos/search?query=cats", None),
        ("GET", "/", None),
    )
    while time.monotonic() < end:
        for method, target, body in calls:
            start = time.monotonic()
            reply = await viewer.ask(method, target, body)
            seen.slowest = max(seen.slowest, time.monotonic() - start)
            if reply.status != 200 or reply.source not in {None, "gateway", "cache", "stale"}:
                seen.failures.append((f"a viewer got {reply.status} from {reply.source}", target.encode()))
            seen.normal += 1
            await asyncio.sleep(0.01)


async def test_the_listener_withstands_raw_fuzz(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """No 5xx of ours without a cause, no defect, nothing left over, and viewers are served throughout."""
    caplog.set_level(logging.WARNING)
    crashed: list[Event] = []
    seen = Seen()
    before = (len(asyncio.all_tasks()), descriptors())
    text = "gateway: {breaker: {minimum_calls: 1000000}}"
    async with watching(tmp_path, text, manner="plan") as (_, sidecar, viewer):
        observers = sidecar.parts.observe.listeners  # type: ignore[attr-defined]  # the fan-out itself
        observers.append(lambda event: crashed.append(event) if isinstance(event, Crashed) else None)
        listen, admin = (int(str(at).rpartition(":")[2]) for at in (sidecar.listen, sidecar.admin))
        start = time.monotonic()
        end = start + SECONDS
        async with asyncio.TaskGroup() as all_at_once:
            for n in range(ATTACKERS):
                dice = Random(SEED + n)  # noqa: S311  (the same seed makes the same bytes)
                all_at_once.create_task(attack(listen if n else admin, dice, seen, end))
            all_at_once.create_task(live(viewer, seen, end))
            await asyncio.sleep(SECONDS / 3)
            settled = memory()
        grown = memory() - settled
        await until(lambda: not sidecar.parts.tunnels)
    await until(lambda: len(asyncio.all_tasks()) <= before[0] and descriptors() <= before[1])
    with capsys.disabled():
        sys.stdout.write(
            f"\nfuzz: seed {SEED}, {SECONDS:.0f} s, {seen.connections} connections, {seen.sent >> 10} KiB;"
            f" {json.dumps(dict(sorted(seen.statuses.items())))}; {seen.normal} calls of viewers,"
            f" the slowest {seen.slowest * 1000:.0f} ms; memory {grown / 1e6:+.1f} MB\n"
        )
    assert crashed == []
    assert seen.failures[:5] == []
    assert seen.closed <= 1 + seen.connections / 1000
    # The stand-ins are servers of aiohttp's own, and log what they make of bodies that pass through.
    ours = [record for record in caplog.records if record.name != "aiohttp.server"]
    assert [record for record in ours if record.levelno >= logging.ERROR or record.exc_info] == []
    assert seen.normal > SECONDS
    assert {200, 400} <= seen.statuses.keys()
    assert grown < GROWTH
