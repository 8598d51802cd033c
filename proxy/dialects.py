"""Which route table a route is taken from: a fixed one, or `auto`, which asks the gateway.

`auto` asks two harmless questions when the gateway is first reached, after an outage, and when a call turns
out not to exist there; until it knows, it follows `plan`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

import orjson
from aiohttp import ClientError, ClientSession, hdrs
from yarl import URL

from proxy.call import Answer, Call, FailureKind, Source, SourceFailed, Value
from proxy.clock import Clock
from proxy.events import AttemptEnded, DialectChosen, Event, Observe
from proxy.frozen import frozen
from proxy.grant import TokenError
from proxy.outage import is_back, is_trouble
from proxy.paths import CallTemplate
from proxy.protocols import Tokens
from proxy.route import Route

Dialect = Literal["plan", "newer"]
ASKED = frozenset({"session", "videos"})
AGAIN_AFTER = 30.0
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
ANY_VIDEO = "1_00000000"
_MAX_ANSWER = 1024 * 1024
_NO_SUCH_ROUTE = frozenset({404, 405})  # without a JSON error
_OF_THE_CALL = frozenset({400, 404, 405, 409, 413, 422})  # nothing but the call itself answers so


@frozen
class Finding:
    """What a question showed: the table to take the route from, and why in a few words."""

    dialect: Dialect
    why: str


Ask = Callable[[], Awaitable[Mapping[str, Finding]]]
"""Asks the gateway; findings by the name of the route. A route it could not settle is left out."""


class Dialects(Protocol):
    """Knows the route that is in force for each name."""

    def route(self, name: str) -> Route:
        """Return the route."""
        ...

    def chosen(self) -> Mapping[str, Finding]:
        """Return what was chosen, and why, by the name of the route."""
        ...


@frozen
class FixedDialect:
    """One route table, named by the operator."""

    table: Mapping[str, Route]

    def route(self, name: str) -> Route:
        """Return the table's route."""
        return self.table[name]

    def chosen(self) -> Mapping[str, Finding]:
        """Return nothing: nothing was chosen."""
        return {}


