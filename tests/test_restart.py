"""The last good answers over a restart: through a whole sidecar, and the file's troubles."""

import asyncio
import threading
from pathlib import Path

import pytest

from proxy.call import JSON
from proxy.events import Event, SnapshotIgnored
from proxy.memory_store import MemoryStore
from proxy.restart import EVERY, Restart
from proxy.sandbox import Sandbox
from proxy.snapshot import read, write
from proxy.store import Entry
from tests.clocks import FakeClock, settle, until
from tests.running import SEVEN, configured, watched

GOOD = Entry(200, b'{"id":"1_abc"}', '"e"', 1_795_395_189.0, 60.0)


def restarting(path: Path, clock: FakeClock, events: list[Event]) -> Restart:
    """A store with its snapshot at that path."""
    return Restart(path, MemoryStore(1024 * 1024, clock), 1024 * 1024, 3600.0, clock, events.append)


async def test_a_known_video_survives_a_restart_during_an_outage(tmp_path: Path) -> None:
    """What the run before had from the gateway is given as stale by the next, which never reached it."""
    text = "cache: {snapshot: snapshot}"  # seen from the configuration's folder
    async with Sandbox() as sandbox:
        configuration = configured(tmp_path, text, gateway=sandbox.gateway_url)
        async with watched(configuration) as (_, viewer):
            before = await viewer.ask(*SEVEN[0])
            await viewer.ask(*SEVEN[3])  # a session: a credential
            ks = (await viewer.ask(*SEVEN[3])).json["ks"]
        await sandbox.gateway.offline()
        async with watched(configuration) as (_, viewer):
            after = await viewer.ask(*SEVEN[0])
    assert (before.source, after.source) == ("gateway", "stale")
    assert after.json == before.json
    assert after.headers["Content-Type"] == JSON
    content = (tmp_path / "snapshot").read_bytes()
    assert ks.encode() not in content
    assert b"eyJ" not in content
    assert b"1_e0000003" in content


async def test_what_is_put_back_is_stale_and_not_too_old(tmp_path: Path) -> None:
    """An answer comes back without its freshness, a 404 and an old one not at all."""
    clock, events = FakeClock(), list[Event]()
    before = restarting(tmp_path / "snapshot", clock, events)
    await before.store.set("young", GOOD, 7200)
    await before.store.set("gone", Entry(404, b"", '"e"', clock.time(), 10.0), 7200)
    await before.store.set("old", Entry(200, b"{}", '"e"', clock.time() - 3601, 60.0), 7200)
    await before.save()
    after = restarting(tmp_path / "snapshot", clock, events)
    await after.restore()
    assert [key for key, _ in after.store.items()] == ["young"]
    entry = await after.store.get("young")
    assert entry is not None
    assert (entry.body, entry.max_age) == (GOOD.body, 0.0)
    assert not events


async def test_a_file_that_is_none_of_ours_is_told_and_ignored(tmp_path: Path) -> None:
    """Damage costs the snapshot, not the start."""
    events: list[Event] = []
    (tmp_path / "snapshot").write_bytes(b"something else")
    restart = restarting(tmp_path / "snapshot", FakeClock(), events)
    await restart.restore()
    assert restart.store.items() == []
    assert [type(event) for event in events] == [SnapshotIgnored]


async def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """A directory that is not there stops nobody, but a purge says that the file is as it was."""
    events: list[Event] = []
    restart = restarting(tmp_path / "nowhere" / "snapshot", FakeClock(), events)
    assert not await restart.save()
    assert not await restart.purge()
    events.pop()
    assert [type(event) for event in events] == [SnapshotIgnored]


async def test_it_is_written_now_and_then(tmp_path: Path) -> None:
    """A crash costs at most the last minute."""
    clock = FakeClock()
    restart = restarting(tmp_path / "snapshot", clock, [])
    await restart.store.set("young", GOOD, 7200)
    running = asyncio.create_task(restart.run())
    await clock.advance(EVERY)
    await until((tmp_path / "snapshot").exists)
    running.cancel()
    await asyncio.wait({running})


async def test_a_slow_write_never_comes_after_a_later_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A purge while the file is being written leaves an empty file, even when that writer was cancelled."""
    restart = restarting(tmp_path / "snapshot", FakeClock(), [])
    await restart.store.set("young", GOOD, 7200)
    begun, go_on = threading.Event(), threading.Event()

    def slow(path: Path, entries: list[tuple[str, Entry]], limit: int) -> None:
        if entries:
            begun.set()
            go_on.wait(5)
        write(path, entries, limit)

    monkeypatch.setattr("proxy.restart.write", slow)
    saving = asyncio.create_task(restart.save())
    await until(begun.is_set)
    saving.cancel()
    await asyncio.wait({saving})
    purging = asyncio.create_task(restart.purge())
    await settle()
    go_on.set()
    assert await purging
    assert read(tmp_path / "snapshot", 0.0, 1024).entries == ()
