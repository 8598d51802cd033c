"""The source `kaltura` on a bench: in front of the stand-in, or of a Kaltura that answers by script."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from pydantic import SecretStr

from proxy.call import Answer, Call, Failure, SourceFailed, Value
from proxy.kaltura import Kaltura
from proxy.kaltura_api import KalturaApi
from proxy.kaltura_session import KalturaSessions
from proxy.protocols import Breaker, Tokens
from proxy.sandbox_kaltura import Kaltura as StandIn
from proxy.sandbox_port import Port
from proxy.tokens import TokenKeeper
from tests.clocks import FakeClock
from tests.gateway_fakes import Events, FakeBreaker, FakeTokens, Step, gateway_session, http, scripted
from tests.origins import PATIENCE, Origin
from tests.tables import a_call, routes

VALUES: Mapping[str, Mapping[str, Value]] = {
    "video": {"videoId": "1_e0000003"},
    "videos": {"page": 2, "pageSize": 3},
    "search": {"query": "cats", "page": 1, "pageSize": 2},
    "session": {"videoId": "1_e0000003", "userId": "80351110224678912"},
}
ENTRY = {"id": "1_e0000003", "name": "Cats"}
SECRET = "an-admin-secret"


def complains(code: str, message: str = "") -> bytes:
    """Return an exception of Kaltura's."""
    return http(200, {"objectType": "KalturaAPIException", "code": code, "message": message})


@dataclass
class Bench:
    """The source with its neighbours; `keeper` stands where the tokens are not to be the fakes."""

    api: KalturaApi
    clock: FakeClock
    events: Events = field(default_factory=Events)
    tokens: FakeTokens = field(default_factory=FakeTokens)
    keeper: Tokens | None = None
    secret: str = SECRET
    partner_id: str = "5896392"

    @property
    def sessions(self) -> KalturaSessions:
        """What starts sessions."""
        return KalturaSessions(self.api, self.partner_id, SecretStr(self.secret), self.clock)

    @property
    def source(self) -> Kaltura:
        """The source."""
        return Kaltura(
            self.api,
            self.sessions,
            self.keeper or self.tokens,
            self.partner_id,
            self.clock,
            self.events.append,
        )

    def keep(self) -> TokenKeeper:
        """Put a real keeper of the session for reading into place."""
        keeper = TokenKeeper(
            self.sessions.for_reading,
            lambda _: self.sessions.for_reading(),
            clock=self.clock,
            random=lambda: 0.0,
            observe=lambda _: None,
        )
        self.keeper = keeper
        return keeper

    def call(self, name: str, values: Mapping[str, Value] | None = None, total: float = PATIENCE) -> Call:
        """Return a call of a shipped route."""
        call = a_call(routes("newer")[name], {**VALUES[name], **(values or {})})
        return replace(call, deadline=self.clock.monotonic() + total)

    async def ask(self, name: str = "video", **values: Value) -> Answer:
        """Call a route."""
        return await self.source(self.call(name, values))

    async def fail(self, name: str = "video", total: float = PATIENCE) -> Failure:
        """Call a route that cannot be answered, and return why."""
        try:
            answer = await self.source(self.call(name, total=total))
        except SourceFailed as error:
            return error.failure
        raise AssertionError(f"answered {answer.status}")


@asynccontextmanager
async def scripted_bench(
    *steps: Step, breaker: Breaker | None = None, patience: float = PATIENCE
) -> AsyncIterator[tuple[Bench, Origin]]:
    """Put the source in front of a Kaltura with that script; `patience` is for one exchange, in seconds."""
    async with scripted(*steps) as origin, gateway_session() as session:
        clock = FakeClock()
        events, base = Events(), f"{origin.url.origin()}/api_v3"
        api = KalturaApi(base, session, breaker or FakeBreaker(), patience, clock, events.append)
        yield Bench(api, clock, events), origin


@asynccontextmanager
async def sandbox_bench() -> AsyncIterator[tuple[Bench, StandIn]]:
    """Put the source, with a real keeper, in front of the stand-in."""
    clock = FakeClock()
    stand_in = StandIn(clock, Random(1), Port())  # noqa: S311  (sample data)
    await stand_in.online()
    try:
        async with gateway_session() as session:
            events = Events()
            api = KalturaApi(stand_in.url, session, FakeBreaker(), PATIENCE, clock, events.append)
            bench = Bench(api, clock, events, secret=stand_in.secret)
            keeper = bench.keep()
            yield bench, stand_in
            await keeper.aclose()
    finally:
        await stand_in.close()


def body(answer: Answer) -> Any:
    """Return the JSON of a good answer."""
    assert answer.problem is None
    return json.loads(answer.body)