@dataclass(slots=True)
class AutoDialect:
    """Takes each route from the table that the gateway at hand supports."""

    plan: Mapping[str, Route]
    newer: Mapping[str, Route]
    ask: Ask
    clock: Clock
    observe: Observe
    _findings: dict[str, Finding] = field(default_factory=dict)
    _asking: asyncio.Task[bool] | None = None
    _asked_at: float | None = None
    _due: asyncio.Event = field(default_factory=asyncio.Event)
    _troubled: bool = False
    _later: asyncio.Task[None] | None = None

    def route(self, name: str) -> Route:
        """Return the route as far as it is known, `plan`'s until then."""
        finding = self._findings.get(name)
        table = self.newer if finding is not None and finding.dialect == "newer" else self.plan
        return table[name]

    def chosen(self) -> Mapping[str, Finding]:
        """Return the findings so far."""
        return self._findings

    def notice(self, event: Event) -> None:
        """Take note of an event: after an outage the questions are due again.

        A breaker that closed makes them due at once. So does, where none opened, the first answer after
        trouble, but at most once in half a minute.
        """
        if is_back(event):
            self._troubled = False
            self._due.set()
        elif is_trouble(event):
            self._troubled = True
        elif self._troubled and isinstance(event, AttemptEnded) and event.outcome in {"ok", "missing"}:
            self._troubled = False
            if self._later is None or self._later.done():
                self._later = asyncio.create_task(self._be_due())

    async def run(self) -> None:
        """Ask until the gateway answers, and again whenever it is due; ends by cancellation."""
        while True:
            pause = FIRST_PAUSE
            while not await self.settle():
                await self.clock.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            await self._due.wait()
            self._due.clear()

    async def settle(self) -> bool:
        """Ask now, together with whoever asks at the same time. True when every question was answered."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
        return await asyncio.shield(self._asking)

    async def aclose(self) -> None:
        """Stop a question that is on its way, or due."""
        tasks = [task for task in (self._asking, self._later) if task is not None and not task.done()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def reconsider(self, route: Route) -> Route:
        """Ask again because `route` does not exist at the gateway, and return the route now in force.

        Only where there is a choice, and at most once in half a minute, so that a route that exists nowhere
        does not double the calls; but whoever comes while a question is on its way waits for its answer.
        """
        in_force = self.route(route.name)
        if in_force is route and route.name in ASKED and self._may_ask_again():
            self._asked_at = self.clock.monotonic()
            await self.settle()
        return self.route(route.name)

    def _may_ask_again(self) -> bool:
        if self._asked_at is None or (self._asking is not None and not self._asking.done()):
            return True
        return self._too_soon() <= 0

    def _too_soon(self) -> float:
        """Return the seconds until the questions may be asked once more."""
        if self._asked_at is None:
            return 0.0
        return self._asked_at + AGAIN_AFTER - self.clock.monotonic()

    async def _be_due(self) -> None:
        while (wait := self._too_soon()) > 0:
            await self.clock.sleep(wait)
        self._due.set()

    async def _ask(self) -> bool:
        findings = await self.ask()
        if findings:
            self._asked_at = self.clock.monotonic()
        for name, finding in findings.items():
            if self._findings.get(name) != finding:
                self._findings[name] = finding
                self.observe(DialectChosen(name, finding.dialect, finding.why))
        return findings.keys() >= ASKED


@frozen
class Questions:
    """Asks the gateway, as the service, the two questions.

    Does the plan's session call exist, and does the plan's list honour paging? Both are asked with the plan's
    own route table, so an edited table asks its own calls. `timeout` is in seconds, for each question;
    `scope` gives the values, other than inputs, that the body of a call may hold.
    """

    base: str
    session: ClientSession
    tokens: Callable[[], Tokens]
    plan: Mapping[str, Route]
    timeout: float
    scope: Callable[[], Mapping[str, object]] = dict

    async def __call__(self) -> Mapping[str, Finding]:
        """Return what was found; what could not be settled is left out."""
        session, videos = await asyncio.gather(self._session(), self._videos())
        found = {"session": session, "videos": videos}
        return {name: finding for name, finding in found.items() if finding is not None}

    async def _session(self) -> Finding | None:
        exchange = await self._exchange(self.plan["session"])
        if exchange is None:
            return None
        status, content = exchange
        error = content.get("error") if isinstance(content, dict) else None
        if status in _NO_SUCH_ROUTE and error is None:
            return Finding("newer", f"the session call does not exist ({status})")
        if isinstance(content, dict) and (200 <= status < 300 or status in _OF_THE_CALL):
            return Finding("plan", f"the session call exists (it answered {status})")
        return None

    async def _videos(self) -> Finding | None:
        exchange = await self._exchange(self.plan["videos"])
        if exchange is None:
            return None
        status, content = exchange
        videos = content.get("videos") if isinstance(content, dict) else None
        if status != 200 or not isinstance(videos, list):
            return None
        if len(videos) <= 1:
            return Finding("plan", "the list honours paging")
        return Finding("newer", f"the list ignores paging ({len(videos)} videos for a page of 1)")

    async def _exchange(self, route: Route) -> tuple[int, object] | None:
        if route.call is None:
            return None
        tokens = self.tokens()
        try:
            async with asyncio.timeout(self.timeout):
                token = await tokens.get()
                status, body = await self._answer(route, route.call, token.value)
        except (TokenError, ClientError, OSError):  # a timeout is an OSError
            return None
        if status == 401:
            tokens.void(token.generation)
        try:
            return status, orjson.loads(body)
        except orjson.JSONDecodeError:
            return status, None

    async def _answer(self, route: Route, call: CallTemplate, token: str) -> tuple[int, bytes]:
        values = _sample(route)
        headers = {hdrs.ACCEPT: "application/json", hdrs.AUTHORIZATION: f"Bearer {token}"}
        data = None
        if route.send is not None:
            data = orjson.dumps(route.send.render({**self.scope(), **values}))
            headers[hdrs.CONTENT_TYPE] = "application/json"
        async with self.session.request(
            call.method,
            URL(self.base + call.render(values), encoded=True),
            data=data,
            headers=headers,
            allow_redirects=False,
        ) as response:
            body = bytearray()
            async for chunk in response.content.iter_chunked(65536):
                body += chunk
                if len(body) > _MAX_ANSWER:
                    break
            return response.status, bytes(body)


def _sample(route: Route) -> dict[str, Value]:
    """Return values for a harmless question: one of everything, and a video that nobody has."""
    return {
        name: 1 if wanted.type == "integer" else wanted.default or ANY_VIDEO
        for name, wanted in route.inputs.items()
    }


@frozen
class Adapting:
    """A source that asks `gateway` again by another table when a call turns out not to exist there."""

    gateway: Source
    dialects: AutoDialect

    async def __call__(self, call: Call) -> Answer:
        """Return the gateway's answer. Raises `SourceFailed`."""
        try:
            return await self.gateway(call)
        except SourceFailed as error:
            if error.failure.kind is not FailureKind.NO_SUCH_ROUTE:
                raise
            route = await self._reconsidered(call)
            if route is call.route:
                raise
        return await self.gateway(replace(call, route=route))

    async def _reconsidered(self, call: Call) -> Route:
        try:
            async with asyncio.timeout(call.deadline - self.dialects.clock.monotonic()):
                return await self.dialects.reconsider(call.route)
        except TimeoutError:  # the question goes on without this call
            return call.route
