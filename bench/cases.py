"""The cases: who is measured with which load, and what must be reached."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.load import Load, at_rest, generator, idle, wrk
from bench.payloads import MIB, VIDEO_ID

SIDECAR = "sidecar"
USUAL = ("per_second", "cpu_us", "p50_us", "p99_us", "rss_mib")


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of a case: a contender, the path that it is asked for, and a load where it has its own."""

    label: str
    contender: str
    path: str
    load: Load | None = None


@dataclass(frozen=True, slots=True)
class Goal:
    """What one row must reach in one measure: at least (or at most) so many times as much as another row.

    Without another row the bound is the measure itself.
    """

    of: str
    over: str
    bound: float
    measure: str = "per_second"
    at_most: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """A case.

    `seconds` is how long a measurement takes, `warm_up` how long the load before the first round. All rows
    are compared by `compare` to that of `ratio_to`. Latencies are also told as what they are above those of
    the row `above`.
    `anew`: what is measured starts anew for each round.
    """

    letter: str
    title: str
    load: Load
    entries: Sequence[Entry]
    goals: Sequence[Goal] = ()
    seconds: float = 2.0
    rounds: int = 5
    warm_up: float = 1.0
    ratio_to: str = SIDECAR
    compare: str = "per_second"
    columns: Sequence[str] = USUAL
    above: str = ""
    anew: bool = False

    def essential(self) -> "Case":
        """Return the case with the rows that the goals are about, and no others."""
        wanted = {name for goal in self.goals for name in (goal.of, goal.over)} | {self.above}
        return replace(self, entries=[entry for entry in self.entries if entry.label in wanted])


_REWRITTEN = "/api/kaltura/video/"
_CACHED = _REWRITTEN + VIDEO_ID
_SEARCH = "/api/kaltura/videos/search?pageSize={size}&query="
_LARGE = ("bytes_per_second", "cpu_us", "p50_us", "p99_us", "rss_mib", "grown_mib")
_GROWTH = ("per_second", "cpu_us", "p50_us", "p99_us", "rss_mib")
_AT_RATE = ("per_second", "cpu_us", "p50_us", "p99_us", "added_p50_us", "added_p99_us")


def _all(path: str, *names: str) -> list[Entry]:
    return [Entry(name, name, path) for name in names]


def _growth(title: str, entries: Sequence[Entry], warm_up: float = 1.0) -> Case:
    """Return a case of the sidecar alone, under work that grows from row to row."""
    return Case(
        *("l", title, wrk(), entries),
        seconds=1.0,
        rounds=3,
        warm_up=warm_up,
        ratio_to=entries[0].label,
        columns=_GROWTH,
    )


