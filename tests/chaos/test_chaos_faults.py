"""Each fault by itself: what viewers see, what reaches the gateway, and how soon all is well again."""

import os
from pathlib import Path
from random import Random

import pytest

from proxy.events import BreakerChanged
from tests.chaos.faults import HARMLESS, SCRIPT
from tests.chaos.stage import MINIMUM, PROBES, Counted, staged
from tests.chaos.viewers import KNOWN, VIEWERS
from tests.chaos.yardstick import in_time

SEED = int(os.environ.get("CHAOS_SEED", "1"))
SECONDS = 0.8
RETRIES_FLOOR = 10


@pytest.mark.parametrize("name", SCRIPT)
async def test_viewers_do_not_notice(name: str, tmp_path: Path) -> None:
    """Only good answers, with their source and real titles; soon live again; the gateway spared.

    How soon, and whether anything was slow, is held where the machine was not busy with something else: the
    test is skipped otherwise, after all the rest was held.
    """
    async with staged(tmp_path, SEED) as stage:
        before, good, began = stage.counted(), stage.good_of_late(), len(stage.events)
        mark = stage.yardstick.mark()
        await SCRIPT[name](stage, SECONDS, Random(SEED))  # noqa: S311  (repeatable)
        after = stage.counted()
        took = await stage.live()
        assert stage.troubles(shells=name == "shells") == []
        spared(before, after, good)
        late = stage.late(took)
        if after.seen - before.seen <= VIEWERS // 2:
            late.append("too few requests to say anything")
        if name in HARMLESS:
            changes = [event for _, event in stage.events[began:] if isinstance(event, BreakerChanged)]
            late += [f"without need {event.breaker} was {event.to_state}" for event in changes]
            late += [f"canned without need: {seen}" for seen in stage.crowd.seen if seen.source == "canned"]
        excuse = stage.yardstick.excuse(mark)
    in_time(late, [excuse])


def spared(before: Counted, after: Counted, good: int) -> None:
    """Hold what reached the gateway against what first attempts, breaker and retry budget allow."""
    attempts = max(after.attempts - before.attempts, after.reached - before.reached)
    retries = after.retries - before.retries
    calls = attempts - retries
    allowed = max(RETRIES_FLOOR, 0.2 * (before.attempts + calls))
    assert retries <= 1.2 * allowed, f"{retries} retries of {calls} calls"
    opened = sum((after.openings - before.openings).values())
    if opened:
        until_open = max(good, MINIMUM) + VIEWERS + len(KNOWN)
        most = until_open + opened * PROBES + allowed
        assert attempts <= 1.2 * most, f"{attempts} attempts, {most} allowed with {opened} openings"
