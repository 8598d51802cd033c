"""The sandbox, a sidecar before it and a crowd before that, with what is counted of them."""

import asyncio
import gc
import resource
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from proxy.events import AttemptEnded, BreakerChanged, Event, RetryScheduled, RetrySuppressed
from proxy.sandbox import Sandbox
from proxy.sidecar import Sidecar
from proxy.workshop import Observers
from tests.chaos.viewers import KNOWN, Crowd, Seen, play, search, session, wrong
from tests.chaos.yardstick import Yardstick
from tests.running import configured

ATTEMPT = 0.4
OPEN, OPEN_MAX = 0.2, 0.4
WINDOW = 0.5
MINIMUM = 10
PROBES = 3
BACK_WITHIN = OPEN_MAX + ATTEMPT + 2.0
"""Seconds from a fault's end to live answers: the longest open time, one half-open call, and two."""
SETTINGS = f"""
gateway:
  timeout: {{connect: 200ms, attempt: 400ms, total: 1s}}
  retry: {{attempts: 3, initial: 20ms, max: 100ms, budget: 20%}}
  breaker: {{window: 500ms, minimum_calls: {MINIMUM}, failure_rate: 50%, slow_call: 250ms, slow_rate: 100%,
            open: 200ms, open_max: 400ms, half_open_calls: {PROBES}}}
cache: {{max_size: 4MiB}}
routes:
  video: {{max_age: 300ms, stale_while_revalidate: 300ms, stale_if_error: 1h}}
  videos: {{max_age: 300ms, stale_while_revalidate: 300ms, stale_if_error: 1h}}
  search: {{max_age: 300ms, stale_while_revalidate: 300ms, stale_if_error: 1h}}
"""
_OF_ROUTES = ("/api/videos/{id}", "/api/videos/search", "/api/videos/{id}/play")


@dataclass
class Stage:
    """All that takes part. `events` are those of the sidecar, each with the loop's time."""

    sandbox: Sandbox
    sidecar: Sidecar
    crowd: Crowd
    idle: "Leftovers"
    yardstick: Yardstick
    events: list[tuple[float, Event]] = field(default_factory=list)
    asked: int = 0

    def counted(self) -> "Counted":
        """Read the counters as of now."""
        events = [event for _, event in self.events]
        calls = self.sandbox.gateway.calls
        return Counted(
            seen=len(self.crowd.seen),
            reached=sum(number for route, number in calls.items() if route.endswith(_OF_ROUTES)),
            logins=calls["POST /api/auth/token"],
            attempts=sum(isinstance(event, AttemptEnded) for event in events),
            retries=sum(isinstance(event, RetryScheduled) for event in events)
            - sum(isinstance(event, RetrySuppressed) and event.reason == "breaker_open" for event in events),
            openings=Counter(
                event.breaker
                for event in events
                if isinstance(event, BreakerChanged) and event.to_state == "open"
            ),
        )

    def good_of_late(self) -> int:
        """How many attempts went well in the time that the breakers look back on."""
        since = asyncio.get_running_loop().time() - WINDOW
        return sum(
            isinstance(event, AttemptEnded) and event.outcome in {"ok", "missing"}
            for at, event in self.events
            if at >= since
        )

    async def live(self) -> float:
        """Wait for live answers to all that is known and to what is new; return the seconds that took."""
        loop = asyncio.get_running_loop()
        began, missing = loop.time(), list(KNOWN)
        credentials = [play("1_e0000001"), session("1_e0000001")]
        while True:
            self.asked += 1
            new = [*credentials, search(f"lecture+again+{self.asked}")]
            seen = await asyncio.gather(*(self.crowd.ask(wish) for wish in (*missing, *new)))
            old = [one for one in seen if one.status != 200 or one.source not in {"gateway", "cache"}]
            missing = [one.wish for one in old if one.wish in missing]
            took = loop.time() - began
            if not old:
                return took
            if took > BACK_WITHIN + 30:
                raise AssertionError(
                    f"not live {took:.1f} s after the fault: {len(old)} like {old[0]}; "
                    f"{self.sidecar.status()['breakers']} {self.sidecar.status()['token']}"
                )
            await asyncio.sleep(0.03)

    def late(self, took: float) -> list[str]:
        """Say that live answers came too late, if they did."""
        return [f"live again only after {took:.1f} s"] if took > BACK_WITHIN else []

    async def empty(self) -> None:
        """Send the crowd home, and wait until nothing is under way for it any more."""
        await self.crowd.stop()
        await self.idle.gone(1)

    def forget(self) -> None:
        """Drop what was noted so far, so that the notes of a long run do not fill the memory."""
        self.crowd.seen.clear()
        self.events.clear()

    def troubles(self, since: int = 0, *, shells: bool = False, production: bool = False) -> list[str]:
        """What viewers saw, from that one on, and must not have."""
        found: Counter[str] = Counter()
        samples: dict[str, Seen] = {}
        for seen in self.crowd.seen[since:]:
            what = wrong(seen, shells=shells, production=production)
            if what is not None:
                text = f"{seen.wish.kind}{' (known)' if seen.wish.known else ''}: {what}"
                found[text] += 1
                samples.setdefault(text, seen)
        return [f"{number} x {text}, such as {samples[text]}" for text, number in found.items()]


