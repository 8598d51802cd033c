"""Asking after the health of a gateway that a breaker keeps alone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import get_args

import pytest
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse, ClientSession

from proxy.events import BreakerChanged, BreakerRejected
from proxy.recovery import MAX_ANSWER, Recovery
from tests.breakers import Bench
from tests.clocks import FakeClock, settle, until
from tests.gateway_fakes import HTML, Hang, Part, Step, gateway_session, http, nowhere, reset, scripted
from tests.origins import PATIENCE, Origin
from tests.recordings import Recording
from tests.replay import replaying

WELL = http(200, {"status": "ok"})
ABSENT = http(404, HTML)
OPENED = BreakerChanged("video", "closed", "open")
RELEASES = [name for name in get_args(Recording) if name.startswith("gateway")]


@dataclass
class FakeBreaker:
    """An open breaker that takes so many hints."""

    hints: int = 1
    taken: int = 0

    @property
    def can_hasten(self) -> bool:
        """Whether hints are left."""
        return self.hints > 0

    def hasten(self) -> None:
        """Take a hint."""
        if self.hints:
            self.hints -= 1
            self.taken += 1


class World:
    """A job that runs, with the breakers and the clock that it has."""

    def __init__(self, base: str, session: ClientSession, *breakers: FakeBreaker, dice: float = 0.5) -> None:
        self.clock = FakeClock()
        self.breakers = breakers or (FakeBreaker(),)
        self.recovery = Recovery(
            base, session, self.breakers, clock=self.clock, random=lambda: dice, timeout=PATIENCE
        )

    @property
    def hastened(self) -> list[int]:
        """How many hints each breaker took."""
        return [breaker.taken for breaker in self.breakers]

    async def rounds(self, number: int = 1) -> None:
        """Let the job ask that many times, and wait for what comes of it."""
        for _ in range(number):
            slept = len(self.clock.slept)
            await self.clock.advance(1.0)
            async with asyncio.timeout(PATIENCE):
                await until(
                    lambda: (
                        len(self.clock.slept) > slept  # noqa: B023  (called before the next round)
                        or not any(breaker.can_hasten for breaker in self.breakers)
                    )
                )


@asynccontextmanager
async def running(recovery: Recovery) -> AsyncIterator[None]:
    """Run the job."""
    task = asyncio.create_task(recovery.run())
    await settle()
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def watched(*steps: Step, path: str = "/api", dice: float = 0.5) -> AsyncIterator[tuple[World, Origin]]:
    """Run the job for one open breaker, before a gateway with that script."""
    async with scripted(*steps) as origin, gateway_session() as session:
        world = World(f"{origin.url.origin()}{path}", session, dice=dice)
        async with running(world.recovery):
            world.recovery.notice(OPENED)
            await settle()
            yield world, origin


def asked(origin: Origin) -> list[str]:
    """Which pages a gateway was asked for."""
    return [message.start.decode() for message in origin.received]


async def test_a_healthy_gateway_hastens_the_breaker() -> None:
    """When the health page answers, the breaker may try calls at once, and no more is asked."""
    async with watched(WELL) as (world, origin):
        assert not origin.received
        await world.rounds()
        assert world.hastened == [1]
        await world.clock.advance(60.0)
    assert asked(origin) == ["GET /api/health HTTP/1.1"]


async def test_the_question_holds_no_secret_and_no_token() -> None:
    """The page is asked for without a token, past whatever the session does to its calls."""

    async def refuse(_request: ClientRequest, _handler: ClientHandlerType) -> ClientResponse:
        raise AssertionError("the session's middlewares are not for the health page")

    async with scripted(WELL) as origin, ClientSession(middlewares=(refuse,)) as session:
        world = World(f"{origin.url.origin()}/api", session)
        async with running(world.recovery):
            world.recovery.notice(OPENED)
            await settle()
            await world.rounds()
    assert world.hastened == [1]
    assert origin.received[0].one("Authorization") is None
    assert origin.received[0].one("Accept-Encoding") == b"identity"


@pytest.mark.parametrize("release", RELEASES)
async def test_the_recorded_gateways_have_such_a_page(release: Recording) -> None:
    """Both releases are found to be well, the older by the page at its root."""
    async with replaying(release) as origin, gateway_session() as session:
        world = World(f"{origin.url.origin()}/api", session)
        async with running(world.recovery):
            world.recovery.notice(OPENED)
            await settle()
            await world.rounds()
        assert world.hastened == [1]
        pages = ["GET /api/health HTTP/1.1", "GET /health HTTP/1.1"]
        assert asked(origin) == (pages if "older" in release else pages[:1])


@pytest.mark.parametrize(
    "step",
    [
        http(500, {"error": "Internal Server Error"}),
        http(503, {"status": "starting"}),
        http(200, HTML),
        http(200, []),
        http(200, b""),
        http(204, b""),
        http(302, b"", Location="/health"),
        http(200, b'{"x": "' + b" " * MAX_ANSWER + b'"}'),
    ],
)
async def test_what_is_no_health_page_is_no_hint(step: bytes) -> None:
    """Anything but a 200 with a JSON object hastens nothing, there or at the root, and is asked again."""
    async with watched(step) as (world, origin):
        await world.rounds(2)
        assert world.hastened == [0]
    assert asked(origin) == ["GET /api/health HTTP/1.1", "GET /health HTTP/1.1"] * 2


@pytest.mark.parametrize(
    "step", [reset, Part(), Part(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"), Part(b"x")]
)
async def test_a_gateway_that_breaks_off_is_asked_one_page_a_round(step: Step) -> None:
    """Where there is no whole answer the root is not asked as well, and the job goes on."""
    async with watched(step) as (world, origin):
        await world.rounds(3)
        assert world.hastened == [0]
    assert asked(origin) == ["GET /api/health HTTP/1.1"] * 3


async def test_a_gateway_that_hangs_is_given_up() -> None:
    """A page that does not answer in its time is no hint, and its connection is closed."""
    hang = Hang()
    async with scripted(hang) as origin, gateway_session() as session:
        breaker = FakeBreaker()
        clock = FakeClock()
        recovery = Recovery(
            f"{origin.url.origin()}/api", session, [breaker], clock=clock, random=lambda: 0.5, timeout=0.02
        )
        async with running(recovery), asyncio.timeout(PATIENCE):
            recovery.notice(OPENED)
            await settle()
            await clock.advance(1.0)
            await hang.left.wait()
            await until(lambda: len(clock.slept) == 2)
    assert breaker.taken == 0


async def test_no_gateway_at_all_is_no_hint() -> None:
    """While connections are refused the job goes on asking, and hastens nothing."""
    with nowhere() as base:
        async with gateway_session() as session:
            world = World(base, session)
            async with running(world.recovery):
                world.recovery.notice(OPENED)
                await settle()
                await world.rounds(3)
                assert world.hastened == [0]


async def test_it_asks_until_the_gateway_is_back() -> None:
    """After failures it asks on, each second or so, and hastens when the page is there."""
    async with watched(http(500, HTML), http(500, HTML), reset, ABSENT, WELL) as (world, _):
        await world.rounds(3)
        assert world.hastened == [1]
        assert world.clock.slept == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(("dice", "wait"), [(0.0, 0.75), (0.5, 1.0), (0.9, 1.2)])
async def test_many_sidecars_do_not_ask_in_step(dice: float, wait: float) -> None:
    """The wait before each question is partly left to chance."""
    async with watched(WELL, dice=dice) as (world, _):
        assert world.clock.slept == [pytest.approx(wait)]


async def test_nothing_is_done_while_nothing_is_open() -> None:
    """With no breaker opened the job sleeps without a timer, whatever else happens."""
    async with scripted(WELL) as origin, gateway_session() as session:
        world = World(f"{origin.url.origin()}/api", session)
        async with running(world.recovery):
            for event in (
                BreakerChanged("video", "open", "half_open"),
                BreakerChanged("video", "half_open", "closed"),
                BreakerChanged("video", "closed", "forced_open"),
                BreakerRejected("video"),
            ):
                world.recovery.notice(event)
            await settle()
            assert world.clock.slept == []
    assert not origin.received


async def test_a_breaker_that_takes_no_hint_is_not_asked_for() -> None:
    """Where all open breakers have had their hint, nobody is asked until one opens that has not."""
    async with watched(WELL) as (world, origin):
        await world.rounds()
        world.recovery.notice(OPENED)
        await settle()
        assert len(world.clock.slept) == 1
        world.breakers[0].hints = 1
        world.recovery.notice(OPENED)
        await settle()
        await world.rounds()
        assert world.hastened == [2]
    assert len(origin.received) == 2


async def test_all_open_breakers_are_hastened() -> None:
    """One page speaks for the whole gateway."""
    async with scripted(WELL) as origin, gateway_session() as session:
        breakers = (FakeBreaker(), FakeBreaker(hints=0), FakeBreaker())
        world = World(f"{origin.url.origin()}/api", session, *breakers)
        async with running(world.recovery):
            world.recovery.notice(OPENED)
            await settle()
            await world.rounds()
    assert world.hastened == [1, 0, 1]


async def test_a_gateway_at_the_root_has_one_page() -> None:
    """Where the base URL has no path both pages are one, which is asked for once."""
    async with watched(ABSENT, path="") as (world, origin):
        await world.rounds()
    assert asked(origin) == ["GET /health HTTP/1.1"]


async def test_a_real_breaker_closes_early_and_is_left_alone_then() -> None:
    """An outage of a second ends after a second, though the breaker opened for ten."""
    bench = Bench()
    async with scripted(WELL) as origin, gateway_session() as session:
        recovery = Recovery(
            f"{origin.url.origin()}/api",
            session,
            [bench.breaker],
            clock=bench.clock,
            random=lambda: 0.5,
            timeout=PATIENCE,
        )
        async with running(recovery), asyncio.timeout(PATIENCE):
            bench.fail(10)
            recovery.notice(OPENED)
            await settle()
            await bench.clock.advance(1.0)
            await until(lambda: bench.state() == "half_open")
            bench.succeed(3)
            assert bench.state() == "closed"
            assert bench.clock.monotonic() == 1.0
            await bench.clock.advance(30.0)
    assert len(origin.received) == 1
