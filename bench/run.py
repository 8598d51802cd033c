"""Runs cases: starts what they need, measures in interleaved rounds, stops everything."""

import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from bench.cases import SIDECAR, Case, Entry
from bench.contenders import CONTENDERS, Place
from bench.load import LoadFailed, Sample, Shot
from bench.processes import Cores, DidNotStart, Running, free_port, running
from bench.profiler import profiled
from bench.report import HEADINGS, Results

OVERHEAD = 0.4
"""Seconds that a measurement takes beside its load, for the estimate."""
PROFILE = 8.0
"""Seconds that a flame graph is about."""
START = 1.5
"""Seconds that starting and stopping take, for the estimate."""

Say = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run: cases, contenders (all, when empty), and limits to rounds and their seconds.

    `essential`: only the rows that goals are about. `graphs`: a folder for flame graphs of the sidecar, one
    for each row, drawn after the rounds.
    """

    cases: Sequence[Case]
    only: frozenset[str] = frozenset()
    essential: bool = False
    most_rounds: int = 1000
    most_seconds: float = 1000.0
    graphs: Path | None = None

    def seconds_in_all(self) -> float:
        """Estimate how long it takes."""
        return sum(map(_estimate, self.as_asked()))

    def as_asked(self) -> Iterator[Case]:
        """Give the cases as they are to be run."""
        for case in self.cases:
            asked = case.essential() if self.essential else case
            entries = [it for it in asked.entries if not self.only or it.contender in self.only]
            if entries:
                yield replace(
                    asked,
                    entries=entries,
                    rounds=min(case.rounds, self.most_rounds),
                    seconds=min(case.seconds, self.most_seconds),
                    warm_up=min(case.warm_up, self.most_seconds),
                )


def run(plan: Plan, say: Say) -> list[Results]:
    """Run the cases, one after the other."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, _origin(Path(folder)) as place:
        return [_measure(case, place, say, plan.graphs) for case in plan.as_asked()]


@contextlib.contextmanager
def _origin(folder: Path) -> Iterator[Place]:
    cores = Cores.of_this_machine()
    port = free_port()
    command = [sys.executable, "-m", "bench.origin", str(port)]
    with running(command, port, cores.load, errors=folder / "origin.log") as origin:
        yield Place(folder, cores, origin)


def _estimate(case: Case) -> float:
    rows = len(case.entries)
    measuring = rows * case.rounds * (case.seconds + OVERHEAD)
    if case.anew:
        connecting = 5.0 if "each_kib" in case.columns else 0.0
        return measuring + rows * case.rounds * (START + connecting)
    contenders = len({entry.contender for entry in case.entries})
    return measuring + contenders * START + rows * (case.warm_up + OVERHEAD)


def _measure(case: Case, place: Place, say: Say, graphs: Path | None) -> Results:
    results = Results(case)
    say(f"({case.letter}) {case.title}")
    for entry in case.entries:
        if reason := CONTENDERS[entry.contender].missing():
            results.missing[entry.label] = reason
    rounds = _anew(case, place, results) if case.anew else _kept(case, place, results, graphs)
    for number, told in enumerate(rounds, 1):
        for label, sample in told.items():
            results.samples.setdefault(label, []).append(_above(sample, told.get(case.above)))
        rates = (f"{label} {sample.get(case.compare, 0):,.0f}" for label, sample in told.items())
        say(f"  round {number}: {HEADINGS[case.compare]}: {', '.join(rates)}")
    for label, reason in results.missing.items():
        results.samples.pop(label, None)  # of a row that failed on the way the rest says little
        say(f"  left out: {label}: {reason}")
    return results


def _above(sample: Sample, ground: Sample | None) -> Sample:
    """Add what latencies are above those of another sample."""
    if ground is None:
        return sample
    return {**sample, **{f"added_{name}": sample[name] - ground[name] for name in ("p50_us", "p99_us")}}


def _taking_part(case: Case, results: Results) -> list[Entry]:
    return [entry for entry in case.entries if entry.label not in results.missing]


def _kept(case: Case, place: Place, results: Results, graphs: Path | None) -> Iterator[Mapping[str, Sample]]:
    """Start everything once, warm it up, and give what each round measured, by row."""
    with contextlib.ExitStack() as stack:
        servers: dict[str, tuple[Running, int]] = {}
        for entry in _taking_part(case, results):
            if entry.contender not in servers:
                with _missing(entry, results):
                    server = stack.enter_context(CONTENDERS[entry.contender].start(place))
                    servers[entry.contender] = server, server.rss_bytes()
        numbers = count()

        def measured(seconds: float) -> Mapping[str, Sample]:
            told: dict[str, Sample] = {}
            for entry in _taking_part(case, results):
                server, rss = servers[entry.contender]
                shot = Shot(server, entry.path, seconds, next(numbers), place.cores, rss)
                with _missing(entry, results):
                    told[entry.label] = (entry.load or case.load)(shot)
            return told

        measured(case.warm_up)
        for _ in range(case.rounds):
            yield measured(case.seconds)
        for entry in _taking_part(case, results):
            if graphs and entry.contender.startswith(SIDECAR):
                server, rss = servers[entry.contender]
                shot = Shot(server, entry.path, PROFILE, next(numbers), place.cores, rss)
                graph = graphs / f"profile-{case.letter}-{entry.label.replace(' ', '-')}.svg"
                with profiled(server, PROFILE, graph):
                    (entry.load or case.load)(shot)


@contextlib.contextmanager
def _missing(entry: Entry, results: Results) -> Iterator[None]:
    """Leave a row out when it cannot be started or measured, and go on: the others are worth having."""
    try:
        yield
    except (DidNotStart, LoadFailed) as error:
        results.missing[entry.label] = " ".join(str(error).split())


def _anew(case: Case, place: Place, results: Results) -> Iterator[Mapping[str, Sample]]:
    """Start each anew in each round, one at a time, and give what it measured, by row."""
    for number in range(case.rounds):
        told: dict[str, Sample] = {}
        for entry in _taking_part(case, results):
            with _missing(entry, results), CONTENDERS[entry.contender].start(place) as server:
                shot = Shot(server, entry.path, case.seconds, number, place.cores, server.rss_bytes())
                told[entry.label] = (entry.load or case.load)(shot)
        yield told
