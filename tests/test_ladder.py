"""Whom a route asks, in which order, and what is said when nobody answers."""

from dataclasses import replace
from typing import Any, Literal, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.call import Answer, Call, Failure, FailureKind, Source, SourceFailed, SourceName
from proxy.events import SourceFailedEvent
from proxy.ladder import Ladder, Policy, honest_error
from proxy.route import Route
from tests.gateway_fakes import Events, call_of, content
from tests.tables import DIALECTS, a_call, a_route, routes

Mode = Literal["auto", "live", "offline"]
MODES: tuple[Mode, ...] = ("auto", "live", "offline")
CALL = call_of("plan", "GET", "/api/kaltura/video/1_cats")
TOKEN = call_of("plan", "POST", "/api/token")
SESSION = call_of("plan", "POST", "/api/kaltura/session", {"videoId": "1_cats"})

BOTH = a_route(fallback=["activity", "canned"], canned="x.json")
SECRET = a_route(fallback=["activity", "canned"], canned="x.json", credential=True)
OWN = a_route(call=None, reply=None, fallback=["activity", "canned"], canned="x.json")
OWN_SECRET = a_route(call=None, reply=None, fallback=["activity", "canned"], canned="x.json", credential=True)


def policy(mode: Mode = "auto", *, production: bool = False, named: tuple[str, ...] = ()) -> Policy:
    """Return a policy."""
    return Policy(mode, production, frozenset(named))


@pytest.mark.parametrize(
    ("mode", "route", "order"),
    [
        ("auto", BOTH, ("gateway", "activity", "canned")),
        ("live", BOTH, ("gateway",)),
        ("offline", BOTH, ("canned",)),
        ("auto", SECRET, ("gateway", "activity", "canned")),
        ("auto", OWN, ("activity", "canned")),
        ("live", OWN, ("activity",)),
        ("offline", OWN, ("activity", "canned")),
        ("auto", a_route(), ("gateway",)),
        ("offline", a_route(), ()),
    ],
)
def test_the_mode_decides_who_may_answer(mode: Mode, route: Route, order: tuple[str, ...]) -> None:
    """`auto` goes down the route's ladder, `live` asks the gateway alone, `offline` never asks it.

    What has no gateway call is the Activity server's own business in every mode.
    """
    assert policy(mode).order(route) == order


@pytest.mark.parametrize(
    ("mode", "route", "order"),
    [
        ("auto", SECRET, ("gateway",)),
        ("live", SECRET, ("gateway",)),
        ("offline", SECRET, ()),
        ("auto", OWN_SECRET, ("activity",)),
        ("offline", OWN_SECRET, ("activity",)),
        ("auto", BOTH, ("gateway", "activity", "canned")),
    ],
)
def test_production_mocks_no_credential(mode: Mode, route: Route, order: tuple[str, ...]) -> None:
    """In production nothing stands in for a credential; other routes are as in development."""
    assert policy(mode, production=True).order(route) == order


@pytest.mark.parametrize("route", [SECRET, OWN_SECRET])
def test_production_mocks_a_credential_by_name(route: Route) -> None:
    """The operator who wrote out a route's fallback gets it, and for that route only."""
    assert "canned" in policy(production=True, named=("thing",)).order(route)
    assert "canned" not in policy(production=True, named=("other",)).order(route)
    assert policy("live", production=True, named=("thing",)).order(SECRET) == ("gateway",)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_no_shipped_credential_is_mocked_in_production(dialect: Any, mode: Mode) -> None:
    """Sessions and play URLs of both dialects come from the gateway or not at all."""
    assert routes(dialect)["token"].credential
    assert policy(mode, production=True).order(routes(dialect)["token"]) == ("activity",)
    for name in ("session", "play"):
        assert set(policy(mode, production=True).order(routes(dialect)[name])) <= {"gateway"}
        assert "canned" in policy().order(routes(dialect)[name])


