"""The sidecar as a process: start, say so, stop when told."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from proxy import __version__
from proxy.configuration import Configuration
from proxy.server import c_parser_in_use
from proxy.sidecar import Sidecar

# There is no reload yet, so a hang-up is an end like the others.
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

Say = Callable[[str], object]


async def serve(configuration: Configuration, say: Say, complain: Say, *, then: str = "") -> int:
    """Run the sidecar until SIGTERM, SIGINT or SIGHUP; a second one stops it at once.

    `say` is told when it is ready, and `then`, with `{public}` for the address; `complain` what keeps it from
    running. Returns the exit status.
    """
    if not c_parser_in_use():
        complain("activity-proxy: aiohttp runs without its C parser, which is not safe for a proxy")
        return 1
    sidecar = Sidecar(configuration)
    async with stop_signals() as asked:
        try:
            await sidecar.start()
        except OSError as error:
            complain(f"activity-proxy: {error.strerror or error}")
            return 1
        say(ready_line(sidecar))
        if then:
            say(then.format(public=sidecar.listen))
        await asked.get()
        stopping = asyncio.create_task(sidecar.stop())
        again = asyncio.create_task(asked.get())
        await asyncio.wait({stopping, again}, return_when=asyncio.FIRST_COMPLETED)
        again.cancel()
        if stopping.done():
            await stopping
        else:
            stopping.cancel()
            await asyncio.wait({stopping})
            await sidecar.stop(at_once=True)
    return 0


def ready_line(sidecar: Sidecar) -> str:
    """Return the line that says that the sidecar is ready, and where."""
    settings = sidecar.configuration.settings
    return (
        f"activity-proxy {__version__} is ready: {sidecar.listen} in front of {settings.activity.url}, "
        f"gateway {settings.gateway.url} ({settings.environment}, mode {settings.mode}), "
        f"admin {sidecar.admin}"
    )


@asynccontextmanager
async def stop_signals() -> AsyncIterator[asyncio.Queue[int]]:
    """Give a queue of the stop signals that come in, while the block lasts."""
    asked: asyncio.Queue[int] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in _STOP_SIGNALS:
        loop.add_signal_handler(number, asked.put_nowait, number)
    try:
        yield asked
    finally:
        for number in _STOP_SIGNALS:
            loop.remove_signal_handler(number)
