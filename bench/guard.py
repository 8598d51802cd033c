"""Guards what a request costs: instructions of the sidecar for each of some cases, against a budget.

    python -m bench.guard [--renew] [--cases ab]

Counted by valgrind, which unlike a clock tells the same again, within 2 % at worst. One run
does the same few requests of every case; one more run for each case does many of that one: the difference is
what those cost, without the start. Counts depend on the very Python and the kind of processor; where there
is no budget for these, they are told and nothing fails.
"""

import argparse
import http.client
import json
import os
import platform
import re
import socket
import sys
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from bench.contenders import HERE, force_open, tool, without
from bench.payloads import VIDEO_ID
from bench.processes import Running, free_port, running

BUDGET: Final = HERE / "budget.json"
TOLERANCE: Final = 0.05
FEW: Final = 60
"""Requests of every case in each run."""
MANY: Final = {"a": 4000, "b": 1000, "c": 2000, "f": 10_000, "h": 3000}
"""How many more of the one that is counted: the cheaper, the more, so that what runs beside is little."""
CASES: Final = {
    "a": "rewritten, cached",
    "b": "rewritten, uncached",
    "c": "pass-through of 1 KiB JSON",
    "f": "a WebSocket message, there and back",
    "h": "canned, with the breaker open",
}
_PATIENCE: Final = 120.0
_VIDEO: Final = "/api/kaltura/video/"
_MESSAGE: Final = b"\x82\xa0\x11\x22\x33\x44" + b"\x5a" * 32  # a masked binary frame (RFC 6455)
_ECHO: Final = 2 + 32


@dataclass(frozen=True, slots=True)
class Sidecar:
    """The sidecar that is being counted, and how it is asked: one thing at a time on one connection."""

    server: Running
    admin: int

    def work(self, times: Mapping[str, int]) -> None:
        """Do each case so many times."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)) as connection:
            ask = partial(_ask, connection)
            for _ in range(times["a"]):
                ask(_VIDEO + VIDEO_ID, "cache")
            for number in range(times["b"]):
                ask(f"{_VIDEO}2_{number:08d}", "gateway")
            for _ in range(times["c"]):
                ask("/json", None)
            self._echo(times["f"])
            force_open(self.admin)
            for _ in range(times["h"]):
                ask(_VIDEO + "1_canned00", "canned")

    def _echo(self, times: int) -> None:
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=60) as connection:
            connection.sendall(
                b"GET /echo HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
            )
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += _received(connection, 1)
            if not head.startswith(b"HTTP/1.1 101 "):
                raise RuntimeError(f"no WebSocket: {head[:60]!r}")
            for _ in range(times):
                connection.sendall(_MESSAGE)
                missing = _ECHO
                while missing:
                    missing -= len(_received(connection, missing))


def _received(connection: socket.socket, most: int) -> bytes:
    received = connection.recv(most)
    if not received:
        raise RuntimeError("the sidecar closed the WebSocket")
    return received


def _ask(connection: http.client.HTTPConnection, path: str, source: str | None) -> None:
    connection.request("GET", path)
    response = connection.getresponse()
    body = response.read()
    told = response.headers.get("Activity-Proxy-Source")
    first = source == "cache" and told == "gateway"
    if response.status != 200 or not body or (told != source and not first):
        raise RuntimeError(f"{path}: {response.status} from {told}, wanted is 200 from {source}")


def _instructions(times: Mapping[str, int], core: int) -> int:
    """Start the sidecar under valgrind, work, stop it, and return the instructions of it all."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder, port, admin = Path(name), free_port(), free_port()
        count = folder / "count.log"
        command = [tool("valgrind") or "valgrind", "--tool=cachegrind", "--cache-sim=no"]
        command += ["--cachegrind-out-file=/dev/null", f"--log-file={count}"]
        command += [sys.executable, "-m", "proxy", "run", "-c", str(HERE / "sidecar.yaml")]
        command += ["--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}"]
        behind = free_port()
        origin = [sys.executable, "-m", "bench.origin", str(behind)]
        environment = {"BENCH_ORIGIN": f"http://127.0.0.1:{behind}", "PYTHONHASHSEED": "0"}
        log = folder / "sidecar.log"
        with (
            running(origin, behind, core, errors=folder / "origin.log"),
            running(command, port, core, errors=log, environment=environment, patience=_PATIENCE) as server,
        ):
            Sidecar(server, admin).work(times)
        found = re.search(r"I\s+refs:\s+([\d,]+)", count.read_text())
        if found is None:
            raise RuntimeError(f"valgrind told no count: {count.read_text()[-300:]}")
        return int(found[1].replace(",", ""))