SOMEWHERE = {"input": {"videoId": {"from": "query", "default": "x"}}, "kaltura": "video"}
DIRECT = a_route(fallback=["activity", "kaltura", "canned"], canned="x.json", **SOMEWHERE)
DIRECT_SECRET = a_route(fallback=["kaltura", "canned"], canned="x.json", credential=True, **SOMEWHERE)
PREFERRED = a_route(fallback=["kaltura", "canned"], canned="x.json", prefer="kaltura", **SOMEWHERE)


@pytest.mark.parametrize(
    ("mode", "route", "on", "off"),
    [
        ("auto", DIRECT, ("gateway", "activity", "kaltura", "canned"), ("gateway", "activity", "canned")),
        ("live", DIRECT, ("gateway",), ("gateway",)),
        ("offline", DIRECT, ("canned",), ("canned",)),
        ("auto", PREFERRED, ("kaltura", "gateway", "canned"), ("gateway", "canned")),
        ("live", PREFERRED, ("gateway",), ("gateway",)),
        ("offline", PREFERRED, ("canned",), ("canned",)),
        ("auto", BOTH, ("gateway", "activity", "canned"), ("gateway", "activity", "canned")),
    ],
)
def test_kaltura_has_its_place_only_where_it_is_on(
    mode: Mode, route: Route, on: tuple[str, ...], off: tuple[str, ...]
) -> None:
    """It is asked in mode `auto` only, after the gateway, or before it where that is preferred."""
    assert Policy(mode, production=False, named=frozenset(), kaltura=True).order(route) == on
    assert policy(mode).order(route) == off


def test_production_takes_a_credential_of_kaltura() -> None:
    """What Kaltura gives is real: it stays in the ladder where mocks are left out."""
    production = Policy("auto", production=True, named=frozenset(), kaltura=True)
    assert production.order(DIRECT_SECRET) == ("gateway", "kaltura")
    assert policy(production=True).order(DIRECT_SECRET) == ("gateway",)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_shipped_routes_ask_kaltura_after_what_was_kept(dialect: Any) -> None:
    """Kaltura stands before the mock and, where answers are kept, behind the last good one."""
    on = Policy("auto", production=False, named=frozenset(), kaltura=True)
    for name in ("video", "videos", "search"):
        assert on.order(routes(dialect)[name]) == ("gateway", "stale", "kaltura", "canned")
    assert on.order(routes(dialect)["session"]) == ("gateway", "kaltura", "canned")
    assert on.order(routes(dialect)["play"]) == ("gateway", "canned")


def answering(source: SourceName, asked: list[str] | None = None) -> Source:
    """Return a source that answers."""

    async def answer(_call: Call) -> Answer:
        if asked is not None:
            asked.append(source)
        return Answer(200, b"{}", source)

    return answer


def failing(failure: Failure, asked: list[str] | None = None) -> Source:
    """Return a source that does not."""

    async def fail(_call: Call) -> Answer:
        if asked is not None:
            asked.append(failure.source)
        raise SourceFailed(failure)

    return fail


AWAY = Failure("gateway", FailureKind.UNREACHABLE, "no connection")
MOCKLESS = Failure("activity", FailureKind.STATUS, "the Activity server answered 500", 500)


async def test_the_first_answer_wins() -> None:
    """Once a source answered no other is asked, and nothing is told."""
    asked: list[str] = []
    events = Events()
    sources: dict[SourceName, Source] = {
        "gateway": answering("gateway", asked),
        "canned": answering("canned", asked),
    }
    answer = await Ladder(sources, policy(), events.append)(CALL)
    assert (answer.source, answer.failures) == ("gateway", ())
    assert asked == ["gateway"]
    assert not events


