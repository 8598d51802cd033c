"""Runs cases: starts what they need, measures in interleaved rounds, stops everything."""

import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from bench.cases import Case
from bench.contenders import CONTENDERS, Place
from bench.load import Shot
from bench.processes import Cores, DidNotStart, Running, free_port, running
from bench.report import Results

WARM_UP = 1.0
"""Seconds of load before the first round, for what compiles or fills itself."""
OVERHEAD = 0.6
"""Seconds that a measurement takes beside its load, for the estimate."""
START = 1.0

Say = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run: cases, contenders (all, when empty), and rounds or seconds other than the cases' own."""

    cases: Sequence[Case]
    only: frozenset[str] = frozenset()
    rounds: int | None = None
    seconds: float | None = None

    def seconds_in_all(self) -> float:
        """Estimate how long it takes."""
        return sum(
            len(case.entries) * (START + WARM_UP + OVERHEAD + case.rounds * (case.seconds + OVERHEAD))
            for case in self.as_asked()
        )

    def as_asked(self) -> Iterator[Case]:
        """Give the cases as they are to be run."""
        for case in self.cases:
            yield replace(
                case,
                entries=[it for it in case.entries if not self.only or it.contender in self.only],
                rounds=self.rounds or case.rounds,
                seconds=self.seconds or case.seconds,
            )


def run(plan: Plan, say: Say) -> list[Results]:
    """Run the cases, one after the other."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, _origin(Path(folder)) as place:
        return [_measure(case, place, say) for case in plan.as_asked()]


@contextlib.contextmanager
def _origin(folder: Path) -> Iterator[Place]:
    cores = Cores.of_this_machine()
    port = free_port()
    command = [sys.executable, "-m", "bench.origin", str(port)]
    with running(command, port, cores.load, errors=folder / "origin.log") as origin:
        yield Place(folder, cores, origin)


def _measure(case: Case, place: Place, say: Say) -> Results:
    results = Results(case)
    say(f"({case.letter}) {case.title}")
    with contextlib.ExitStack() as stack:
        servers: dict[str, Running] = {}
        for entry in case.entries:
            contender = CONTENDERS[entry.contender]
            reason = contender.missing()
            if not reason and contender.name not in servers:
                try:
                    servers[contender.name] = stack.enter_context(contender.start(place))
                except DidNotStart as error:
                    reason = str(error)
            if reason:
                say(f"  left out: {entry.label}: {reason}")
                results.missing[entry.label] = reason
        numbers = count()
        taking_part = [entry for entry in case.entries if entry.label not in results.missing]
        for turn in range(case.rounds + 1):
            for entry in taking_part:
                seconds = case.seconds if turn else WARM_UP
                load = entry.load or case.load
                shot = Shot(servers[entry.contender], entry.path, seconds, next(numbers), place.cores)
                sample = load(shot)
                if turn:
                    results.samples.setdefault(entry.label, []).append(sample)
            if turn:
                rates = (
                    f"{it.label} {results.samples[it.label][-1]['per_second']:,.0f}" for it in taking_part
                )
                say(f"  round {turn}: {', '.join(rates)} a second")
    return results
