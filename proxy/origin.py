"""Connections to the Activity server or the gateway: one exchange at a time on each, kept between exchanges.

Made of asyncio's transports and aiohttp's response parser. aiohttp's own client session is made for any URL,
with redirects, cookies, credentials and timers; for one fixed server that is most of what a relayed request
costs (docs/decisions has the figures).
"""

import asyncio
import socket
import ssl
from typing import Self

from aiohappyeyeballs import start_connection
from yarl import URL

from proxy.addresses import Addresses
from proxy.errors import ActivityAway, AwayReason
from proxy.exchange import OriginConnection, OriginRequest, OriginResponse

KEEP = 4.0
"""Seconds that an idle connection is kept. Node closes after 5 s: this side is to be the first."""


class Origin:
    """The server at `url` (scheme, host and port), and the idle connections to it.

    Args:
        url: Where it is; nothing else of it counts.
        connect_timeout: Seconds that making a connection may take, name look-up included. There is no
            other time limit: streams may last.
        head_limit: Bytes that one line of a response's head may have.
        tls: What to make of the certificate; None for what the system trusts. Only for `https`.
        keep: Seconds that an idle connection is kept.
        decoding: Whether answers are decoded from gzip or deflate, or come as they are.
    """

    def __init__(
        self,
        url: URL,
        *,
        connect_timeout: float = 5.0,
        head_limit: int = 65536,
        tls: ssl.SSLContext | None = None,
        keep: float = KEEP,
        decoding: bool = False,
    ) -> None:
        self.authority = url.host_port_subcomponent or ""
        """Host and port, as the field `Host` has them."""
        self._host = url.raw_host or ""
        self._addresses = Addresses(self._host, url.port or 0)
        self._connect_timeout = connect_timeout
        self._head_limit = head_limit
        self._tls = (tls or ssl.create_default_context()) if url.scheme == "https" else None
        self._keep = keep
        self._decoding = decoding
        self._loop = asyncio.get_running_loop()
        self.idle: list[OriginConnection] = []
        """The connections that are kept, last the one used last."""
        self._sweeping: asyncio.TimerHandle | None = None
        self.in_use: set[OriginConnection] = set()
        """The connections with an exchange under way."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Cut all connections."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        self._addresses.close()
        self.drop_idle()
        for connection in [*self.in_use]:
            connection.abort()

    async def ask(self, request: OriginRequest) -> OriginResponse:
        """Send a request on the connection used last, else a new one, and return the answer to it.

        The answer's connection has to be released. Raises `ActivityAway`.
        """
        kept = self.at_hand()
        connection = kept or await self.open(self._connect_timeout)
        try:
            return await connection.ask(request)
        except BaseException as error:
            if kept is not None and isinstance(error, ActivityAway):
                self.forsake(connection)
            else:
                self.release(connection)
            raise

    def at_hand(self) -> OriginConnection | None:
        """Return the kept connection that was used last, if there is one.

        It has to be released, or forsaken when no answer came, or put back when nothing was asked.
        """
        oldest = self._loop.time() - self._keep
        while self.idle:
            connection = self.idle.pop()
            if connection.reusable and connection.idle_since > oldest:
                self.in_use.add(connection)
                return connection
            connection.abort()
        return None

    async def open(self, allowed: float) -> OriginConnection:
        """Return a new connection, which has to be released; it may take `allowed` seconds at most.

        Raises `ActivityAway`.
        """
        try:
            async with asyncio.timeout(min(allowed, self._connect_timeout)):
                found = await self._addresses()
                # Not asyncio's own race of addresses: given up at its end, it loses the winner's socket.
                made = await start_connection(found, happy_eyeballs_delay=0.25)
                _, connection = await self._loop.create_connection(
                    lambda: OriginConnection(self._loop, self._head_limit, decoding=self._decoding),
                    sock=made,
                    ssl=self._tls,
                    # A name may end with the root's dot, a certificate's does not.
                    server_hostname=None if self._tls is None else self._host.rstrip("."),
                )
        except OSError as error:
            self._addresses.forget()
            detail = _words(error) if isinstance(error, ssl.SSLError) else ""
            raise ActivityAway(_reason(error), detail=detail) from error
        self.in_use.add(connection)
        return connection

    def put_back(self, connection: OriginConnection) -> None:
        """Take back what `at_hand` gave and was not used."""
        self.in_use.discard(connection)
        self.idle.append(connection)

    def forsake(self, connection: OriginConnection) -> None:
        """Release a kept connection on which no answer came."""
        self.release(connection)
        self.drop_idle()

    def release(self, connection: OriginConnection) -> None:
        """Take back a connection whose exchange is over, at its end or before."""
        self.in_use.discard(connection)
        if not connection.release(self._loop.time()):
            return
        self.idle.append(connection)
        if self._sweeping is None:
            self._sweeping = self._loop.call_later(self._keep, self._sweep)

    def drop_idle(self) -> None:
        """Cut the idle connections, since one of them turned out dead.

        Where a server was replaced, they are all older than it, and no better.
        """
        for connection in self.idle:
            connection.abort()
        self.idle.clear()

    def _sweep(self) -> None:
        """Close what has been idle for too long; the list is ordered by that."""
        self._sweeping = None
        oldest = self._loop.time() - self._keep
        fresh = []
        for connection in self.idle:
            if connection.reusable and connection.idle_since > oldest:
                fresh.append(connection)
            else:
                connection.abort()
        self.idle = fresh
        if fresh:
            self._sweeping = self._loop.call_at(fresh[0].idle_since + self._keep, self._sweep)


def _reason(error: OSError) -> AwayReason:
    match error:
        case TimeoutError():
            return "timeout"
        case socket.gaierror():
            return "dns"
        case ssl.SSLError():
            return "tls"
        case _:
            return "refused"


def _words(error: ssl.SSLError) -> str:
    """Return what OpenSSL says is wrong, without the names that it wanted to find."""
    reason = (error.reason or "").replace("_", " ").lower()
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{reason}: {error.verify_message.partition(',')[0]}"
    return reason