async def test_the_next_source_stands_in() -> None:
    """A source that failed is told of, and the answer carries every failure before it, in order."""
    asked: list[str] = []
    events = Events()
    sources: dict[SourceName, Source] = {
        "gateway": failing(AWAY, asked),
        "activity": failing(MOCKLESS, asked),
        "canned": answering("canned", asked),
    }
    answer = await Ladder(sources, policy(), events.append)(replace(CALL, route=BOTH))
    assert (answer.source, answer.failures) == ("canned", (AWAY, MOCKLESS))
    assert asked == ["gateway", "activity", "canned"]
    assert events == [SourceFailedEvent("thing", AWAY, "r1"), SourceFailedEvent("thing", MOCKLESS, "r1")]


async def test_the_first_failure_is_the_clients() -> None:
    """When nobody answers the client hears of the first failure, and the log of all.

    That there was no earlier answer is no failure: none was promised.
    """
    nothing = Failure("stale", FailureKind.NOTHING_KEPT, "there is no earlier answer")
    sources: dict[SourceName, Source] = {
        "gateway": failing(AWAY),
        "stale": failing(nothing),
        "canned": failing(MOCKLESS),
    }
    answer = await Ladder(sources, policy(), Events().append)(CALL)
    assert (answer.status, answer.source, answer.failures) == (503, None, (AWAY, MOCKLESS))


async def test_a_defect_is_no_failure_of_a_source() -> None:
    """What is wrong in a source itself is not covered up by the next one."""

    async def broken(_call: Call) -> Answer:
        raise RuntimeError("broken")

    sources: dict[SourceName, Source] = {"gateway": broken, "canned": answering("canned")}
    with pytest.raises(RuntimeError, match="broken"):
        await Ladder(sources, policy(), Events().append)(CALL)


async def test_a_mode_that_asks_nobody_says_so() -> None:
    """Where mode and environment leave nobody to ask, the client is told so honestly."""
    answer = await Ladder({}, policy("offline", production=True), Events().append)(SESSION)
    assert (answer.status, answer.source) == (503, None)
    assert content(answer)["code"] == "gateway_off"
    assert [failure.detail for failure in answer.failures] == ["no source may answer in mode offline"]


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        (FailureKind.UNREACHABLE, 503, "gateway_unreachable"),
        (FailureKind.TIMEOUT, 504, "gateway_timeout"),
        (FailureKind.STATUS, 502, "gateway_error"),
        (FailureKind.CONTRACT, 502, "gateway_unusable_answer"),
        (FailureKind.NO_SUCH_ROUTE, 502, "gateway_no_such_route"),
        (FailureKind.UNAUTHORIZED, 502, "gateway_unauthorized"),
        (FailureKind.TOKEN, 503, "gateway_token_unavailable"),
        (FailureKind.BREAKER_OPEN, 503, "gateway_breaker_open"),
        (FailureKind.OVERLOADED, 503, "gateway_overloaded"),
        (FailureKind.OFF, 503, "gateway_off"),
    ],
)
def test_errors_are_honest(kind: FailureKind, status: int, code: str) -> None:
    """Each kind of failure has its status and code: 502 unusable, 503 away, 504 late.

    When to come back is said of all that may pass, not of a call or a token that the gateway refuses, nor of
    what the operator has switched off.
    """
    answer = honest_error((Failure("gateway", kind, "what happened"),))
    assert answer.status == status
    said = content(answer)
    assert said["code"] == code
    lasting = kind in {FailureKind.NO_SUCH_ROUTE, FailureKind.UNAUTHORIZED, FailureKind.OFF}
    again = "later" if lasting else "in 5 seconds"
    assert said["message"] == f"The video service is not available right now. Please try again {again}."
    assert [failure.detail for failure in answer.failures] == ["what happened"]
    assert dict(answer.headers).get("Retry-After") == (None if lasting else "5")


