"""The stage itself: what is held against the sidecar is the sidecar's doing."""

import asyncio
import time
from pathlib import Path

import pytest

from tests.chaos.stage import staged
from tests.chaos.viewers import Crowd

BUSY, TURN = 2.0, 0.1  # seconds


async def test_what_is_seen_before_all_is_known_is_not_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine so busy that the first calls come to nothing delays the viewers, and spoils no run."""
    loop = asyncio.get_running_loop()

    def hog(end: float) -> None:
        time.sleep(TURN)
        if loop.time() < end:
            loop.call_soon(hog, end)

    def crowd(base: str, seed: int) -> Crowd:
        hog(loop.time() + BUSY)
        return Crowd(base, seed)

    monkeypatch.setattr("tests.chaos.stage.Crowd", crowd)
    async with staged(tmp_path, 1) as stage:
        assert stage.crowd.seen
        assert stage.troubles() == []
