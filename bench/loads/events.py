"""Many streams of server-sent events; how long each event was under way is in it.

python -m bench.loads.events URL SECONDS STREAMS
"""

import asyncio
import re
import sys
import time
from typing import cast
from urllib.parse import SplitResult, urlsplit

from bench.loads.telling import begin, end, looped, many_files, percentiles

TOGETHER = 100
_MADE = re.compile(rb'"made": (\d+)')


class Stream(asyncio.Protocol):
    """One stream. `took` are the times under way (seconds) of the events that came since it was emptied."""

    def __init__(self, url: SplitResult) -> None:
        self._url = url
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.took: list[float] = []
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the events."""
        request = (
            f"GET {self._url.path} HTTP/1.1\r\nHost: {self._url.netloc}\r\nAccept: text/event-stream\r\n\r\n"
        )
        cast("asyncio.Transport", transport).write(request.encode())

    def data_received(self, data: bytes) -> None:
        """Note when what came was made. An event is small enough never to come in pieces."""
        now = time.monotonic_ns()
        if not self.opened.done():
            self.opened.set_result(None)
        self.took += [(now - int(made)) / 1e9 for made in _MADE.findall(data)]

    def connection_lost(self, exc: Exception | None) -> None:
        """Remember it."""
        self.lost = True
        if not self.opened.done():
            self.opened.set_exception(exc or ConnectionError("closed before it began"))


async def main(address: str, seconds: float, number: int) -> None:
    """Open the streams, take events, tell."""
    many_files()
    loop, url = asyncio.get_running_loop(), urlsplit(address)
    host, port = url.hostname or "", url.port or 80
    streams: list[Stream] = []
    while len(streams) < number:
        group = [
            loop.create_connection(lambda: Stream(url), host, port)
            for _ in range(min(TOGETHER, number - len(streams)))
        ]
        opened = [stream for _, stream in await asyncio.gather(*group)]
        async with asyncio.timeout(30):
            await asyncio.gather(*(stream.opened for stream in opened))
        streams += opened
    for stream in streams:
        stream.took.clear()
    begin()
    began = time.perf_counter()
    await asyncio.sleep(seconds)
    elapsed = time.perf_counter() - began
    took = [it for stream in streams for it in stream.took]
    lost = sum(stream.lost for stream in streams)
    end({"operations": len(took), "seconds": elapsed, "errors": lost, **percentiles(took)})


if __name__ == "__main__":
    looped()(main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3])))
