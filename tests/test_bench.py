"""The bench runs: it measures what it says that it measures."""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pytest_aiohttp.plugin import AiohttpClient

from bench import guard
from bench.__main__ import QUICK_ROUNDS, QUICK_SECONDS
from bench.cases import CASES, Case, Entry, Goal
from bench.contenders import CONTENDERS
from bench.load import LoadFailed, Sample, Shot, wrk
from bench.loads.steady import Steady
from bench.origin import Origin, Streams
from bench.payloads import KIB, VIDEO_ID
from bench.peers.bare import application
from bench.report import HEADINGS, Results, as_json, markdown
from bench.run import Plan, run
from tests.running import configured, watched

ROOT = Path(__file__).parent.parent
linux = pytest.mark.skipif(
    shutil.which("taskset") is None or shutil.which("wrk") is None, reason="taskset or wrk is not installed"
)


def test_every_row_of_every_case_is_of_a_contender_that_there_is() -> None:
    """Rows name contenders, goals and ratios name rows, measures have headings, and titles are unique."""
    assert len({case.title for case in CASES}) == len(CASES)
    for case in CASES:
        labels = [entry.label for entry in case.entries]
        assert len(set(labels)) == len(labels)
        assert {entry.contender for entry in case.entries} <= CONTENDERS.keys()
        others = {goal.over for goal in case.goals} | {case.above}
        assert {case.ratio_to, *(goal.of for goal in case.goals)} <= {*labels}
        assert others <= {*labels, ""}
        assert {case.compare, *case.columns, *(goal.measure for goal in case.goals)} <= HEADINGS.keys()


def test_the_whole_of_it_takes_a_quarter_of_an_hour() -> None:
    """The estimate for all cases is at most 15 minutes."""
    assert Plan(CASES).seconds_in_all() <= 15 * 60


def test_the_quick_run_has_every_goal_and_takes_three_minutes() -> None:
    """It leaves out rows that no goal is about, and is estimated at less than 3 minutes."""
    plan = Plan(CASES, essential=True, most_rounds=QUICK_ROUNDS, most_seconds=QUICK_SECONDS)
    assert [case.goals for case in plan.as_asked()] == [case.goals for case in CASES if case.goals]
    assert plan.seconds_in_all() < 3 * 60


def _results() -> Results:
    case = Case(
        "x",
        "made up",
        wrk(),
        [Entry("one", "sidecar", "/"), Entry("two", "bare", "/"), Entry("three", "nginx", "/")],
        [
            Goal("one", "two", 0.5),
            Goal("one", "two", 0.9),
            Goal("one", "three", 1.0),
            Goal("one", "", 100.0, "cpu_us", at_most=True),
        ],
        ratio_to="one",
    )
    return Results(
        case,
        {
            "one": [{"per_second": rate, "cpu_us": 100.0, "errors": 1} for rate in (60.0, 80.0, 70.0)],
            "two": [{"per_second": 100.0, "cpu_us": 50.0, "errors": 0} for _ in range(3)],
        },
        {"three": "it is not installed"},
    )


def test_a_goal_is_held_against_the_median_of_the_rounds_ratios() -> None:
    """0.7 of the other reaches 0.5 and not 0.9; a row that was left out reaches nothing, and says why."""
    report = markdown({"python": "3"}, [_results()])
    assert "| one at least 0.5 x two | 0.70 | 0.60 to 0.80 | 0.50 | reached |" in report
    assert "| one at least 0.9 x two | 0.70 | 0.60 to 0.80 | 0.50 | not reached |" in report
    assert "| one at most 100 in CPU µs each | 100.00 | 100.00 to 100.00 |  | reached |" in report
    assert "| one at least 1.0 x three |  |  |  | unknown: it is not installed |" in report
    assert "Left out: three: it is not installed." in report


def test_a_row_tells_its_medians_and_its_errors() -> None:
    """Rate, processor time, ratio and the sum of the errors stand in the row."""
    report = markdown({}, [_results()])
    assert "| one | 70.0 | 100 |  |  |  | 1.00 | 1.00 to 1.00 | 1.00 | 3 |" in report
    assert "| two | 100 | 50.0 |  |  |  | 0.70 | 0.60 to 0.80 | 0.50 |  |" in report


def test_a_start_is_told_by_processor_time_too() -> None:
    """Beside the ratio of the seconds, which say more of the machine's other work when there is any."""
    case = Case(
        "x",
        "starts",
        wrk(),
        [],
        [Goal("one", "two", 2.0, "ready_ms", at_most=True)],
        compare="ready_ms",
        columns=("ready_ms", "cpu_us"),
        ratio_to="one",
    )
    one: Sample = {"ready_ms": 500.0, "cpu_us": 150.0}
    two: Sample = {"ready_ms": 200.0, "cpu_us": 100.0}
    report = markdown({}, [Results(case, {"one": [one], "two": [two]})])
    assert "| one at most 2.0 x two in ready ms | 2.50 | 2.50 to 2.50 | 1.50 | not reached |" in report
    assert "| two | 200 | 100 | 2.50 | 2.50 to 2.50 | 1.50 |  |" in report


def test_the_json_holds_every_sample() -> None:
    """What was measured can be read by a program, with the verdicts."""
    told = json.loads(json.dumps(as_json({"python": "3"}, [_results()])))
    assert [sample["per_second"] for sample in told["cases"][0]["samples"]["one"]] == [60.0, 80.0, 70.0]
    assert [goal["reached"] for goal in told["cases"][0]["goals"]][:2] == ["reached", "not reached"]


