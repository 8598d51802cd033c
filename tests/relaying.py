"""A listener with a relay before it, in front of a raw Activity server that does as the test says."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.http import RawRequestMessage

from proxy.ahead import AtOnce, Begun
from proxy.beginning import Beginning, open_beginning
from proxy.call import Answer, Call, Source
from proxy.connection import Begin, ClientConnection, begun
from proxy.events import Event, RequestEnded
from proxy.headers import Clients, Network
from proxy.listener import Listener
from proxy.origin import Origin as ActivityServer
from proxy.passthrough import PassThrough
from proxy.request_id import RequestIds
from proxy.tunnel import Tunnels
from tests.clocks import FakeClock
from tests.gateway_fakes import Events
from tests.listener_fakes import Bench, listening
from tests.origins import (
    OK,
    PATIENCE,
    Message,
    Origin,
    Reader,
    Writer,
    client,
    raw_origin,
    read_message,
    request,
    until,
)

PRIME = request(b"GET /prime")
"""Goes the listener's way, as no connection is at hand yet, and leaves one."""
KEPT = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nkept"
_ALWAYS = {b"/prime": OK, b"/kept": KEPT, b"/up": OK.replace(b"ok", b"up")}
_ALWAYS[b"/down"] = KEPT.replace(b"kept", b"down")


@dataclass
class Script:
    """What the Activity server sends, each item in answer to one request; None closes instead.

    `received` are the bytes of the requests' heads. An item of several pieces is sent one by one.
    """

    answers: list[tuple[bytes, ...] | None]
    received: list[Message] = field(default_factory=list)
    hold: asyncio.Event | None = None
    """While there is one that is not set, answers wait."""

    async def __call__(self, reader: Reader, writer: Writer) -> None:
        """Serve one connection."""
        while True:
            got = await read_message(reader)
            self.received.append(got)
            if got.target in _ALWAYS:
                writer.write(_ALWAYS[got.target])
                continue
            answer = self.answers.pop(0)
            if self.hold is not None:
                await self.hold.wait()
            if answer is None:
                return
            for piece in answer:
                writer.write(piece)
                await asyncio.sleep(0.001)


@dataclass
class Relaying:
    """A relay at work. `begun` are the requests that it began, `resumed` those that were handed over."""

    listener: Bench
    script: Script
    origin: Origin
    upstream: ActivityServer
    built: list[Beginning]
    events: Events
    clock: FakeClock
    begun: list[bytes]
    resumed: list[bytes]

    @property
    def running(self) -> int:
        """Requests under way, as the server counts them."""
        return self.listener.server.running

    @property
    def beginning(self) -> Beginning:
        """What begins them."""
        return self.built[0]

    async def primed(self, reader: Reader, writer: Writer) -> None:
        """Have a connection to the Activity server at hand, and forget how."""
        writer.write(PRIME)
        assert (await read_message(reader)).body == b"ok"
        await until(lambda: bool(self.events.of(RequestEnded)) and not self.running)
        self.events.clear()
        self.script.received.clear()


@asynccontextmanager
async def relaying(
    *answers: bytes | tuple[bytes, ...] | None,
    at_once: AtOnce | None = None,
    answer: Source | None = None,
    learn: Callable[[str, Call, Answer], None] = lambda *_: None,
    relayed: bool = True,
    trusted: tuple[Network, ...] = (),
    admit: Callable[[str], Mapping[str, str] | None] | None = None,
    keepalive_timeout: float = 75.0,
) -> AsyncIterator[Relaying]:
    """Run all three; without a relay if it is not `relayed`. Nothing may be left of any request."""
    script = Script([(answer,) if isinstance(answer, bytes) else answer for answer in answers])
    events, clock, request_ids = Events(), FakeClock(), RequestIds(b"r" * 16)
    started: list[bytes] = []
    resumed: list[bytes] = []
    tunnels = Tunnels()
    async with raw_origin(script) as origin, ActivityServer(origin.url) as upstream:
        pass_through = PassThrough(upstream, tunnels.splice, trusted)
        built: list[Beginning] = []

        def beginning(listener: Listener) -> Begin:
            built.append(open_beginning(listener, pass_through, Clients(trusted), admit))

            def counted(message: RawRequestMessage, connection: ClientConnection) -> Begun | None:
                found = built[0](message, connection)
                if found is not None:
                    started.append(message.path.encode(errors="surrogateescape"))
                return found

            return counted

        def take(asked: web.BaseRequest) -> Begun | None:
            found = begun(asked)
            if found is not None:
                resumed.append(asked.raw_path.encode(errors="surrogateescape"))
            return found

        async def admitted(asked: web.BaseRequest) -> Mapping[str, str] | None:
            return None if admit is None else admit(asked.remote or "")

        async with listening(
            answer,
            passing=pass_through,
            at_once=at_once,
            beginning=beginning if relayed else None,
            keepalive_timeout=keepalive_timeout,
            client_address=lambda asked: Clients(trusted)(asked.remote, asked.headers),
            request_ids=request_ids,
            clock=clock,
            observe=events.append,
            admit=admitted,
            begun=take,
            learn=learn,
        ) as listener:
            yield Relaying(listener, script, origin, upstream, built, events, clock, started, resumed)
            await until(lambda: not listener.server.running)
            assert not upstream.in_use
            assert not tunnels


@dataclass
class Seen:
    """What an exchange looked like from each side."""

    got: list[bytes]
    received: list[Message]
    events: list[Event]
    begun: int
    resumed: int


async def seen(
    sent: tuple[bytes, ...],
    answers: tuple[Any, ...],
    *,
    relayed: bool,
    **settings: Any,
) -> Seen:
    """Make the requests one after the other on one connection, and say what was seen of them."""
    async with (
        relaying(*answers, relayed=relayed, **settings) as it,
        client(it.listener.port) as (reader, writer),
    ):
        await it.primed(reader, writer)
        got = []
        for each in sent:
            writer.write(each)
            got.append(await whole(reader))
            await until(lambda: not it.running)
        return Seen(got, it.script.received, [*it.events], len(it.begun), len(it.resumed))


async def whole(reader: asyncio.StreamReader) -> bytes:
    """All that comes, until nothing has for a while."""
    async with asyncio.timeout(PATIENCE):
        got = await reader.read(1_000_000)
    while True:
        try:
            async with asyncio.timeout(0.02):
                piece = await reader.read(1_000_000)
        except TimeoutError:
            return without_date(got)
        if not piece:
            return without_date(got) + b"<end>"
        got += piece


def without_date(got: bytes) -> bytes:
    """An answer less the date that we put in."""
    head, blank, body = got.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not (line.startswith(b"Date: ") and b"GMT" in line)]
    return b"\r\n".join(lines) + blank + body


async def alike(sent: tuple[bytes, ...], answers: tuple[Any, ...] = (), **settings: Any) -> tuple[int, int]:
    """See that both ways look the same, and return how many requests were begun and handed over."""
    at_once = await seen(sent, answers, relayed=True, **settings)
    slowly = await seen(sent, answers, relayed=False, **settings)
    assert at_once.got == slowly.got
    assert at_once.received == slowly.received
    assert at_once.events == slowly.events
    assert slowly.begun == 0
    return at_once.begun, at_once.resumed
