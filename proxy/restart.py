"""Carries the last good answers over a restart: put back as stale at start, written now and then."""

import asyncio
from dataclasses import field, replace
from pathlib import Path

from proxy.clock import Clock
from proxy.events import Observe, SnapshotIgnored
from proxy.frozen import frozen
from proxy.snapshot import read, write
from proxy.store import Store

EVERY = 60.0
"""Seconds between two snapshots: how much a crash may cost."""


@frozen
class Restart:
    """Moves a store's entries to and from the file at `path`, which has at most `limit` bytes.

    `keep` is how old, in seconds, an answer may be to be put back; each route says whether it is given.
    """

    path: Path
    store: Store
    limit: int
    keep: float
    clock: Clock
    observe: Observe
    writing: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)

    async def restore(self) -> None:
        """Put back what the run before left, as stale. A file that is of no use is told of and ignored."""
        snapshot = await asyncio.to_thread(read, self.path, self.clock.time(), self.limit)
        if snapshot.refused is not None:
            self.observe(SnapshotIgnored(f"the snapshot {snapshot.refused}"))
        for key, entry in snapshot.entries:
            left = entry.stored_at + self.keep - self.clock.time()
            if left > 0:
                await self.store.set(key, replace(entry, max_age=0.0), left)

    async def save(self) -> bool:
        """Write what there is, and tell whether that was done; if not, the file before stays."""
        # A write that began goes on when its caller is cancelled, and the next one waits for it: the file
        # never goes back to what was before.
        return await asyncio.shield(asyncio.create_task(self._write()))

    async def _write(self) -> bool:
        async with self.writing:
            # A 404 is worth nothing as stale.
            good = [(key, entry) for key, entry in self.store.items() if entry.status == 200]
            try:
                await asyncio.to_thread(write, self.path, good, self.limit)
            except OSError as error:
                self.observe(SnapshotIgnored(f"the snapshot cannot be written: {error.strerror}"))
                return False
            return True

    async def purge(self) -> bool:
        """Drop everything, in the file too, and tell whether that was done."""
        done = await self.store.purge()
        return await self.save() and done

    async def run(self) -> None:
        """Write every now and then, until cancelled."""
        while True:
            await self.clock.sleep(EVERY)
            await self.save()