def _run(folder: Path, *arguments: str) -> dict[str, dict[str, list[dict[str, float]]]]:
    """Run the bench and return the samples of its rows by case."""
    command = [sys.executable, "-m", "bench", *arguments, "--rounds", "1", "--seconds", "1"]
    command += ["--results", str(folder)]
    # The lock that runs wait for is in the folder for temporary files: these wait for none that measures.
    apart = {**os.environ, "TMPDIR": str(folder)}
    done = subprocess.run(  # noqa: S603  (its own command)
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False, env=apart
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads((folder / "part.json").read_text())["cases"]
    assert (folder / "part.md").read_text().startswith("# Measured")
    return {case["case"]: case["samples"] for case in told}


@linux
def test_the_bench_measures_the_sidecar_beside_a_peer(tmp_path: Path) -> None:
    """One short round with each kind of load ends well and without an error, and is written down."""
    told = _run(tmp_path, "--cases", "afgk", "--only", "sidecar,bare")
    assert {case: [*rows] for case, rows in told.items()} == {
        "a": ["sidecar", "bare"],
        "f": ["sidecar", "bare"],
        "g": ["sidecar"],
        "k": ["sidecar", "bare"],
    }
    for rows in told.values():
        for (sample,) in rows.values():
            assert sample.get("errors", 0) == 0
            assert sample.get("per_second", 1.0) > 0
            assert sample["rss_mib"] > 0
    assert told["k"]["sidecar"][0]["cpu_us"] > 1000


@linux
def test_latency_is_told_as_what_is_added(tmp_path: Path) -> None:
    """At a constant rate all requests are answered, and the origin's own latency is taken off."""
    told = _run(tmp_path, "--cases", "i", "--only", "sidecar,direct")
    (sample,) = told["i"]["sidecar"]
    assert sample["operations"] == 500
    assert sample["errors"] == 0


@linux
def test_a_row_that_fails_is_left_out_and_the_others_go_on(tmp_path: Path) -> None:
    """Its reason stands in the results, what it had measured before does not."""

    def good(shot: Shot) -> Sample:
        return {"per_second": float(shot.number)}

    def bad(shot: Shot) -> Sample:
        if shot.number > 3:
            raise LoadFailed("it broke")
        return {"per_second": 1.0}

    rows = [Entry("one", "direct", "/json", good), Entry("two", "direct", "/json", bad)]
    said: list[str] = []
    (result,) = run(Plan([Case("x", "made up", good, rows, rounds=3, ratio_to="one")]), said.append)
    assert [sample["per_second"] for sample in result.samples["one"]] == [2.0, 4.0, 6.0]
    assert result.missing == {"two": "it broke"}
    assert "two" not in result.samples
    assert "  left out: two: it broke" in said


def _slow_at_first(listening: socket.socket, stall: float) -> None:
    """Answer every request of one connection at once, but for the first one."""
    connection, _ = listening.accept()
    with connection:
        while connection.recv(65536):
            threading.Event().wait(stall)
            stall = 0.0
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def test_latency_counts_from_when_a_request_was_due() -> None:
    """One answer that takes 0.3 s, at 100 requests a second on one connection, delays dozens behind it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = threading.Thread(target=_slow_at_first, args=(listening, 0.3))
        server.start()
        steady = Steady(urlsplit(f"http://127.0.0.1:{listening.getsockname()[1]}/"), 100.0, connections=1)
        steady.run(0.5)
        server.join(30)
    assert len(steady.took) == 50
    assert sum(seconds > 0.05 for seconds in steady.took) >= 20
    assert steady.errors == 0


@pytest.mark.parametrize(
    ("counted", "sound", "words"),
    [
        (104, True, "+4.0%"),
        (106, False, "TOO MANY"),
        (94, True, "lower the budget with `make bench-budget`"),
    ],
)
def test_the_guard_allows_five_percent(counted: int, sound: bool, words: str) -> None:
    """More instructions than that are too many; much fewer ask for a lower budget."""
    report, within = guard.verdict({"a": counted}, {"a": 100})
    assert within is sound
    assert words in report


def test_the_guard_holds_nothing_against_a_machine_without_a_budget() -> None:
    """Counts of another Python or processor are told and fail nothing."""
    report, within = guard.verdict({"a": 1_000_000_000}, None)
    assert within
    assert f"no budget for {guard.key()}" in report
    assert "1,000,000,000 instructions" in report


def test_the_committed_budget_has_every_case() -> None:
    """No case escapes the guard for want of a number."""
    for budget in json.loads(guard.BUDGET.read_text()).values():
        assert budget.keys() == guard.CASES.keys()
        assert all(number > 0 for number in budget.values())


async def test_the_limit_sends_what_the_sidecar_sends(tmp_path: Path, aiohttp_client: AiohttpClient) -> None:
    """The bare handler's ready answer has the body and the header names of the sidecar's cached one."""
    loop = asyncio.get_running_loop()
    origin = await loop.create_server(lambda: Origin(Streams()), "127.0.0.1", 0)
    url = f"http://127.0.0.1:{origin.sockets[0].getsockname()[1]}"
    settings = (ROOT / "bench" / "sidecar.yaml").read_text().replace("${BENCH_ORIGIN}", url)
    bare = await aiohttp_client(application(url))
    async with watched(configured(tmp_path, settings)) as (sidecar, viewer):
        target = f"/api/kaltura/video/{VIDEO_ID}"
        await viewer.ask("GET", target)
        async with viewer.session.get(f"http://{sidecar.listen}{target}") as cached:
            body, names = await cached.read(), {name.title() for name in cached.headers}
    ready = await bare.get("/ready")
    assert cached.headers["Activity-Proxy-Source"] == "cache"
    assert await ready.read() == body
    assert {name.title() for name in ready.headers} - {"Server"} == names
    assert len(body) == KIB
    origin.close()
