"""A call that does not exist at the gateway is made again by the other table."""

import asyncio
from collections.abc import Mapping

import pytest

from proxy.call import Answer, Call, Failure, FailureKind, SourceFailed
from proxy.clock import SystemClock
from proxy.dialects import Adapting, AutoDialect, Finding
from tests.clocks import FakeClock
from tests.gateway_fakes import Events, call_of
from tests.tables import routes

PLAN, NEWER = routes("plan"), routes("newer")
CALL = call_of("plan", "POST", "/api/kaltura/session", {"videoId": "1_cats", "userId": "nelly"})
OLD = {"session": Finding("newer", "?"), "videos": Finding("newer", "?")}
PLANNED = {"session": Finding("plan", "?"), "videos": Finding("plan", "?")}
ANSWER = Answer(200, b"{}", "gateway")


class Gateway:
    """A gateway that has these routes, and fails with `kind` for all others."""

    def __init__(self, *has: object, kind: FailureKind = FailureKind.NO_SUCH_ROUTE) -> None:
        self.has = has
        self.kind = kind
        self.calls: list[Call] = []

    async def __call__(self, call: Call) -> Answer:
        """Answer or fail."""
        self.calls.append(call)
        if any(call.route is route for route in self.has):
            return ANSWER
        raise SourceFailed(Failure("gateway", self.kind, "the gateway has no such call", 404))


def auto(findings: Mapping[str, Finding]) -> AutoDialect:
    """Return an `auto` whose question has these findings."""

    async def ask() -> Mapping[str, Finding]:
        return findings

    return AutoDialect(PLAN, NEWER, ask, FakeClock(), Events().append)


async def test_what_exists_is_called_once() -> None:
    """A call that is answered asks no question."""
    gateway, dialects = Gateway(PLAN["session"]), auto(OLD)
    assert await Adapting(gateway, dialects)(CALL) == ANSWER
    assert len(gateway.calls) == 1
    assert dialects.chosen() == {}


async def test_the_same_request_succeeds_by_the_other_table() -> None:
    """The client's call is made again by the newer table, with the same values and the same deadline."""
    gateway = Gateway(NEWER["session"])
    assert await Adapting(gateway, auto(OLD))(CALL) == ANSWER
    first, second = gateway.calls
    assert second.route is NEWER["session"]
    assert (second.values, second.deadline, second.request_id) == (CALL.values, CALL.deadline, "r1")
    assert first is CALL


async def test_where_no_other_table_is_in_force_the_failure_stands() -> None:
    """A call that exists nowhere fails as it did, and is made once."""
    gateway = Gateway()
    with pytest.raises(SourceFailed) as caught:
        await Adapting(gateway, auto(PLANNED))(CALL)
    assert caught.value.failure.kind is FailureKind.NO_SUCH_ROUTE
    assert len(gateway.calls) == 1


async def test_it_is_tried_twice_and_no_more() -> None:
    """A call that the other table does not help either is given up."""
    gateway = Gateway()
    with pytest.raises(SourceFailed):
        await Adapting(gateway, auto(OLD))(CALL)
    assert len(gateway.calls) == 2


@pytest.mark.parametrize("kind", [kind for kind in FailureKind if kind is not FailureKind.NO_SUCH_ROUTE])
async def test_no_other_failure_asks_anything(kind: FailureKind) -> None:
    """Trouble of any other kind is not taken for a route that is not there."""
    gateway, dialects = Gateway(kind=kind), auto(OLD)
    with pytest.raises(SourceFailed):
        await Adapting(gateway, dialects)(CALL)
    assert len(gateway.calls) == 1
    assert dialects.chosen() == {}


async def test_a_question_does_not_outlast_the_call() -> None:
    """A call whose deadline passes during the question fails as it did; the question goes on."""
    may = asyncio.Event()

    async def ask() -> Mapping[str, Finding]:
        await may.wait()
        return OLD

    clock = SystemClock()
    dialects = AutoDialect(PLAN, NEWER, ask, clock, Events().append)
    gateway = Gateway(NEWER["session"])
    call = call_of(
        "plan", "POST", "/api/kaltura/session", {"videoId": "1_cats"}, deadline=clock.monotonic() + 0.03
    )
    with pytest.raises(SourceFailed):
        await Adapting(gateway, dialects)(call)
    assert len(gateway.calls) == 1
    may.set()
    assert await dialects.settle()
    assert dialects.route("session") is NEWER["session"]
