"""Which plain requests are begun within the call that brings them, and by whom."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import field

from aiohttp import HttpVersion11, hdrs
from aiohttp.http import RawRequestMessage
from multidict import CIMultiDictProxy

from proxy.ahead import Begun, is_path
from proxy.asking import Asking
from proxy.connection import ClientConnection
from proxy.frozen import frozen
from proxy.heads import request_line
from proxy.listener import Listener
from proxy.passthrough import PassThrough
from proxy.paths import AMBIGUOUS, PathIndex
from proxy.relay import Relay
from proxy.target import Target

TARGETS = 2048
"""Targets that are remembered at most, and none longer than `LONGEST` characters: about 2 MiB in all."""
LONGEST = 512


@frozen
class Beginning:
    """Finds out what a `GET` is for, and leaves it to `relay` or `ask`; what is doubtful to nobody.

    `routes` are the listener's. Targets that pass through are remembered: there are few of them.
    """

    routes: PathIndex[str]
    relay: Relay
    ask: Asking
    _lines: dict[str, bytes] = field(default_factory=dict)

    def __call__(self, request: RawRequestMessage, connection: ClientConnection) -> Begun | None:
        """Begin a request without a body, or leave it alone and return None. Never waits."""
        if request.method != hdrs.METH_GET or request.version != HttpVersion11:
            return None
        path = request.path
        line = self._lines.get(path)
        if line is None:
            target = Target.of(self.routes, hdrs.METH_GET, path) if is_path(path) else None
            if target is None or target.found is AMBIGUOUS:
                return None
            if target.found is not None:
                return self.ask(request, connection, target, *target.found)
            line = request_line(hdrs.METH_GET, target.sent) + b"\r\n"
            if len(path) <= LONGEST:
                self._remember(path, line)
        return self.relay(request, connection, line)

    @property
    def remembered(self) -> int:
        """How many targets are remembered."""
        return len(self._lines)

    def _remember(self, path: str, line: bytes) -> None:
        if len(self._lines) >= TARGETS:
            del self._lines[next(iter(self._lines))]
        self._lines[path] = line


def open_beginning(
    listener: Listener,
    pass_through: PassThrough,
    client: Callable[[str | None, CIMultiDictProxy[str]], str],
    admit: Callable[[str], Mapping[str, str] | None] | None,
) -> Beginning:
    """Build what begins requests for that listener, with the parts that it has."""
    shared = (client, listener.request_ids, listener.clock, listener.observe, admit)
    relay = Relay(pass_through.origin, pass_through.resume, pass_through.trusted, *shared)
    ask = Asking(
        listener.route,
        listener.answer,
        listener.subject,
        listener.total,
        listener.fields,
        listener.learn,
        asyncio.get_running_loop(),
        *shared,
    )
    return Beginning(listener.routes, relay, ask)
