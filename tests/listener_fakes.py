"""The public listener behind its real server, with a source and a pass-through that the test gives."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from aiohttp import ClientSession, TCPConnector, web
from yarl import URL

from proxy.ahead import AtOnce
from proxy.call import Answer, Call, Source, Subject
from proxy.connection import Begin
from proxy.events import Crashed, RequestEnded, RequestStarted
from proxy.listener import Listener
from proxy.paths import PathIndex
from proxy.provenance import provenance
from proxy.request_id import RequestIds
from proxy.server import HttpServer
from tests.clocks import FakeClock
from tests.gateway_fakes import Events
from tests.origins import Message, exchange, request, serving, until
from tests.sandbox_client import Got
from tests.tables import routes

Passing = Callable[[web.BaseRequest, str], Awaitable[web.StreamResponse]]
SUBJECT = Subject("service", "activity-proxy", "Activity Proxy")


@dataclass
class Recorded:
    """A source that keeps the calls and gives one answer."""

    answer: Answer = field(default_factory=lambda: Answer(200, b'{"id":"1_cats"}', "gateway"))
    calls: list[Call] = field(default_factory=list)

    async def __call__(self, call: Call) -> Answer:
        """Answer."""
        self.calls.append(call)
        return self.answer

    @property
    def call(self) -> Call:
        """The only call."""
        (call,) = self.calls
        return call


@dataclass
class Passed:
    """A pass-through that keeps the targets and answers 204."""

    targets: list[str] = field(default_factory=list)

    async def __call__(self, request: web.BaseRequest, target: str) -> web.StreamResponse:
        """Answer."""
        self.targets.append(target)
        return web.Response(status=204)


@dataclass
class Bench:
    """A listener at work."""

    port: int
    server: HttpServer
    session: ClientSession
    source: Recorded
    passed: Passed
    events: Events

    async def send(self, method: str, target: str, **kw: Any) -> Got:
        """Send a request and return the whole answer."""
        url = URL(f"http://127.0.0.1:{self.port}{target}", encoded=True)
        async with self.session.request(method, url, **kw) as got:
            return Got(got.status, got.headers.copy(), await got.read())

    async def raw(self, start: bytes, *fields: bytes, body: bytes = b"") -> Message:
        """Send the bytes of a request on a connection of its own."""
        return await exchange(self.port, request(start, *fields, body=body))

    async def refused(self, method: str, target: str, **kw: Any) -> tuple[int, str]:
        """Send a request that is answered with an error in the error shape; return status and code."""
        got = await self.send(method, target, **kw)
        body = got.json()
        assert set(body) == {"error", "message", "code", "requestId"}
        assert body["requestId"] == got.headers["X-Request-Id"]
        assert got.headers["Cache-Control"] == "no-store"
        assert got.headers["Content-Type"] == "application/json; charset=utf-8"
        assert "Activity-Proxy-Source" not in got.headers
        return got.status, body["code"]

    async def ended(self) -> RequestEnded:
        """Return how the only request ended; it started once and ended once."""
        await until(lambda: bool(self.events.of(RequestEnded)))
        await asyncio.sleep(0)
        (ended,) = self.events.of(RequestEnded)
        assert self.events.of(RequestStarted) == [RequestStarted("public")]
        return ended

    @property
    def crashed(self) -> list[Crashed]:
        """What went wrong in the sidecar itself."""
        return self.events.of(Crashed)


async def nobody(_: object) -> Subject:
    """Recognise no caller."""
    return SUBJECT


@asynccontextmanager
async def listening(
    answer: Source | None = None,
    passing: Passing | None = None,
    at_once: AtOnce | None = None,
    beginning: Callable[[Listener], Begin] | None = None,
    keepalive_timeout: float = 75.0,
    **changes: Any,
) -> AsyncIterator[Bench]:
    """Run a listener with the plan's routes; `changes` are fields of it."""
    source, passed, events = Recorded(), Passed(), Events()
    table = routes("plan")
    listener = Listener(
        routes=PathIndex.of([(route.match, name) for name, route in table.items()]),
        route=lambda name: table[name],
        answer=answer or source,
        pass_through=passing or passed,
        client_address=lambda request: request.remote or "",
        subject=SUBJECT,
        recognise=nobody,
        total=8.0,
        max_body=1000,
        body_timeout=8.0,
        fields=provenance,
        request_ids=RequestIds(bytes(16)),
        clock=FakeClock(),
        observe=events.append,
    )
    listener = replace(listener, **changes)
    async with (
        serving(
            listener,
            at_once=at_once,
            beginning=None if beginning is None else beginning(listener),
            keepalive_timeout=keepalive_timeout,
            clock=changes.get("clock"),
        ) as (port, server),
        ClientSession(connector=TCPConnector(force_close=True)) as session,
    ):
        yield Bench(port, server, session, source, passed, events)
