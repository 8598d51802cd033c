"""How a generator and the one who measures talk: `begin`, then the figures, then both are done.

Between the two lines the processor time of what is measured counts; until standard input ends the load's
connections stay, so that memory can be looked at.
"""

import asyncio
import contextlib
import json
import math
import resource
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

FILES = 32_768


def begin() -> None:
    """Say that the load begins."""
    print("begin", flush=True)


def end(figures: Mapping[str, float]) -> None:
    """Say what came of it, and wait until that has been seen."""
    print(json.dumps(figures), flush=True)
    sys.stdin.read()


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """Return the 50th and the 99th percentile in microseconds, by nearest rank."""
    ranked = sorted(seconds)
    if not ranked:
        return {}
    return {f"p{share}_us": ranked[math.ceil(len(ranked) * share / 100) - 1] * 1e6 for share in (50, 99)}


def many_files() -> None:
    """Let this process, and those that it starts, have as many open connections as they may."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with contextlib.suppress(ValueError, OSError):  # more is for root only
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(most, FILES), max(most, FILES)))


def looped() -> Callable[[Coroutine[Any, Any, None]], None]:
    """Return what runs a coroutine: on uvloop, where that is installed."""
    try:
        import uvloop  # noqa: PLC0415  (only where the bench's own packages are)
    except ImportError:
        return asyncio.run
    run: Callable[[Coroutine[Any, Any, None]], None] = uvloop.run
    return run
