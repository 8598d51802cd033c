"""The cases: who is measured with which load, and what must be reached."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bench.load import Load, wrk
from bench.payloads import VIDEO_ID

SIDECAR = "sidecar"
Metric = Literal[
    "per_second", "bytes_per_second", "p50_us", "p99_us", "added_p50_us", "added_p99_us", "rss_mib"
]


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of a case: a contender, the path that it is asked for, and a load where it has its own."""

    label: str
    contender: str
    path: str
    load: Load | None = None


@dataclass(frozen=True, slots=True)
class Goal:
    """What one row must reach of another one, in one measure: at least, or at most, so many times as much."""

    of: str
    over: str
    bound: float
    measure: Metric = "per_second"
    at_most: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """A case. `seconds` is how long one measurement takes; all rows are compared to that of `ratio_to`."""

    letter: str
    title: str
    load: Load
    entries: Sequence[Entry]
    goals: Sequence[Goal] = ()
    seconds: float = 2.0
    rounds: int = 5
    ratio_to: str = SIDECAR


_REWRITTEN = "/api/kaltura/video/"
_CACHED = _REWRITTEN + VIDEO_ID


def _all(path: str, *names: str) -> list[Entry]:
    return [Entry(name, name, path) for name in names]


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
        _all(
            "/json",
            *(
                SIDECAR,
                "textbook",
                "http-proxy",
                "undici",
                "envoy",
                "haproxy",
                "nginx",
                "caddy",
                "direct",
            ),
        ),
        [Goal(SIDECAR, "http-proxy", 1.0), Goal(SIDECAR, "textbook", 1.6)],
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
)