@dataclass(frozen=True)
class Counted:
    """Counters at one moment. `reached` and `logins` are as the gateway counts.

    `retries` are those that the breaker let through.
    """

    seen: int
    reached: int
    logins: int
    attempts: int
    retries: int
    openings: Counter[str]


@asynccontextmanager
async def staged(folder: Path, seed: int, text: str = "") -> AsyncIterator[Stage]:
    """Set the stage: what is known was answered by the gateway, and after that the crowd came in.

    Before that nothing is known, and on a busy machine what is asked for may well be canned: it is not
    counted. Leaving the stage counts what is left behind.
    """
    before = Leftovers.now()
    async with Sandbox(manner="newer", seed=seed) as sandbox:
        configuration = configured(
            folder, SETTINGS + text, activity=sandbox.activity_url, gateway=sandbox.gateway_url
        )
        async with Sidecar(configuration, drain=0.0, grace=2.0) as sidecar:
            events: list[tuple[float, Event]] = []
            loop = asyncio.get_running_loop()
            observers = sidecar.parts.observe
            assert isinstance(observers, Observers)
            observers.listeners.append(lambda event: events.append((loop.time(), event)))
            while len(sidecar.parts.dialects.chosen()) < 2:  # noqa: ASYNC110  (asked before anyone could listen)
                await asyncio.sleep(0.01)
            idle = Leftovers.now()
            async with Crowd(f"http://{sidecar.listen}", seed) as crowd:
                yardstick = Yardstick()
                stage = Stage(sandbox, sidecar, crowd, idle, yardstick, events)
                await stage.live()
                crowd.seen.clear()
                crowd.come_in()
                await asyncio.sleep(WINDOW)
                measuring = asyncio.create_task(yardstick.run())
                try:
                    yield stage
                finally:
                    measuring.cancel()
    await before.gone()


@dataclass(frozen=True)
class Leftovers:
    """What a run may leave behind: tasks and open files, sockets included."""

    tasks: int
    files: int

    @classmethod
    def now(cls) -> "Leftovers":
        """Count as of now."""
        return cls(len(asyncio.all_tasks()), len(list(Path("/proc/self/fd").iterdir())))

    async def gone(self, more: int = 0) -> None:
        """Wait, for a short time, until there is no more than now; fail with what there still is.

        `more` are tasks of the test's own.
        """
        for _ in range(400):  # idle connections are kept for four seconds
            now = self.now()
            if now.tasks <= self.tasks + more and now.files <= self.files:
                return
            await asyncio.sleep(0.02)
        raise AssertionError(f"left behind: {self} before, {now} after; {asyncio.all_tasks()}")


def memory() -> float:
    """The process's resident memory in MiB, after what is garbage has gone."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20
