"""Requests at a constant rate, whatever the answers do: latency counts from when a request was due.

    python -m bench.loads.steady URL SECONDS RATE

A request that finds no connection free waits, and its waiting counts (no coordinated omission). By `select`
rather than an event loop, for its timeout in microseconds.
"""

import select
import socket
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

from bench.loads.telling import begin, end, percentiles

CONNECTIONS = 64
LONGEST_WAIT = 10.0


@dataclass(slots=True)
class Connection:
    """One kept connection, and what it is busy with. `due` is when its request was to be sent."""

    tcp: socket.socket
    due: float = 0.0
    _got: bytearray = field(default_factory=bytearray)
    _whole: int = 0

    def send(self, request: bytes, due: float) -> None:
        """Send a request."""
        self.due = due
        self._got.clear()
        self._whole = 0
        self.tcp.sendall(request)

    def receive(self) -> bool | None:
        """Take what came; return None while the answer is not whole, then whether it is good."""
        data = self.tcp.recv(65536)
        if not data:
            raise ConnectionError("the server closed a kept connection")
        self._got += data
        if not self._whole:
            end_of_head = self._got.find(b"\r\n\r\n")
            if end_of_head < 0:
                return None
            head = bytes(self._got[:end_of_head]).lower() + b"\r\n"
            _, told, length = head.partition(b"\r\ncontent-length:")
            if not told:
                raise ConnectionError("an answer without Content-Length")
            self._whole = end_of_head + 4 + int(length.partition(b"\r\n")[0])
        if len(self._got) < self._whole:
            return None
        return self._got.startswith(b"HTTP/1.1 200 ")


@dataclass(slots=True)
class Steady:
    """The load: `took` are latencies in seconds, `errors` answers that were not 200."""

    url: SplitResult
    rate: float
    connections: int = CONNECTIONS
    took: list[float] = field(default_factory=list)
    errors: int = 0

    def run(self, seconds: float) -> float:
        """Send what is due until the time is over, take all answers, and return the seconds it took."""
        request = f"GET {self.url.path} HTTP/1.1\r\nHost: {self.url.netloc}\r\n\r\n".encode()
        address = (self.url.hostname or "", self.url.port or 80)
        idle = deque(Connection(socket.create_connection(address)) for _ in range(self.connections))
        for connection in idle:
            connection.tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        busy: dict[socket.socket, Connection] = {}
        begin()
        began = time.perf_counter()
        sent, wanted = 0, round(seconds * self.rate)
        while sent < wanted or busy:
            now = time.perf_counter()
            if now > began + seconds + LONGEST_WAIT:
                self.errors += len(busy) + wanted - sent
                break
            while sent < wanted and idle and (due := began + sent / self.rate) <= now:
                connection = idle.popleft()
                connection.send(request, due)
                busy[connection.tcp] = connection
                sent += 1
            next_due = began + sent / self.rate if sent < wanted and idle else now + 1.0
            ready, _, _ = select.select(list(busy), [], [], max(0.0, next_due - time.perf_counter()))
            for tcp in ready:
                good = busy[tcp].receive()
                if good is None:
                    continue
                connection = busy.pop(tcp)
                self.took.append(time.perf_counter() - connection.due)
                self.errors += not good
                idle.append(connection)
        elapsed = time.perf_counter() - began
        for connection in [*idle, *busy.values()]:
            connection.tcp.close()
        return elapsed


def main(url: str, seconds: float, rate: float) -> None:
    """Run the load and tell."""
    steady = Steady(urlsplit(url), rate)
    elapsed = steady.run(seconds)
    figures = {"operations": len(steady.took), "seconds": elapsed, "errors": steady.errors}
    end({**figures, **percentiles(steady.took)})


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]))
