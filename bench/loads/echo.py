"""Small messages over WebSockets, there and back: each sends the next when the last one came back.

python -m bench.loads.echo URL SECONDS CONNECTIONS
"""

import asyncio
import sys
import time
from dataclasses import dataclass, field

from bench.loads.telling import begin, end, looped, percentiles
from bench.loads.websockets import ECHO, MESSAGE, Socket, connect


@dataclass(slots=True)
class Turns:
    """The messages of one WebSocket: how long each was under way (seconds)."""

    socket: Socket
    until: float
    took: list[float] = field(default_factory=list)
    _sent: float = 0.0
    _missing: int = 0

    def send(self) -> None:
        """Send one message."""
        self._sent = time.perf_counter()
        self._missing = ECHO
        self.socket.transport.write(MESSAGE)

    def received(self, size: int) -> None:
        """Count an echo, and send the next message when it is whole and time is left."""
        self._missing -= size
        if self._missing <= 0:
            now = time.perf_counter()
            self.took.append(now - self._sent)
            if now < self.until:
                self.send()


async def main(url: str, seconds: float, connections: int) -> None:
    """Connect, exchange messages, tell."""
    sockets = await connect(url, connections)
    begin()
    began = time.perf_counter()
    turns = [Turns(socket, began + seconds) for socket in sockets]
    for turn in turns:
        turn.socket.received = turn.received
        turn.send()
    await asyncio.sleep(seconds)
    took = [it for turn in turns for it in turn.took]
    elapsed = time.perf_counter() - began
    lost = sum(socket.lost for socket in sockets)
    end({"operations": len(took), "seconds": elapsed, "errors": lost, **percentiles(took)})


if __name__ == "__main__":
    looped()(main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3])))
