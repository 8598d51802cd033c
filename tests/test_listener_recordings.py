"""The sidecar's own validation, held against what the Activity server was recorded to answer."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

from proxy.canned import Canned
from proxy.ladder import Ladder, Policy
from tests.gateway_fakes import NOW, Events
from tests.listener_fakes import Bench, listening
from tests.recordings import Exchange, load
from tests.sandbox_client import Got
from tests.tables import PARTNER, mocks

EXCHANGES = load("activity-server")
BROKEN = [it for it in EXCHANGES if it.status == 500]
PASSED = [it for it in EXCHANGES if "/api/kaltura" not in it.path or it.method == "OPTIONS"]
PLAYS = [it for it in EXCHANGES if it.path.endswith("/play")]
REST = [it for it in EXCHANGES if it not in [*BROKEN, *PASSED, *PLAYS]]


@asynccontextmanager
async def offline() -> AsyncIterator[Bench]:
    """Run a listener in front of the canned answers alone."""

    def scope() -> Mapping[str, object]:
        return {"now": NOW, "partnerId": PARTNER}

    policy = Policy("offline", production=False, named=frozenset())
    async with listening(Ladder({"canned": Canned(mocks(), scope)}, policy, Events().append)) as it:
        yield it


async def sent(recorded: Exchange) -> Got:
    """Send a recorded request and return the answer."""
    async with offline() as it:
        headers = dict(recorded.headers)
        return await it.send(recorded.method, recorded.path, data=recorded.sent, headers=headers)


@pytest.mark.parametrize("recorded", REST, ids=str)
async def test_requests_are_judged_as_the_activity_server_does(recorded: Exchange) -> None:
    """What it accepts is accepted, what it refuses refused with its words, odd numbers read as it does."""
    got = await sent(recorded)
    assert got.status == recorded.status
    assert got.headers["Content-Type"] == recorded.answer_headers["content-type"]
    answer = got.json()
    if recorded.status == 400:
        assert answer["error"] == recorded.answer["error"]
        assert set(answer) == {"error", "message", "code", "requestId"}
    for name in ("page", "pageSize"):
        assert answer.get(name) == recorded.answer.get(name)
    if recorded.status == 200:
        assert set(answer) == set(recorded.answer)


@pytest.mark.parametrize("recorded", BROKEN, ids=str)
async def test_broken_json_is_the_callers_mistake_here(recorded: Exchange) -> None:
    """Where the Activity server has a 500 for JSON that does not parse, the sidecar has a 400."""
    async with offline() as it:
        sent = recorded.sent or b""
        headers = dict(recorded.headers)
        assert await it.refused(recorded.method, recorded.path, data=sent, headers=headers) == (
            400,
            "invalid_json",
        )


@pytest.mark.parametrize("recorded", PASSED, ids=str)
async def test_what_is_the_activity_servers_reaches_it(recorded: Exchange) -> None:
    """Health, unknown paths and OPTIONS pass through."""
    async with offline() as it:
        await it.send(recorded.method, recorded.path)
    assert it.passed.targets == [recorded.path]


@pytest.mark.parametrize("recorded", PLAYS, ids=str)
async def test_the_call_that_it_lacks_is_answered(recorded: Exchange) -> None:
    """A play URL, which the Activity server does not give, is what the sidecar adds."""
    got = await sent(recorded)
    assert recorded.status == 404
    assert (got.status, set(got.json())) == (200, {"playUrl"})


def test_every_exchange_is_used() -> None:
    """No recorded exchange is left out."""
    assert len(BROKEN) == 1
    assert len(PLAYS) == 1
    assert len(PASSED) == 3
    assert len(REST) + 5 == len(EXCHANGES)
