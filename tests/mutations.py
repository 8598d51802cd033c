"""Takes one mechanism of resilience away at a time, and sees whether the tests notice.

    python -m tests.mutations [NAME ...]

Each mechanism is taken away at its own seam, in the tests' process only: the product has no switch for it.
The tests named beside it must then fail. Exit status 0: all were noticed, 1: some were not, 2: no such
mechanism.

As a pytest plugin this module does the taking away: `pytest -p tests.mutations --without breaker tests/…`.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from proxy.asking import Asking
from proxy.attempts import Attempts
from proxy.breaker import Breaker
from proxy.budget import RetryBudget
from proxy.caching import Caching
from proxy.call import Answer, Call, Failure, FailureKind, Source, SourceFailed
from proxy.flights import Flights
from proxy.gateway_client import _Limits
from proxy.listener import Listener
from proxy.recovery import Recovery
from proxy.restart import Restart
from proxy.store import Entry

ROOT = Path(__file__).parent.parent
AT_ONCE = 2
LIMIT = 60.0  # seconds for the tests of one mechanism
ENOUGH = 3  # failures
LATER = 40.0  # seconds that a deadline is put off: more than any call takes, less than a pause asked for

Patch = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Mechanism:
    """How a mechanism is taken away, and where that must be noticed."""

    take_away: Patch
    tests: tuple[str, ...]


MECHANISMS: dict[str, Mechanism] = {}


def mechanism(name: str, *tests: str) -> Callable[[Patch], Patch]:
    """Name what a function takes away, and the tests (without `tests/test_` and `.py`) that notice."""

    def named(take_away: Patch) -> Patch:
        MECHANISMS[name] = Mechanism(take_away, tests)
        return take_away

    return named


def _passing(source: Source, *_: object, **__: object) -> Source:
    return source


def _nothing(*_: object, **__: object) -> None:
    return None


@mechanism("retry", "sidecar_resilience")
def _retry(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Attempts, "_again", lambda _: False)


@mechanism("retry: only what is safe", "sidecar_resilience")
def _safe(patch: pytest.MonkeyPatch) -> None:
    made = Attempts.__init__

    def careless(self: Attempts, route: str, settings: Any, **rest: Any) -> None:
        made(self, route, settings, **{**rest, "repeatable": True})

    patch.setattr(Attempts, "__init__", careless)


@mechanism("retry: only with time for it", "gateway_time")
def _time_for_it(patch: pytest.MonkeyPatch) -> None:
    made = Attempts.__init__

    def hasty(self: Attempts, route: str, settings: Any, **rest: Any) -> None:
        made(self, route, settings, **{**rest, "least": 0.0})

    patch.setattr(Attempts, "__init__", hasty)


@mechanism("Retry-After", "sidecar_resilience")
def _retry_after(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("proxy.gateway.retry_after_seconds", _nothing)


@mechanism("budget", "sidecar_resilience")
def _budget(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RetryBudget, "allow", lambda _: True)


@mechanism("breaker", "must_hold")
def _breaker(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Breaker, "_trip", _nothing)


@mechanism("breaker: long pauses of a 429", "sidecar_resilience")
def _pause(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Breaker, "hold_open", _nothing)


@mechanism("breaker: half-open bound", "breaker")
def _half_open(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Breaker, "_has_place", lambda _: True)


@mechanism("breaker: looked at before the queues", "kept_back")
def _kept_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("proxy.upstream.KeptBack", _passing)


@mechanism("breaker: of the token endpoint", "sidecar_resilience")
def _token_breaker(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("proxy.upstream.Guarded", lambda endpoint, *_: endpoint)


@mechanism("breaker: hint of the health page", "sidecar_resilience")
def _hint(patch: pytest.MonkeyPatch) -> None:
    async def never(_: Recovery) -> bool:
        return False

    patch.setattr(Recovery, "_healthy", never)


@mechanism("slow start", "must_hold")
def _slow_start(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("proxy.upstream.SlowStart.of", _passing)


@mechanism("bulkhead", "sidecar_resilience")
def _bulkhead(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("proxy.upstream.Bulkhead.of", _passing)


@mechanism("attempt timeout", "gateway_client")
def _attempt_timeout(patch: pytest.MonkeyPatch) -> None:
    begin = _Limits.begin
    patch.setattr(_Limits, "begin", lambda self, connection, ends: begin(self, connection, ends + 2.0))


@mechanism("request deadline", "sidecar_resilience")
def _deadline(patch: pytest.MonkeyPatch) -> None:
    made = Listener._call

    async def endless(self: Listener, *given: Any) -> Call:
        call = await made(self, *given)
        return replace(call, deadline=call.deadline + LATER)

    patch.setattr(Listener, "_call", endless)
    patch.setattr(Asking, "__call__", _nothing)  # its calls have the same deadline


@mechanism("cache", "sidecar_cache", "restart")
def _cache(patch: pytest.MonkeyPatch) -> None:
    async def uncached(self: Caching, call: Call) -> Answer:
        return await self.answer(call)

    patch.setattr(Caching, "__call__", uncached)


@mechanism("cache: ETag and 304", "sidecar_cache")
def _etag(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("proxy.listener.matches", lambda *_: False)


@mechanism("cache: 404 for a short time", "sidecar_cache")
def _missing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("proxy.caching.MISSING_AGE", 0.0)


@mechanism("cache: a purge reaches calls under way", "operations")
def _disown(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Flights, "disowned", nullcontext)


@mechanism("coalescing", "must_hold")
def _coalescing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Flights, "under_way", _nothing)


@mechanism("stale-while-revalidate", "sidecar_cache")
def _revalidate(patch: pytest.MonkeyPatch) -> None:
    _with_routes(patch, stale_while_revalidate=None)


@mechanism("stale-if-error", "sidecar_cache")
def _stale(patch: pytest.MonkeyPatch) -> None:
    async def nothing_kept(call: Call) -> Answer:
        raise SourceFailed(Failure("stale", FailureKind.NOTHING_KEPT, "taken away"))

    patch.setattr("proxy.keeping.Stale", lambda *_: nothing_kept)
    _with_routes(patch, stale_if_error=None)


@mechanism("stale: pause after a failed renewal", "sidecar_cache")
def _renewals(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Flights, "pausing", lambda *_: False)


@mechanism("snapshot", "restart")
def _snapshot(patch: pytest.MonkeyPatch) -> None:
    async def nothing(_: Restart) -> None:
        pass

    patch.setattr(Restart, "restore", nothing)


def _with_routes(patch: pytest.MonkeyPatch, **changes: object) -> None:
    """Let the cache decide on staleness as if routes had other keys."""
    decide: Callable[[Caching, Call, Entry], bool] = Caching._may_be_stale

    def otherwise(self: Caching, call: Call, entry: Entry) -> bool:
        return decide(self, replace(call, route=call.route.model_copy(update=changes)), entry)

    patch.setattr(Caching, "_may_be_stale", otherwise)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that names what is taken away."""
    parser.addoption("--without", choices=sorted(MECHANISMS), help="the mechanism to take away")


