"""The addresses of a server's name: looked up once for all who wait, and believed for a short while.

A name that takes long to look up holds a thread until it is found. One for each connection that is wanted
would take all the threads there are, and with them those that other servers' names are looked up by.
"""

import asyncio
import math
import socket

from aiohappyeyeballs import AddrInfoType

BELIEVED = 10.0
"""Seconds that addresses are believed: a moved service is found soon."""


class Addresses:
    """The addresses of a host, each time beginning with another one."""

    __slots__ = ("_flight", "_found", "_host", "_loop", "_port", "_until")

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._loop = asyncio.get_running_loop()
        self._found: list[AddrInfoType] = []
        self._until = -math.inf
        self._flight: asyncio.Task[None] | None = None

    async def __call__(self) -> list[AddrInfoType]:
        """Return the addresses. Raises `OSError`."""
        if self._loop.time() >= self._until:
            await asyncio.shield(self._look_up())
        first, *others = found = self._found
        self._found = [*others, first]
        return found

    def forget(self) -> None:
        """Look them up anew the next time: there was no connection to be had at these."""
        self._until = -math.inf

    def close(self) -> None:
        """Look up nothing any more; who still waits for it is cancelled."""
        if self._flight is not None:
            self._flight.cancel()

    def _look_up(self) -> "asyncio.Task[None]":
        if self._flight is None:
            self._flight = self._loop.create_task(self._looking_up())
            self._flight.add_done_callback(self._looked_up)
        return self._flight

    async def _looking_up(self) -> None:
        found = await self._loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        # Here and not in the callback: who asks between the two must find them.
        self._found, self._until = [*found], self._loop.time() + BELIEVED

    def _looked_up(self, flight: "asyncio.Task[None]") -> None:
        self._flight = None
        if not flight.cancelled():
            flight.exception()  # asked for, so that one that nobody waited for is no complaint of the loop's
