"""The sidecar as a process: start, say so, stop when told."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from proxy import __version__
from proxy.configuration import Configuration
from proxy.server import c_parser_in_use
from proxy.sidecar import Sidecar

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


async def serve(configuration: Configuration, say: Callable[[str], object], *, then: str = "") -> int:
    """Run the sidecar until SIGTERM or SIGINT; a second one stops it at once.

    `say` is told when it is ready, and `then`, with `{public}` for the address. Returns the exit status.
    """
    if not c_parser_in_use():
        say("activity-proxy: aiohttp runs without its C parser, which is not safe for a proxy")
        return 1
    sidecar = Sidecar(configuration)
    try:
        await sidecar.start()
    except OSError as error:
        say(f"activity-proxy: {error.strerror or error}")
        return 1
    async with stop_signals() as asked:
        say(ready_line(sidecar))
        if then:
            say(then.format(public=sidecar.listen))
        await asked.get()
        stopping = asyncio.create_task(sidecar.stop())
        again = asyncio.create_task(asked.get())
        await asyncio.wait({stopping, again}, return_when=asyncio.FIRST_COMPLETED)
        if not stopping.done():
            stopping.cancel()
            await asyncio.wait({stopping})
            await sidecar.stop(at_once=True)
        again.cancel()
    return 0


def ready_line(sidecar: Sidecar) -> str:
    """Return the line that says that the sidecar is ready, and where."""
    settings = sidecar.configuration.settings
    return (
        f"activity-proxy {__version__} is ready: {sidecar.listen} in front of {settings.activity.url}, "
        f"gateway {settings.gateway.url} (mode {settings.mode}), admin {sidecar.admin}"
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