def pytest_configure(config: pytest.Config) -> None:
    """Take it away, for as long as this process lives."""
    name = config.getoption("--without")
    if name is not None:
        MECHANISMS[name].take_away(pytest.MonkeyPatch())


@dataclass(frozen=True)
class Outcome:
    """What the tests said; `hung` when they came to no end."""

    name: str
    seconds: float
    failed: tuple[str, ...]
    hung: bool = False


def run_without(name: str) -> Outcome:
    """Run the tests of a mechanism without it."""
    files = [f"tests/test_{test}.py" for test in MECHANISMS[name].tests]
    words = [
        "-q",
        "-rf",
        "--tb=no",
        f"--maxfail={ENOUGH}",
        "-p",
        "tests.mutations",
        "--without",
        name,
        *files,
    ]
    began = time.monotonic()
    try:
        ran = subprocess.run(  # noqa: S603  (pytest with words of our own)
            [sys.executable, "-m", "pytest", *words],
            cwd=ROOT, capture_output=True, text=True, timeout=LIMIT, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Outcome(name, LIMIT, (), hung=True)
    if ran.returncode not in {0, 1}:
        raise RuntimeError(f"without {name} the tests did not run: {ran.stdout[-2000:]}{ran.stderr[-2000:]}")
    failed = [line.split()[1] for line in ran.stdout.splitlines() if line.startswith("FAILED ")]
    return Outcome(name, time.monotonic() - began, tuple(failed))


def main(names: list[str]) -> int:
    """Take the named mechanisms away, or each of them, and print what noticed."""
    unknown = set(names) - set(MECHANISMS)
    if unknown:
        print(f"no such mechanism: {', '.join(sorted(unknown))}; there are {', '.join(MECHANISMS)}")  # noqa: T201
        return 2
    unnoticed = 0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for outcome in pool.map(run_without, names or list(MECHANISMS)):
            told = [test.removeprefix("tests/test_") for test in outcome.failed]
            told = told or ["NOTHING ENDED" if outcome.hung else "NOTHING FAILED"]
            lines = [f"{outcome.name} ({outcome.seconds:.0f} s)", *told]
            print("\n    ".join(lines), flush=True)  # noqa: T201
            unnoticed += not outcome.failed
    print(f"{unnoticed} not noticed" if unnoticed else "every one was noticed")  # noqa: T201
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
