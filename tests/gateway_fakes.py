"""A gateway that answers by script, and stand-ins for the neighbours of the source `gateway`."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field, replace
from http import HTTPStatus
from typing import Any, TypeVar

from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector

from proxy.call import Answer, Call, Failure, FailureKind, SourceFailed, Subject, Value
from proxy.clock import Clock
from proxy.events import Event
from proxy.gateway import Gateway
from proxy.gateway_client import GatewayClient
from proxy.grant import TokenError
from proxy.protocols import Breaker, Tokens
from proxy.route import Route
from proxy.tokens import Token
from tests.clocks import FakeClock
from tests.origins import PATIENCE, Origin, Reader, Writer, raw_origin, read_message
from tests.origins import reset as abort
from tests.tables import Dialect, a_call, request, routes

E = TypeVar("E")
Step = bytes | Callable[[Reader, Writer], Awaitable[None]]
"""An answer that leaves the connection open, or something to do with it before it is closed."""

SUBJECT = Subject("service", "activity-proxy", "Activity Proxy", ("Moderator",))
CATS = {"id": "1_cats", "title": "Cats", "createdAt": "2026-01-01T00:00:00.000Z"}
HTML = b"<!DOCTYPE html><pre>Cannot GET</pre>"
NOW = 1_795_395_189.0


class Events(list[Event]):
    """What was observed, in its order."""

    def of(self, kind: type[E]) -> list[E]:
        """Return the events of one kind."""
        return [event for event in self if isinstance(event, kind)]


@dataclass(frozen=True)
class Retry:
    """The settings of the retries. Delays are what the dice make of them, and they show 0."""

    attempts: int = 3
    initial: float = 0.1
    max: float = 2.0


@dataclass
class FakeTokens:
    """Gives `token-1` until it is voided, then `token-2`, and so on; or `error`, from a generation on."""

    error: TokenError | None = None
    error_from: int = 1
    generation: int = 1
    asked: int = 0
    voided: list[int] = field(default_factory=list)
    given: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.given.set()

    def at_hand(self) -> Token | None:
        """Return none: each is asked for."""
        return None

    async def get(self) -> Token:
        """Return the token in hand, when it may be given."""
        self.asked += 1
        await self.given.wait()
        if self.error is not None and self.generation >= self.error_from:
            raise self.error
        return Token(f"token-{self.generation}", self.generation)

    def void(self, generation: int) -> None:
        """Go on to the next token."""
        self.voided.append(generation)
        if generation == self.generation:
            self.generation += 1


@dataclass
class FakePermit:
    """Keeps the first word that it is told."""

    word: str | None = None
    seconds: float | None = None

    def _keep(self, word: str, seconds: float | None) -> None:
        if self.word is None:
            self.word, self.seconds = word, seconds

    def success(self, seconds: float) -> None:
        """Keep `success`."""
        self._keep("success", seconds)

    def failure(self, seconds: float) -> None:
        """Keep `failure`."""
        self._keep("failure", seconds)

    def cancel(self) -> None:
        """Keep `cancel`."""
        self._keep("cancel", None)

    def hold_open(self, seconds: float) -> None:
        """Keep `hold_open`."""
        self._keep("hold_open", seconds)


@dataclass
class FakeBreaker:
    """Gives `left` permits and is open then."""

    left: int = 1000
    permits: list[FakePermit] = field(default_factory=list)

    def acquire(self) -> FakePermit:
        """Return a permit. Raises `SourceFailed` when there is none left."""
        if self.left == 0:
            failure = Failure("gateway", FailureKind.BREAKER_OPEN, "the breaker is open", retry_after=7.0)
            raise SourceFailed(failure)
        self.left -= 1
        self.permits.append(FakePermit())
        return self.permits[-1]

    @property
    def told(self) -> list[str | None]:
        """What each permit was told."""
        return [permit.word for permit in self.permits]


def http(status: int, body: object = None, **headers: str) -> bytes:
    """Return an answer: `body` as it is where it is bytes, else as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    kind = "application/json; charset=utf-8" if not isinstance(body, bytes) else "text/html"
    fields = {"Content-Type": kind, "Content-Length": str(len(content))}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{k}: {v}" for k, v in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode() + content


FOUND = http(200, {"video": CATS})
BROKEN = http(500, {"error": "Internal Server Error"})


@dataclass
class Hang:
    """Says what it is given, and then nothing until the other side has gone."""

    said: bytes = b""
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, reader: Reader, writer: Writer) -> None:
        """Hang."""
        writer.write(self.said)
        await writer.drain()
        self.reached.set()
        try:
            await reader.read()
        finally:
            self.left.set()


@dataclass(frozen=True)
class Part:
    """Says what it is given and breaks the connection."""

    said: bytes = b""

    async def __call__(self, reader: Reader, writer: Writer) -> None:
        """Break off."""
        writer.write(self.said)
        await writer.drain()


async def reset(_reader: Reader, writer: Writer) -> None:
    """Break the connection as a process does that dies (RST)."""
    abort(writer)


