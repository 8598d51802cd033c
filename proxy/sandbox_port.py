"""A port that a stand-in opens, closes and opens again under the same number, and who does so."""

import contextlib
import socket
from abc import ABC, abstractmethod

from aiohttp import web

LOOPBACK = "127.0.0.1"
_GRACE = 0.05  # seconds that running requests get at closing time


class Port:
    """One port. It stays ours while it is closed, and refuses connections meanwhile."""

    def __init__(self, number: int = 0, host: str = LOOPBACK) -> None:
        self._wanted = number
        self._host = host
        self._bound: socket.socket | None = None
        self._runner: web.AppRunner | None = None
        self._number = 0

    @property
    def url(self) -> str:
        """The address, without a slash at its end."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._number}"

    @property
    def is_open(self) -> bool:
        """Whether connections are taken."""
        return self._runner is not None

    async def open(self, application: web.Application) -> None:
        """Take connections for that application.

        Raises:
            OSError: the port is someone else's.
        """
        runner = web.AppRunner(
            application, access_log=None, shutdown_timeout=_GRACE, handler_cancellation=True
        )
        await runner.setup()
        try:
            bound = self._bound or self._bind(self._wanted)
            self._bound = None
            await web.SockSite(runner, bound).start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner

    async def shut(self) -> None:
        """Close the listening socket, cut what runs, and refuse connections from now on."""
        await self._stop()
        if self._bound is None and self._number:
            # Bound but not listening: nobody else gets the number, and whoever comes is refused.
            self._bound = self._bind(self._number)

    async def close(self) -> None:
        """Close for good and give the number back."""
        await self._stop()
        if self._bound is not None:
            self._bound.close()
            self._bound = None

    async def _stop(self) -> None:
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    def _bind(self, number: int) -> socket.socket:
        with contextlib.ExitStack() as undo:
            family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
            bound = undo.enter_context(socket.socket(family, socket.SOCK_STREAM))
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                bound.bind((self._host, number))
            except OSError as error:
                raise OSError(error.errno, f"{self._host}:{number}: {error.strerror}") from None
            undo.pop_all()
        self._number = bound.getsockname()[1]
        return bound


class StandIn(ABC):
    """A stand-in at its port: online it answers there, offline whoever comes is refused."""

    port: Port

    @abstractmethod
    def application(self) -> web.Application:
        """Return what answers, made anew: one that has run does not run again."""

    @property
    def is_online(self) -> bool:
        """Whether connections are taken."""
        return self.port.is_open

    async def online(self) -> None:
        """Take connections, on the same port as before. Raises OSError when the port is someone else's."""
        if not self.is_online:
            await self.port.open(self.application())

    async def offline(self) -> None:
        """Close the listening socket and cut every connection: whoever comes is refused."""
        await self.port.shut()

    async def close(self) -> None:
        """Stop for good."""
        await self.port.close()
