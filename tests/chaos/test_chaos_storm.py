"""All faults in one run, one after the other in a random order, at one sidecar that has to live with it."""

import asyncio
import os
from pathlib import Path
from random import Random

from tests.chaos.faults import SCRIPT
from tests.chaos.stage import BACK_WITHIN, memory, staged
from tests.chaos.yardstick import in_time

SEED = int(os.environ.get("CHAOS_SEED", "1"))
SECONDS = float(os.environ.get("STORM_SECONDS", "4"))  # until the last round begins
GROWTH = 32.0  # MiB


async def test_a_storm_of_faults(tmp_path: Path) -> None:
    """No viewer notices any of them, all is live soon after, and nothing is left behind but the cache."""
    random = Random(SEED)  # noqa: S311  (a script that can be repeated)
    loop = asyncio.get_running_loop()
    async with staged(tmp_path, SEED) as stage:
        end, before = loop.time() + SECONDS, memory()
        struck: list[str] = []
        late: list[str] = []
        excuses: list[str | None] = []
        while loop.time() < end:
            for name in random.sample(sorted(SCRIPT), 3):
                struck.append(name)
                mark = stage.yardstick.mark()
                await SCRIPT[name](stage, random.uniform(0.2, 1.0), random)
            took = await stage.live()
            assert stage.troubles(shells="shells" in struck[-3:]) == [], f"seed {SEED}: {struck}"
            late += [f"seed {SEED}: {what}: {struck}" for what in stage.late(took)]
            excuses += [stage.yardstick.excuse(mark)] if took > BACK_WITHIN else []
            stage.forget()
        await stage.empty()
        grown = memory() - before
    assert grown < GROWTH, f"seed {SEED}: {grown:.1f} MiB more after {len(struck)} faults"
    in_time(late, excuses)