def measure(cases: Iterable[str]) -> dict[str, int]:
    """Return the instructions of one request, by case."""
    cases = [*cases]
    few = dict.fromkeys(CASES, FEW)
    runs = [few, *({**few, case: FEW + MANY[case]} for case in cases)]
    cores = sorted(os.sched_getaffinity(0))
    with ThreadPoolExecutor(max_workers=len(cores[:2])) as pool:
        counts = list(pool.map(_instructions, runs, (cores[:2] * len(runs))[: len(runs)]))
    return {
        case: round((count - counts[0]) / MANY[case]) for case, count in zip(cases, counts[1:], strict=True)
    }


def key() -> str:
    """Return what a budget holds for: counts differ with each of these."""
    return f"Python {platform.python_version()}, {platform.machine()}, {' '.join(platform.libc_ver())}"


def over_budget(counted: Mapping[str, int], budget: Mapping[str, int] | None) -> list[str]:
    """Return the cases that need more than the budget and its tolerance allow."""
    return [
        case for case, count in counted.items() if count > (budget or {}).get(case, count) * (1 + TOLERANCE)
    ]


def verdict(counted: Mapping[str, int], budget: Mapping[str, int] | None) -> tuple[str, bool]:
    """Return the report, and whether all is within the budget."""
    lines, over = [], over_budget(counted, budget)
    for case, count in counted.items():
        line = f"({case}) {CASES[case]}: {count:,} instructions"
        if allowed := (budget or {}).get(case):
            line += f", budget {allowed:,}: {count / allowed - 1:+.1%}"
            if case in over:
                line += "  TOO MANY"
            elif count < allowed * (1 - TOLERANCE):
                line += "  (better: lower the budget with `make bench-budget`)"
        lines.append(line)
    if budget is None:
        lines.append(
            f"no budget for {key()}, so nothing is held against these; `make bench-budget` makes one"
        )
    elif over:
        lines.append(
            f"over the budget by more than {TOLERANCE:.0%}: find out why (docs/performance.md), or, if the "
            "cost is worth it, `make bench-budget` and say in the commit what it buys"
        )
    return "\n".join(lines), not over


def main() -> int:
    """Count, compare, print; return 1 when a case is over its budget."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.guard", description="Instructions a request costs."
    )
    parser.add_argument("--renew", action="store_true", help="make what is counted now the budget")
    parser.add_argument("--cases", default="".join(CASES), help="letters of the cases to count")
    asked = parser.parse_args()
    if unknown := set(asked.cases) - CASES.keys():
        parser.error(f"no such case: {''.join(sorted(unknown))}")
    if missing := without("valgrind", "taskset", "setpriv"):
        print(missing, file=sys.stderr)
        return 2
    budgets: dict[str, dict[str, int]] = {}
    with suppress(FileNotFoundError):
        budgets = json.loads(BUDGET.read_text(encoding="utf-8"))
    budget = budgets.get(key())
    counted = measure(asked.cases)
    if over := over_budget(counted, budget):
        # What else the machine does only ever adds: a wait that is longer is looked at more often.
        again = measure(over)
        counted |= {case: min(counted[case], again[case]) for case in over}
    report, sound = verdict(counted, budget)
    print(report)
    if asked.renew:
        budgets[key()] = {**budgets.get(key(), {}), **counted}
        BUDGET.write_text(json.dumps(budgets, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        print(f"renewed: {BUDGET.name} for {key()}")
        return 0
    return int(not sound)


if __name__ == "__main__":
    sys.exit(main())
