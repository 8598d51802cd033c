"""What the parts have in common while they are put together."""

import asyncio
import ssl
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from proxy.breaker import Breaker
from proxy.certificates import Certificates
from proxy.clock import Clock
from proxy.configuration import Configuration
from proxy.events import Event, Observe, TlsName, Wants
from proxy.route import Route
from proxy.tls_settings import ServerTlsSettings, TlsSettings


@dataclass(slots=True)
class Observers:
    """Hands each event to everyone who listens: `listeners` get all of them."""

    listeners: list[Observe] = field(default_factory=list)
    _by_kind: dict[type, list[Observe]] = field(default_factory=dict)

    def listen(self, listener: Observe, *kinds: type) -> None:
        """Have a listener told of these kinds of events, and of no others: most requests make none."""
        for kind in kinds:
            self._by_kind.setdefault(kind, []).append(listener)

    def attach(self, wants: Wants) -> None:
        """Have an observer told of the kinds of events that it wants, each in its own way."""
        for kind, listener in wants.items():
            self.listen(listener, kind)

    def __call__(self, event: Event) -> None:
        """Tell all who want it."""
        for listener in self.listeners:
            listener(event)
        for listener in self._by_kind.get(type(event), ()):
            listener(event)


@dataclass(slots=True)
class Workshop:
    """The configuration, what is injected, and `resources`: what is to be closed or cancelled at the end."""

    configuration: Configuration
    clock: Clock
    random: Callable[[], float]
    resources: AsyncExitStack
    observe: Observers = field(default_factory=Observers)
    certificates: Certificates = field(init=False)

    def __post_init__(self) -> None:
        self.certificates = Certificates(self.clock, self.observe)

    def client_tls(self, name: TlsName, section: TlsSettings) -> ssl.SSLContext | None:
        """Return the context for calling a server; None when nothing is said of it. Raises `TlsMistake`."""
        files = self.configuration.tls_files(section)
        return self.certificates.client(name, files) if files else None

    def server_tls(self, name: TlsName, section: ServerTlsSettings) -> ssl.SSLContext | None:
        """Return the context of a listener; None when it is to have none. Raises `TlsMistake`."""
        files = self.configuration.tls_files(section)
        return self.certificates.server(name, files) if files else None

    @property
    def routes(self) -> list[Route]:
        """All routes of all tables in use."""
        return [route for table in self.configuration.tables.values() for route in table.values()]

    def run(self, job: Coroutine[None, None, None]) -> None:
        """Run a job beside the listeners until the resources are closed."""
        self.resources.push_async_callback(cancelled, asyncio.create_task(job))

    def breaker(self, name: str) -> Breaker:
        """Return a circuit breaker of that name, set as the configuration says for all of them."""
        settings = self.configuration.settings.gateway
        return Breaker(
            name,
            settings.breaker,
            clock=self.clock,
            random=self.random,
            observe=self.observe,
            lease=settings.timeout.total,
        )

    def scope(self) -> Mapping[str, object]:
        """Return the values that every template and mapping may use."""
        return {"now": self.clock.time(), "partnerId": self.configuration.settings.kaltura.partner_id}


async def cancelled(task: "asyncio.Task[None]") -> None:
    """Cancel a job and wait until it has ended."""
    task.cancel()
    await asyncio.wait({task})