CASES: Sequence[Case] = (
    Case(
        "a",
        "rewritten, cached",
        wrk(),
        [
            Entry(SIDECAR, SIDECAR, _CACHED),
            Entry("bare", "bare", "/ready"),
            *_all(_CACHED, "envoy", "http-proxy", "nginx", "express"),
        ],
        [
            Goal(SIDECAR, "bare", 0.8),
            Goal(SIDECAR, "envoy", 1.0),
            Goal(SIDECAR, "http-proxy", 2.5),
        ],
    ),
    Case(
        "b",
        "rewritten, uncached, everything on",
        wrk("distinct", "{number}"),
        _all(_REWRITTEN, SIDECAR, "bare", "express"),
        [Goal(SIDECAR, "express", 2.0), Goal(SIDECAR, "bare", 0.8)],
    ),
    Case(
        "c",
        "pass-through of 1 KiB JSON",
        wrk(),
        [
            *_all("/json", SIDECAR, "textbook", "http-proxy", "undici", "envoy", "haproxy", "nginx", "caddy"),
            *_all("/json", "direct"),
        ],
        [Goal(SIDECAR, "http-proxy", 1.0), Goal(SIDECAR, "textbook", 1.6)],
        above="direct",
    ),
    Case(
        "d",
        "pass-through of 16 MiB",
        wrk(connections=16),
        _all("/large", SIDECAR, "nginx", "textbook", "http-proxy", "direct"),
        [
            Goal(SIDECAR, "nginx", 0.5, "bytes_per_second"),
            Goal(SIDECAR, "", 16.0, "grown_mib", at_most=True),
        ],
        compare="bytes_per_second",
        columns=_LARGE,
    ),
    Case(
        "e",
        "uploads of 1 MiB",
        wrk("upload", str(MIB), connections=16),
        _all("/upload", SIDECAR, "nginx", "textbook", "http-proxy", "direct"),
        [Goal(SIDECAR, "nginx", 0.5), Goal(SIDECAR, "", 16.0, "grown_mib", at_most=True)],
        columns=(*USUAL, "grown_mib"),
    ),
    Case(
        "f",
        "WebSocket echo of 32 bytes",
        generator("echo", "64"),
        _all("/echo", SIDECAR, "bare", "http-proxy", "nginx", "direct"),
        [Goal(SIDECAR, "http-proxy", 1.0), Goal(SIDECAR, "bare", 0.8)],
    ),
    Case(
        "g",
        "1,000 streams of server-sent events, 5 a second each",
        generator("events", "1000"),
        _all("/events", SIDECAR, "textbook", "http-proxy", "nginx", "direct"),
        seconds=3.0,
        rounds=2,
        compare="cpu_us",
    ),
    Case(
        "h",
        "canned, with the breaker open",
        # Many ids: those who ask for the same thing at the same time would share one answer.
        wrk("keys", "1000"),
        [
            Entry("canned", "sidecar-open", _REWRITTEN),
            Entry("cached", SIDECAR, _REWRITTEN),
            Entry("express with a mock of its own", "express", "/mock/"),
        ],
        [Goal("canned", "cached", 0.6)],
        ratio_to="canned",
    ),
    Case(
        "i",
        "500 requests a second: passing through",
        generator("steady", "500"),
        _all("/json", SIDECAR, "textbook", "http-proxy", "nginx", "direct"),
        [
            Goal(SIDECAR, "textbook", 0.7, "added_p50_us", at_most=True),
            Goal(SIDECAR, "textbook", 0.7, "added_p99_us", at_most=True),
        ],
        seconds=3.0,
        rounds=4,
        compare="p50_us",
        columns=_AT_RATE,
        above="direct",
    ),
    Case(
        "i",
        "500 requests a second: cached",
        generator("steady", "500"),
        [Entry(SIDECAR, SIDECAR, _CACHED), Entry("bare", "bare", "/ready")],
        [
            Goal(SIDECAR, "bare", 1.2, "p50_us", at_most=True),
            Goal(SIDECAR, "bare", 1.2, "p99_us", at_most=True),
        ],
        seconds=3.0,
        compare="p50_us",
    ),
    Case(
        "j",
        "10,000 idle WebSockets",
        idle(10_000),
        _all("/echo", SIDECAR, "bare", "http-proxy", "nginx"),
        [Goal(SIDECAR, "", 40.0, "each_kib", at_most=True)],
        seconds=1.0,
        rounds=1,
        compare="each_kib",
        columns=("operations", "per_second", "each_kib", "rss_mib"),
        anew=True,
    ),
    Case(
        "k",
        "start-up, and memory at rest",
        at_rest,
        _all("/", SIDECAR, "bare", "textbook", "express"),
        [
            Goal(SIDECAR, "bare", 2.0, "ready_ms", at_most=True),
            Goal(SIDECAR, "", 55.0, "rss_mib", at_most=True),
        ],
        seconds=0.5,
        rounds=4,
        compare="ready_ms",
        columns=("ready_ms", "cpu_us", "rss_mib"),
        anew=True,
    ),
    _growth(
        "keys in the cache",
        [
            Entry(f"{number:,} keys", SIDECAR, _REWRITTEN, wrk("keys", str(number)))
            for number in (10, 100, 1000, 10_000)
        ],
        warm_up=5.0,
    ),
    _growth(
        "concurrent clients, cached",
        [
            Entry(f"{number:,} clients", SIDECAR, _CACHED, wrk(connections=number))
            for number in (1, 10, 100, 1000)
        ],
    ),
    _growth(
        "headers of a request passing through",
        [
            Entry(f"{number} headers", SIDECAR, "/json", wrk("headers", str(number)))
            for number in (5, 25, 100)
        ],
    ),
    _growth(
        "videos in a list, uncached",
        [
            Entry(f"{size} videos", SIDECAR, _SEARCH.format(size=size), wrk("distinct", "{number}"))
            for size in (1, 10, 100)
        ],
    ),
)
