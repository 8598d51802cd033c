"""What one listener takes of its clients, and how it sees that one has stopped taking what it is sent."""

import asyncio
import socket
import struct
from dataclasses import dataclass

from aiohttp.http import RawRequestMessage

from proxy.frozen import frozen

_ACKNOWLEDGED = struct.Struct("=120xQ")
"""`tcpi_bytes_acked` in Linux's `struct tcp_info` (RFC 4898, tcpEStatsAppHCThruOctetsAcked)."""
_TCP_INFO = getattr(socket, "TCP_INFO", None)


@frozen
class Bounds:
    """Sizes in bytes, times in seconds.

    `header` is for one header line, `headers` for their number, `target` for the request target, `head` for
    all of these together.
    `header_timeout` runs from a head's first byte to its end, and from a connection's beginning to its first
    byte; `send_timeout` is how long bytes may wait without the client's taking any. `connections` may be
    open at once.
    """

    header: int = 16 * 1024
    headers: int = 128
    target: int = 8 * 1024
    head: int = 64 * 1024
    header_timeout: float = 10.0
    send_timeout: float = 60.0
    connections: int = 8000

    @property
    def field(self) -> int:
        """What aiohttp's parser is told of `header`.

        Its exception tells a target from a header by the limit alone, so the two must differ.
        """
        return self.header + 1 if self.header == self.target else self.header


def head_size(request: RawRequestMessage) -> int:
    """Return how many bytes a request's head has, less the blanks around values, which nobody keeps."""
    line = len(request.method) + len(request.path or "") + len("  HTTP/1.1\r\n")
    return line + sum(len(name) + len(value) + len(": \r\n") for name, value in request.raw_headers) + 2


@dataclass(slots=True)
class Outflow:
    """Whether a client takes what is sent to it, seen by looking now and then."""

    _waiting: int = 0
    _acknowledged: int = 0
    _since: float = 0.0

    def stuck(self, transport: asyncio.Transport, now: float) -> float:
        """Return for how many seconds bytes have waited here without the client's taking any."""
        waiting = transport.get_write_buffer_size()
        if not waiting:
            self._waiting = 0
            return 0.0
        # A full buffer stands still for long while megabytes in the kernel drain.
        acknowledged = _acknowledged(transport)
        if not self._waiting or waiting < self._waiting or acknowledged != self._acknowledged:
            self._since = now
        self._waiting, self._acknowledged = waiting, acknowledged
        return now - self._since


def _acknowledged(transport: asyncio.Transport) -> int:
    """Return how many bytes the peer has acknowledged; always 0 where the system does not tell."""
    tcp = transport.get_extra_info("socket")
    if _TCP_INFO is None or tcp is None:
        return 0
    try:
        info = tcp.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _ACKNOWLEDGED.size)
    except OSError:
        return 0
    return int(_ACKNOWLEDGED.unpack(info)[0]) if len(info) == _ACKNOWLEDGED.size else 0
