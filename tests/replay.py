"""A gateway that answers as a recording has it, and the whole way from the listener to it."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import parse_qsl

from proxy.caching import Keys, Stale
from proxy.call import Subject
from proxy.canned import Canned
from proxy.dialects import ANY_VIDEO, Adapting, AutoDialect, Questions
from proxy.ladder import Ladder, Policy
from proxy.memory_store import MemoryStore
from proxy.tokens import Token
from tests.clocks import FakeClock
from tests.gateway_fakes import NOW, Bench, FakeTokens, gateway_clients, gateway_session
from tests.listener_fakes import Bench as ListenerBench
from tests.listener_fakes import listening
from tests.origins import Message, Origin, Reader, Writer, raw_origin, read_message
from tests.recordings import Exchange, Recording, load
from tests.tables import PARTNER, mocks, routes

KNOWN, ABSENT = "1_e0000003", "1_absent00"
NELLY = Subject("service", "80351110224678912", "Nelly")


def recorded(exchanges: tuple[Exchange, ...], message: Message) -> Exchange:
    """Return what the recording has for a request.

    The list has one answer whatever its query, a refused token one on every path, and what is asked of a
    video that nobody has is answered as for the known one.
    """
    method, target, _ = message.start.decode().split(" ")
    target = target.replace(ANY_VIDEO, KNOWN)
    path, _, query = target.partition("?")
    authorization = (message.one("Authorization") or b"").decode()
    guarded = path.startswith(("/api/videos", "/api/kaltura/"))
    if guarded and authorization != f"Bearer {exchanges[0].answer['token']}":
        return next(it for it in exchanges if it.headers.get("authorization", "") == authorization)
    found = [
        exchange
        for exchange in exchanges
        if exchange.method == method
        and exchange.path.partition("?")[0] == path
        and (path == "/api/videos" or _pairs(exchange.path.partition("?")[2]) == _pairs(query))
        and (path != "/api/auth/token" or exchange.sent == message.body)
    ]
    assert found, f"{method} {target} was not recorded"
    return found[0]


def _pairs(query: str) -> list[tuple[str, str]]:
    return sorted(parse_qsl(query, keep_blank_values=True))


@asynccontextmanager
async def replaying(name: Recording) -> AsyncIterator[Origin]:
    """Run a gateway that answers as the recording has it."""
    exchanges = load(name)

    async def serve(reader: Reader, writer: Writer) -> None:
        while True:
            message = await read_message(reader)
            origin.received.append(message)
            exchange = recorded(exchanges, message)
            answer = exchange.answer
            body = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
            fields = {**exchange.answer_headers, "content-length": str(len(body))}
            head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
            writer.write(f"HTTP/1.1 {exchange.status} \r\n{head}\r\n".encode() + body)
            await writer.drain()

    async with raw_origin(serve) as origin:
        yield origin


class RecordedTokens(FakeTokens):
    """Gives a token that is refused, and then the one of the recording."""

    def __init__(self, name: Recording) -> None:
        super().__init__()
        login = load(name)[0]
        self.values = {1: "forged.token.here", 2: login.answer["token"]}

    def at_hand(self) -> Token | None:
        """Return none: each is asked for."""
        return None

    async def get(self) -> Token:
        """Return the token in hand."""
        return Token(self.values[self.generation], self.generation)


@dataclass
class Way:
    """The way from the listener to the recorded gateway."""

    listener: ListenerBench
    gateway: Bench
    origin: Origin
    dialects: AutoDialect


@asynccontextmanager
async def whole_way(name: Recording) -> AsyncIterator[Way]:
    """Put listener, ladder, `auto` and source together, with Nelly as the subject of the recording."""
    plan, newer = routes("plan"), routes("newer")

    def scope() -> Mapping[str, object]:
        return {"now": NOW, "partnerId": PARTNER}

    async def nelly(_: object) -> Subject:
        return NELLY

    async with replaying(name) as origin, gateway_clients() as clients, gateway_session() as session:
        base = f"{origin.url.origin()}/api"
        it = Bench(base, clients, FakeClock(), tokens=RecordedTokens(name))
        questions = Questions(base, session, lambda: it.tokens, plan, 5.0, scope)
        dialects = AutoDialect(plan, newer, questions, it.clock, it.events.append)
        ladder = Ladder(
            {
                "gateway": Adapting(it.gateway, dialects),
                "stale": Stale(MemoryStore(1024, it.clock), Keys(base), it.clock),
                "canned": Canned(mocks(), scope),
            },
            Policy("auto", production=False, named=frozenset()),
            it.events.append,
        )
        async with listening(ladder, route=dialects.route, subject=NELLY, recognise=nelly) as listener:
            yield Way(listener, it, origin, dialects)
