"""The running sidecar: two listeners and all that is behind them, from start to stop."""

import asyncio
import logging
import os
import random
import ssl
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict
from types import TracebackType
from typing import Self
from uuid import uuid4

from proxy import __version__
from proxy.admin import Admin
from proxy.assembly import Parts, assemble
from proxy.bounds import Bounds
from proxy.clock import Clock, SystemClock
from proxy.configuration import Configuration
from proxy.endpoints import HostPort
from proxy.events import LifeCycle, Ready
from proxy.operations import operations
from proxy.server import HttpServer, public_server
from proxy.template import iso_time
from proxy.workshop import cancelled

DRAIN = 1.0
"""Seconds between being no longer ready and no longer listening, for load balancers to notice."""
GRACE = 25.0
"""Seconds that running requests have to end in."""
ADMIN_BOUNDS = Bounds(connections=200)
"""What the admin listener takes, whatever the public one does: not so much that viewers find no room."""
GOING_AWAY = 1001


class Sidecar:
    """Serves the public and the admin listener.

    `drain` and `grace` are in seconds. After `start`, `listen` and `admin` are the addresses really bound.
    """

    def __init__(
        self,
        configuration: Configuration,
        *,
        clock: Clock | None = None,
        chance: Callable[[], float] = random.random,
        drain: float = DRAIN,
        grace: float = GRACE,
    ) -> None:
        self.configuration = configuration
        self.listen = configuration.settings.listen
        self.admin = configuration.settings.admin
        self.ready = False
        self._clock: Clock = clock or SystemClock()
        self._chance = chance
        self._drain = drain
        self._grace = grace
        self._started_at = 0.0
        self._resources = AsyncExitStack()
        self._servers: list[tuple[HttpServer, asyncio.Server]] = []
        self._parts: Parts | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def parts(self) -> Parts:
        """What the sidecar is made of, once it has started."""
        if self._parts is None:
            raise RuntimeError("the sidecar has not started")
        return self._parts

    async def start(self) -> None:
        """Bind both listeners and start what runs beside them.

        Raises `OSError` for an address in use, `TlsMistake` for files that have gone bad since the check.
        """
        settings = self.configuration.settings
        self._started_at = self._clock.time()
        try:
            public, self._parts = await assemble(
                self.configuration, clock=self._clock, random=self._chance, resources=self._resources
            )
            tls = self._parts.server_tls("listen", settings.listen_tls)
            self.listen = await self._serve(public, settings.listen, tls)
            tls = self._parts.server_tls("admin", settings.admin_tls)
            self.admin = await self._serve(self._admin_server(self._parts), settings.admin, tls)
        except BaseException:
            await self._end(0.0)
            raise
        self.ready = True
        where = (str(self.listen), str(self.admin))
        self._parts.observe(Ready(__version__, settings.environment, settings.mode, *where))

    async def stop(self, *, at_once: bool = False) -> None:
        """Stop: no longer ready, then no longer listening, then what runs ends or is cut off.

        From the beginning on every answer ends its connection. All that is still open when listening ends has
        `grace` together: requests to be answered, WebSockets to answer a close frame with 1001. Stopping once
        more does nothing.
        """
        self.ready = False
        if self._servers and self._parts is not None:
            running = sum(server.running for server, _ in self._servers)
            self._parts.observe(LifeCycle("stopping", running, len(self._parts.tunnels)))
        for server, _ in self._servers:
            server.stopping = True
        if not at_once and self._servers:
            await self._clock.sleep(self._drain)
        await self._end(0.0 if at_once else self._grace)

    async def _end(self, grace: float) -> None:
        for server, listening in self._servers:
            listening.close()
            server.close_idle()
        waits = [server.idle(grace) for server, _ in self._servers]
        if self._parts is not None:
            waits.append(self._parts.tunnels.close(GOING_AWAY, grace))
        await asyncio.gather(*waits)
        for server, _ in self._servers:
            await server.cut()
        stopped = bool(self._servers)
        self._servers.clear()
        await self._resources.aclose()
        if stopped and self._parts is not None:
            self._parts.observe(LifeCycle("stopped"))

    async def _serve(self, server: HttpServer, where: HostPort, tls: ssl.SSLContext | None) -> HostPort:
        loop = asyncio.get_running_loop()
        try:
            listening = await loop.create_server(
                server if tls is None else server.over_tls(tls),
                where.host,
                where.port,
                backlog=1024,
                reuse_address=True,
            )
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else "no such address"
            raise OSError(error.errno, f"cannot listen at {where}: {reason}") from None
        self._servers.append((server, listening))
        self._resources.push_async_callback(cancelled, asyncio.create_task(server.run()))
        return HostPort(where.host, listening.sockets[0].getsockname()[1])

    def _admin_server(self, parts: Parts) -> HttpServer:
        settings = self.configuration.settings
        handler = Admin(
            ready=lambda: self.ready,
            exposition=parts.metrics.exposition,
            status=self.status,
            loopback=settings.admin.loopback,
            clock=self._clock,
            observe=parts.observe,
            admin_token=settings.admin_token.get_secret_value(),
            actions=operations(parts.breakers, parts.purge),
        )
        return public_server(
            handler,
            bounds=ADMIN_BOUNDS,
            new_request_id=lambda: uuid4().hex,
            logger=logging.getLogger(__name__),
            clock=self._clock,
            observe=parts.observe,
            listener="admin",
        )

    def status(self) -> Mapping[str, object]:
        """Return what an operator wants to know at a glance; nothing in it is secret."""
        settings, parts = self.configuration.settings, self.parts
        return {
            "version": __version__,
            "mode": settings.mode,
            "environment": settings.environment,
            "ready": self.ready,
            "started_at": iso_time(self._started_at),
            "activity": settings.activity.url,
            "gateway": settings.gateway.url,
            "dialect": {
                "configured": settings.gateway.dialect,
                "chosen": {name: asdict(found) for name, found in parts.dialects.chosen().items()},
            },
            "token": None if parts.tokens is None else asdict(parts.tokens.status),
            "kaltura": None
            if parts.kaltura is None
            else {"url": settings.kaltura.url, "session": asdict(parts.kaltura.status)},
            "identity": {
                "required": settings.identity.required,
                "users": None if parts.users is None else len(parts.users),
                "sessions": None if parts.sessions is None else _sizes(parts.sessions.size()),
            },
            "breakers": {
                name: {
                    "state": breaker.state,
                    "failure_ratio": breaker.failure_ratio,
                    "retry_after": breaker.retry_after,
                }
                for name, breaker in parts.breakers.items()
            },
            "cache": None if parts.store is None else _sizes(parts.store.size()),
            "websockets": len(parts.tunnels),
            "routes": {name: self._route(name) for name in next(iter(self.configuration.tables.values()))},
        }

    def _route(self, name: str) -> Mapping[str, object]:
        route = self.parts.dialects.route(name)
        return {
            "match": str(route.match),
            "call": None if route.call is None else str(route.call),
            "ladder": self.parts.policy.order(route),
        }


def _sizes(size: tuple[int, int] | None) -> Mapping[str, int | None]:
    """Name what a store holds; a Redis does not tell."""
    used, entries = size or (None, None)
    return {"bytes": used, "entries": entries}
