"""What was measured, told as Markdown and JSON: medians, their spread, and the goals."""

import os
import platform
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from bench.cases import Case, Goal
from bench.load import Sample
from bench.processes import Cores

Ratios = Sequence[float]
ORIGIN: Final = "direct"
"""The row of the origin itself, without anything between."""
_RATES: Final = ("per_second", "bytes_per_second")
_START: Final = "ready_ms"
HEADINGS: Final = {
    "per_second": "per second",
    "bytes_per_second": "bytes per second",
    "cpu_us": "CPU µs each",
    "p50_us": "p50 µs",
    "p99_us": "p99 µs",
    "added_p50_us": "added p50 µs",
    "added_p99_us": "added p99 µs",
    "rss_mib": "memory MiB",
    "grown_mib": "grown at most MiB",
    "each_kib": "KiB each",
    "operations": "connections",
    "ready_ms": "ready ms",
}


@dataclass(slots=True)
class Results:
    """All samples of one case: by row, one for each round. `missing` says why rows are absent."""

    case: Case
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def median(self, label: str, measure: str) -> float | None:
        """Return the median of a row's measure, None where there is none."""
        values = [sample[measure] for sample in self.samples.get(label, ()) if measure in sample]
        return statistics.median(values) if values else None

    def ratios(self, of: str, over: str, measure: str) -> Ratios:
        """Return the ratio of two rows for each round: what slows a round slows both.

        Without a second row it is the measure itself.
        """
        if not over:
            return [sample[measure] for sample in self.samples.get(of, ()) if measure in sample]
        pairs = zip(self.samples.get(of, ()), self.samples.get(over, ()), strict=False)
        return [a[measure] / b[measure] for a, b in pairs if measure in a and b.get(measure)]

    def errors(self, label: str) -> int:
        """Return how many operations of a row failed."""
        return round(sum(sample.get("errors", 0) for sample in self.samples.get(label, ())))


def surroundings() -> Mapping[str, object]:
    """Say on what was measured."""
    cores = Cores.of_this_machine()
    model = ""
    with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123  (a plain read)
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processor": model,
        "cores": os.cpu_count(),
        "load and origin on core": cores.load,
        "measured on core": cores.proxy,
        "load average before": round(os.getloadavg()[0], 2),
    }


def markdown(about: Mapping[str, object], results: Sequence[Results]) -> str:
    """Return the report."""
    lines = ["# Measured", "", "; ".join(f"{name} {value}" for name, value in about.items()), ""]
    lines += [*_goals(results), ""]
    for result in results:
        most = result.median(ORIGIN, "per_second")
        if result.case.letter == "c" and most is not None:
            lines += [f"The origin alone gives {_number(most)} a second under the load of (c).", ""]
    for result in results:
        lines += [*_case(result), ""]
    return "\n".join(lines)


def as_json(about: Mapping[str, object], results: Sequence[Results]) -> Mapping[str, object]:
    """Return everything that was measured."""
    return {
        "about": about,
        "cases": [
            {
                "case": result.case.letter,
                "title": result.case.title,
                "samples": result.samples,
                "missing": result.missing,
                "goals": [_verdict(result, goal) for goal in result.case.goals],
            }
            for result in results
        ],
    }


def _goals(results: Sequence[Results]) -> Iterator[str]:
    yield "| case | goal | measured | lowest to highest | by processor time | reached |"
    yield "| --- | --- | ---: | ---: | ---: | --- |"
    for result in results:
        for goal in result.case.goals:
            told = _verdict(result, goal)
            cells = [f"({result.case.letter}) {result.case.title}", *told.values()]
            yield f"| {' | '.join(cells)} |"


def _verdict(result: Results, goal: Goal) -> Mapping[str, str]:
    bound = f"{goal.bound} x {goal.over}" if goal.over else f"{goal.bound:g}"
    words = f"{goal.of} at {'most' if goal.at_most else 'least'} {bound}"
    if goal.measure not in _RATES or not goal.over:
        words += f" in {HEADINGS[goal.measure]}"
    values = result.ratios(goal.of, goal.over, goal.measure)
    absent = result.missing.get(goal.over) or result.missing.get(goal.of) or "not measured"
    reached = f"unknown: {absent}"
    if values:
        median = statistics.median(values)
        is_reached = median <= goal.bound if goal.at_most else median >= goal.bound
        reached = "reached" if is_reached else "not reached"
    by_cpu = _by_cpu(result, goal.of, goal.over, goal.measure) if goal.over else ()
    return {
        "goal": words,
        "median": _median(values),
        "spread": _spread(values),
        "by_cpu": _median(by_cpu),
        "reached": reached,
    }


def _by_cpu(result: Results, of: str, over: str, measure: str) -> Ratios:
    """Return the ratio of two rows as processor time has it; none where the measure does not go with that."""
    if measure in _RATES:
        of, over = over, of  # of processor time the less the better: turned round, it reads as the rate does
    elif measure != _START:
        return ()
    return result.ratios(of, over, "cpu_us")


def _median(ratios: Ratios) -> str:
    return f"{statistics.median(ratios):.2f}" if ratios else ""


def _spread(ratios: Ratios) -> str:
    return f"{min(ratios):.2f} to {max(ratios):.2f}" if ratios else ""


def _case(result: Results) -> Iterator[str]:
    case = result.case
    yield f"## ({case.letter}) {case.title}"
    yield ""
    compared = f"{case.ratio_to} is x"
    if case.compare != "per_second":
        compared += f" in {HEADINGS[case.compare]}"
    with_cpu = "cpu_us" in case.columns and case.compare != "cpu_us"
    headings = [*(HEADINGS[it] for it in case.columns), compared, "lowest to highest"]
    headings += ["by processor time", "errors"] if with_cpu else ["errors"]
    yield f"| | {' | '.join(headings)} |"
    yield f"| --- |{' ---: |' * len(headings)}"
    for label in result.samples:
        ratios = result.ratios(case.ratio_to, label, case.compare)
        cells = [label, *(_number(result.median(label, measure)) for measure in case.columns)]
        cells += [_median(ratios), _spread(ratios)]
        if with_cpu:
            pair = (case.ratio_to, label) if case.compare == _START else (label, case.ratio_to)
            cells.append(_median(result.ratios(*pair, "cpu_us")))
        cells.append(str(result.errors(label) or ""))
        yield f"| {' | '.join(cells)} |"
    for label, reason in result.missing.items():
        yield ""
        yield f"Left out: {label}: {reason}."


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