@asynccontextmanager
async def scripted(*steps: Step) -> AsyncIterator[Origin]:
    """Run a gateway that goes through the steps, request by request, the last one ever after."""
    left = list(steps)

    async def serve(reader: Reader, writer: Writer) -> None:
        while True:
            origin.received.append(await read_message(reader))
            step = left.pop(0) if len(left) > 1 else left[0]
            if not isinstance(step, bytes):
                await step(reader, writer)
                return
            writer.write(step)
            await writer.drain()

    async with raw_origin(serve) as origin:
        yield origin


Clients = Callable[[str], GatewayClient]


@asynccontextmanager
async def gateway_clients() -> AsyncIterator[Clients]:
    """Give a client for each base URL, and see at the end that none holds a connection."""
    made: dict[str, GatewayClient] = {}

    def client(base: str) -> GatewayClient:
        if base not in made:
            made[base] = GatewayClient(base, connect_timeout=PATIENCE)
        return made[base]

    async with AsyncExitStack() as closing:
        yield client
        for each in made.values():
            await closing.enter_async_context(each)
            assert not each.in_use


@asynccontextmanager
async def gateway_session() -> AsyncIterator[ClientSession]:
    """Open a session as the sidecar has for the gateway, and see at the end that no connection is held."""
    async with ClientSession(
        connector=TCPConnector(limit=0),
        cookie_jar=DummyCookieJar(),
        timeout=ClientTimeout(total=None, sock_connect=PATIENCE),
    ) as session:
        session._retry_connection = False
        yield session
        assert session.connector is not None
        assert not session.connector._acquired


@dataclass
class FakeBudget:
    """A budget that allows so many retries and counts calls."""

    left: int = 1_000_000
    calls: int = 0

    def call(self) -> None:
        """Count a call."""
        self.calls += 1

    def allow(self) -> bool:
        """Take a retry."""
        self.left -= 1
        return self.left >= 0


@dataclass
class Bench:
    """The source `gateway` with its neighbours, in front of a gateway at `base`.

    `keeper` and `guard` stand where `tokens` and `breaker` are not to be the fakes.
    """

    base: str
    clients: Clients
    clock: Clock
    retry: Retry = field(default_factory=Retry)
    attempt_timeout: float = PATIENCE
    dice: float = 0.0
    tokens: FakeTokens = field(default_factory=FakeTokens)
    breaker: FakeBreaker = field(default_factory=FakeBreaker)
    events: Events = field(default_factory=Events)
    budget: FakeBudget = field(default_factory=FakeBudget)
    keeper: Tokens | None = None
    guard: Breaker | None = None

    @property
    def gateway(self) -> Gateway:
        """The source."""
        return Gateway(
            client=self.clients(self.base),
            tokens=lambda _subject: self.keeper or self.tokens,
            breakers=dict.fromkeys(("catalog", "playback", "gateway"), self.guard or self.breaker),
            retry=self.retry,
            budget=self.budget,
            attempt_timeout=self.attempt_timeout,
            scope=lambda: {"now": NOW, "partnerId": "42"},
            clock=self.clock,
            random=lambda: self.dice,
            observe=self.events.append,
        )

    async def ask(
        self,
        name: str = "video",
        values: Mapping[str, Value] | None = None,
        *,
        total: float = PATIENCE,
        route: Route | None = None,
    ) -> Answer:
        """Call a route of the plan, or one that is given."""
        wanted = route or routes("plan")[name]
        call = a_call(wanted, {"videoId": "1_cats"} if values is None else values)
        return await self.gateway(replace(call, subject=SUBJECT, deadline=self.clock.monotonic() + total))

    async def fail(
        self, name: str = "video", values: Mapping[str, Value] | None = None, **kw: Any
    ) -> Failure:
        """Call a route that cannot be answered, and return why."""
        try:
            answer = await self.ask(name, values, **kw)
        except SourceFailed as error:
            return error.failure
        raise AssertionError(f"answered {answer.status}")


@asynccontextmanager
async def bench(*steps: Step, **changes: Any) -> AsyncIterator[tuple[Bench, Origin]]:
    """Put the source in front of a gateway with that script; `changes` are fields of the bench."""
    async with scripted(*steps) as origin, gateway_clients() as clients:
        settings: dict[str, Any] = {"clock": FakeClock(), **changes}
        yield Bench(f"{origin.url.origin()}/api", clients, **settings), origin


@contextmanager
def nowhere() -> Iterator[str]:
    """Hold a port that refuses connections, and give the base URL of a gateway that might be there."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/api"


def call_of(
    dialect: Dialect,
    method: str,
    target: str,
    body: Mapping[str, object] | None = None,
    deadline: float = 8.0,
) -> Call:
    """Return the call that a client's request makes."""
    route, values = request(dialect, method, target, body)
    return replace(a_call(route, values), deadline=deadline)


def content(answer: Answer) -> Any:
    """Return the JSON of an answer, as the client would read it but for the request's id."""
    if answer.problem is not None:
        return asdict(answer.problem)
    return json.loads(answer.body)
