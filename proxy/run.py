"""The sidecar as a process: start, say so, stop when told."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from proxy import __version__
from proxy.configuration import Configuration
from proxy.descriptors import fitting, make_room, wanted
from proxy.heap import settled
from proxy.server import c_parser_in_use
from proxy.sidecar import Sidecar
from proxy.tls import TlsMistake

# There is no reload yet, so a hang-up is an end like the others.
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

Say = Callable[[str], object]
Complain = Callable[[int, str], object]
"""Takes what is wrong, with its level among logging's."""


async def serve(configuration: Configuration, say: Say, complain: Complain, *, then: str = "") -> int:
    """Run the sidecar until SIGTERM, SIGINT or SIGHUP; a second one stops it at once.

    `say` is told when it is ready, and `then`, with `{public}` for the address; `complain` what is not as
    configured, or keeps it from running. Returns the exit status.
    """
    if not c_parser_in_use():
        complain(logging.ERROR, "aiohttp runs without its C parser, which is not safe for a proxy")
        return 1
    sidecar = Sidecar(_with_room(configuration, complain))
    async with stop_signals() as (first, second):
        try:
            if not await _unless(first, sidecar.start()):
                return 0
        except OSError as error:
            complain(logging.ERROR, error.strerror or str(error))
            return 1
        except TlsMistake as mistake:
            complain(logging.ERROR, f"a file of TLS has changed, its {mistake.part} {mistake}")
            return 1
        say(ready_line(sidecar))
        if then:
            say(then.format(public=sidecar.listen))
        with settled():
            await first
        if not await _unless(second, sidecar.stop()):
            await sidecar.stop(at_once=True)
    return 0


def _with_room(configuration: Configuration, complain: Complain) -> Configuration:
    """Make room for all connections; where there is not enough, return the configuration with fewer.

    More than fit would not be turned away, but get in and find no way on, and the operator no way in.
    """
    settings = configuration.settings
    limits, calls = settings.limits, settings.gateway.max_concurrency * (1 + settings.kaltura.enabled)
    files = wanted(limits.connections, calls)
    allowed = make_room(files)
    if allowed == files:
        return configuration
    fewer = limits.model_copy(update={"connections": fitting(allowed, calls)})
    why = f"{limits.connections} may take {files} open files, and {allowed} are allowed"
    complain(
        logging.WARNING,
        f"limits.connections: is {fewer.connections}, for {why}; raise ulimit -n, or lower it",
    )
    return replace(configuration, settings=settings.model_copy(update={"limits": fewer}))


async def _unless(told: asyncio.Future[int], work: Coroutine[Any, Any, None]) -> bool:
    """Do the work and return true; when told before it is done, break it off and return false."""
    working = asyncio.create_task(work)
    awaited: set[asyncio.Future[Any]] = {working, told}
    try:
        await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not working.done():
            working.cancel()
            await asyncio.wait({working})
    if working.cancelled():
        return False
    working.result()  # raises what it raised
    return True


def ready_line(sidecar: Sidecar) -> str:
    """Return the line that says that the sidecar is ready, and where."""
    settings = sidecar.configuration.settings
    public = f"{'https://' if settings.listen_tls else ''}{sidecar.listen}"
    return (
        f"activity-proxy {__version__} is ready: {public} in front of {settings.activity.url}, "
        f"gateway {settings.gateway.url} ({settings.environment}, mode {settings.mode}), "
        f"admin {'https://' if settings.admin_tls else ''}{sidecar.admin}"
    )


@asynccontextmanager
async def stop_signals() -> AsyncIterator[tuple[asyncio.Future[int], asyncio.Future[int]]]:
    """Give what will be the first and the second stop signal that comes in while the block lasts."""
    loop = asyncio.get_running_loop()
    signals: tuple[asyncio.Future[int], asyncio.Future[int]] = (loop.create_future(), loop.create_future())

    def told(number: int) -> None:
        for awaited in signals:
            if not awaited.done():
                awaited.set_result(number)
                break

    before = {number: signal.getsignal(number) for number in _STOP_SIGNALS}
    for number in _STOP_SIGNALS:
        loop.add_signal_handler(number, told, number)
    try:
        yield signals
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)