def test_every_kind_of_failure_has_its_error() -> None:
    """No failure leaves the client without an answer."""
    for kind in FailureKind:
        assert honest_error((Failure("gateway", kind, "x"),)).status in {502, 503, 504}


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_gateway_is_away_for_now(status: int) -> None:
    """A gateway that asks for patience is a 503, with the pause that it asked for."""
    failure = Failure("gateway", FailureKind.STATUS, f"the gateway answered {status}", status, 17.2)
    answer = honest_error((failure,))
    assert (answer.status, content(answer)["code"]) == (503, "gateway_busy")
    assert answer.headers == (("Retry-After", "18"),)
    assert "try again in 18 seconds" in content(answer)["message"]


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        (FailureKind.TIMEOUT, 504, "activity_timeout"),
        (FailureKind.UNREACHABLE, 502, "activity_unreachable"),
        (FailureKind.CONTRACT, 502, "activity_unreachable"),
    ],
)
def test_the_activity_servers_failure_is_not_the_gateways(kind: FailureKind, status: int, code: str) -> None:
    """A route that is the Activity server's own fails in its name: 504 where it was late, else 502."""
    answer = honest_error((Failure("activity", kind, "the Activity server did not answer"),))
    assert (answer.status, content(answer)["code"]) == (status, code)
    said = "The Activity is not available right now. Please try again in 5 seconds."
    assert content(answer)["message"] == said
    assert dict(answer.headers)["Retry-After"] == "5"


@given(st.none() | st.floats(0, 86400))
def test_retry_after_is_whole_seconds(pause: float | None) -> None:
    """`Retry-After` is a whole number of seconds, at least 1 and never before the pause is over."""
    failure = Failure("gateway", FailureKind.BREAKER_OPEN, "open", None, pause)
    ((name, value),) = honest_error((failure,)).headers
    assert name == "Retry-After"
    assert int(value) >= max(1, pause or 0)
    assert int(value) <= (5 if pause is None else pause + 1)


def test_a_call_is_answered_by_its_own_route() -> None:
    """Two calls of different routes have ladders of their own."""
    assert policy().order(a_call(routes("plan")["details"], {}).route) == ("gateway", "stale")
    assert policy().order(TOKEN.route) == ("activity",)


@pytest.mark.parametrize("first", ["gateway", "kaltura"])
async def test_the_honest_error_is_the_gateways(first: SourceName) -> None:
    """Whether Kaltura was asked after the gateway or before it, the client reads of the gateway's failure."""
    late = Failure("kaltura", FailureKind.TIMEOUT, "late")
    failures = (AWAY, late) if first == "gateway" else (late, AWAY)
    answer = honest_error(failures)
    assert (answer.status, answer.failures) == (503, failures)
    assert answer.problem is not None
    assert answer.problem.code == "gateway_unreachable"


@pytest.mark.parametrize(
    ("route", "on", "expected"),
    [
        (DIRECT, True, {"gateway": 6.0, "activity": 8.0, "kaltura": 8.0, "canned": 8.0}),
        (DIRECT, False, {"gateway": 8.0, "activity": 8.0, "canned": 8.0}),
        (PREFERRED, True, {"kaltura": 8.0, "gateway": 8.0, "canned": 8.0}),
        (BOTH, True, {"gateway": 8.0, "activity": 8.0, "canned": 8.0}),
    ],
)
async def test_the_gateway_leaves_time_for_kaltura_behind_it(
    route: Route, expected: dict[str, float], *, on: bool
) -> None:
    """A quarter of the call's time is kept where Kaltura may be asked after the gateway, and only there."""
    deadlines: dict[str, float] = {}

    def late(source: SourceName) -> Source:
        async def fail(call: Call) -> Answer:
            deadlines[source] = call.deadline
            raise SourceFailed(Failure(source, FailureKind.TIMEOUT, "late"))

        return fail

    sources = {name: late(name) for name in get_args(SourceName)}
    laddered = Policy("auto", production=False, named=frozenset(), kaltura=on)
    await Ladder(sources, laddered, Events().append, reserve=2.0)(replace(CALL, route=route, deadline=8.0))
    assert deadlines == expected
