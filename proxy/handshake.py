"""TLS on a listener's connections, which count from their first moment.

asyncio tells a protocol of a connection once its handshake is over. Who begins handshakes and ends none
could so take any number of connections that nobody knows of.
"""

import asyncio
import ssl
from asyncio.sslproto import SSLProtocol
from collections.abc import Callable
from typing import cast

UnderWay = dict[asyncio.BaseProtocol, asyncio.Transport]
"""By the protocols that wait for their end, the connections on which handshakes are under way."""


class Handshake(SSLProtocol):
    """TLS of one accepted connection, which `protocol` is told of when its handshake is over.

    `room` tells whether there is a place for the handshake, else the connection is cut. `protocol` takes
    itself out of `under_way` when it is told. `timeout` is how many seconds a handshake may take; `late` is
    called for one that has taken longer.
    """

    def __init__(
        self,
        protocol: asyncio.Protocol,
        context: ssl.SSLContext,
        timeout: float,
        under_way: UnderWay,
        room: Callable[[], bool],
        late: Callable[[], None],
    ) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(
            loop,
            protocol,
            context,
            None,  # type: ignore[arg-type]  # nobody waits; asyncio itself passes None at times
            server_side=True,
            ssl_handshake_timeout=timeout,  # type: ignore[arg-type]  # seconds, and parts of them
        )
        self._protocol: asyncio.Protocol | None = protocol
        self._under_way = under_way
        self._room = room
        self._late = late

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake, if there is a place for it."""
        tcp = cast("asyncio.Transport", transport)
        if self._protocol is None or not self._room():
            tcp.abort()
            return
        self._under_way[self._protocol] = tcp
        super().connection_made(tcp)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Give the place back, where the handshake still has it."""
        if self._protocol is not None:
            waited = self._under_way.pop(self._protocol, None) is not None
            self._protocol = None
            if waited and isinstance(exc, ConnectionAbortedError):  # so asyncio ends those that take too long
                self._late()
        super().connection_lost(exc)
