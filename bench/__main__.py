"""The command: `python -m bench [--quick] [--cases abc] [--only sidecar,nginx] [--rounds N] ...`."""

import argparse
import compileall
import contextlib
import fcntl
import json
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.cases import CASES, SIDECAR
from bench.contenders import CONTENDERS, HERE, without
from bench.loads.telling import many_files
from bench.report import as_json, markdown, surroundings
from bench.run import Plan, run

QUICK_ROUNDS, QUICK_SECONDS = 2, 1.0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    letters = "".join(dict.fromkeys(case.letter for case in CASES))
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds, under 3 minutes")
    parser.add_argument("--cases", default=letters, help=f"letters of the cases, of {letters}")
    parser.add_argument("--only", default="", help=f"contenders, of: {', '.join(CONTENDERS)}")
    parser.add_argument("--rounds", type=int, help="most rounds of a case")
    parser.add_argument("--seconds", type=float, help="most seconds of a measurement")
    parser.add_argument("--profile", action="store_true", help="draw flame graphs of the sidecar")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder of the reports")
    asked = parser.parse_args()
    asked.only = frozenset(filter(None, map(str.strip, asked.only.split(","))))
    if unknown := asked.only - CONTENDERS.keys():
        parser.error(f"no such contender: {', '.join(sorted(unknown))}")
    if unknown := set(asked.cases) - set(letters):
        parser.error(f"no such case: {''.join(sorted(unknown))}")
    return asked


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Wait until no other run is on this machine: two would measure each other."""
    with (Path(tempfile.gettempdir()) / "activity-proxy-bench.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting for another run on this machine to end", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> int:
    """Run what was asked for, print the report and write it; return the exit status."""
    asked = _arguments()
    # As if it were Ctrl-C: everything that was started is stopped on the way out.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    many_files()
    asked.results.mkdir(parents=True, exist_ok=True)
    if missing := without("wrk", "taskset", "setpriv"):
        print(missing, file=sys.stderr)
        return 2
    plan = Plan(
        [case for case in CASES if case.letter in asked.cases],
        asked.only,
        essential=asked.quick,
        graphs=asked.results if asked.profile else None,
        most_rounds=asked.rounds or (QUICK_ROUNDS if asked.quick else 1000),
        most_seconds=asked.seconds or (QUICK_SECONDS if asked.quick else 1000.0),
    )
    # As an installed package is: else each start would compile it anew where Python may write nothing.
    for folder in (HERE, HERE.parent / "proxy"):
        compileall.compile_dir(str(folder), maxlevels=1, quiet=1)
    with _alone():
        print(f"this takes about {plan.seconds_in_all() / 60:.1f} minutes", flush=True)
        began = time.monotonic()
        about = surroundings()
        results = run(plan, lambda line: print(line, flush=True))
    about = {**about, "minutes": round((time.monotonic() - began) / 60, 1)}
    report = markdown(about, results)
    name = "quick" if asked.quick else "full"
    if asked.only or asked.rounds or asked.seconds or len(plan.cases) < len(CASES):
        name = "part"
    (asked.results / f"{name}.md").write_text(report, encoding="utf-8")
    text = json.dumps(as_json(about, results), indent=1)
    (asked.results / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    print()
    print(report)
    return int(any(label.startswith(SIDECAR) for result in results for label in result.missing))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("stopped")
