"""The TLS contexts in use, and a look at their files now and then: what is new is taken over by itself."""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from proxy.clock import Clock
from proxy.events import CertificateChanged, Observe, TlsName
from proxy.tls import HTTP, Pem, TlsFiles, TlsMistake, client_context, renew, server_context

PERIOD: Final = 5.0
"""Seconds between two looks at the content: Kubernetes swaps a link, which no watch of a file sees."""


@dataclass(slots=True)
class _InUse:
    """A context, the content that it has, and what was last told of newer content that is of no use."""

    context: ssl.SSLContext
    files: TlsFiles
    held: Pem
    trouble: str | None = None


@dataclass(slots=True)
class Certificates:
    """Makes the contexts of a sidecar and keeps them up to date.

    New content that does not hold together (half written, a key of another certificate) changes nothing and
    is told once, and tried again at every look: it may be whole by then, or what it lacked be there.
    """

    clock: Clock
    observe: Observe
    _in_use: dict[TlsName, _InUse] = field(default_factory=dict)

    def client(self, name: TlsName, files: TlsFiles) -> ssl.SSLContext:
        """Return a context for calling the server of that name. Raises `TlsMistake`."""
        protocols = () if name == "cache" else HTTP
        return self._make(name, files, lambda pem: client_context(pem, protocols))

    def server(self, name: TlsName, files: TlsFiles) -> ssl.SSLContext:
        """Return a context for the listener of that name. Raises `TlsMistake`."""
        return self._make(name, files, server_context)

    async def run(self) -> None:
        """Look at the files until cancelled."""
        while True:
            await self.clock.sleep(PERIOD)
            await self.look()

    async def look(self) -> None:
        """Look at all files once."""
        for name, used in [*self._in_use.items()]:  # a listener may be added during the look
            seen = await asyncio.to_thread(_content, used.files)  # a volume may be slow
            if seen == used.held and used.trouble is None:
                continue
            try:
                if isinstance(seen, TlsMistake):
                    raise seen
                renew(used.context, used.held, seen)
            except TlsMistake as mistake:
                said = f"{mistake.part} {mistake}"
                if said != used.trouble:
                    used.trouble = said
                    self.observe(CertificateChanged(name, "kept", said))
            else:
                used.held, used.trouble = seen, None
                self.observe(CertificateChanged(name, "loaded"))

    def _make(self, name: TlsName, files: TlsFiles, make: Callable[[Pem], ssl.SSLContext]) -> ssl.SSLContext:
        if name not in self._in_use:  # answers and sessions share one Redis
            pem = files.read()
            self._in_use[name] = _InUse(make(pem), files, pem)
        return self._in_use[name].context


def _content(files: TlsFiles) -> Pem | TlsMistake:
    try:
        return files.read()
    except TlsMistake as mistake:
        return mistake
