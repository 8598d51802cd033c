"""Whom a call is for, whatever its body says."""

import json
from dataclasses import replace

import pytest

from proxy.call import Answer, Call, Subject
from proxy.identity import ANONYMOUS, Identity
from proxy.inputs import Input
from tests.gateway_fakes import call_of
from tests.listener_fakes import Recorded

ALICE = Subject("user", "80351110224678912", "Alice")
SERVICE = Subject("service", "activity-proxy", "Activity Proxy")


def session(subject: Subject, said: str = "mallory") -> Call:
    """Return the call of a session, with what the body says of the user."""
    body = {"videoId": "1_cats", "userId": said}
    return replace(call_of("plan", "POST", "/api/kaltura/session", body), subject=subject)


@pytest.mark.parametrize("believed", [True, False])
@pytest.mark.parametrize("required", [True, False])
async def test_a_verified_viewer_is_who_discord_says(believed: bool, required: bool) -> None:
    """The body's `userId` counts for nothing."""
    ladder = Recorded()
    await Identity(ladder, required=required, believed=believed)(session(ALICE))
    assert ladder.call.values == {"videoId": "1_cats", "userId": ALICE.discord_id}
    assert ladder.call.subject == ALICE


@pytest.mark.parametrize(("believed", "who"), [(True, "mallory"), (False, ANONYMOUS)])
async def test_an_unknown_caller_is_believed_in_development_only(believed: bool, who: str) -> None:
    """There it is a label; in production it is `anonymous`. The call is the service's in any case."""
    ladder = Recorded()
    await Identity(ladder, required=False, believed=believed)(session(SERVICE))
    assert ladder.call.values["userId"] == who
    assert ladder.call.subject == SERVICE


def laid(call: Call, **changes: object) -> Call:
    """Return the call of a route that is changed so."""
    return replace(call, route=call.route.model_copy(update=changes))


@pytest.mark.parametrize("subject", [ALICE, SERVICE])
@pytest.mark.parametrize("said", ["mallory", ANONYMOUS])
async def test_the_body_for_the_activity_server_says_the_same(subject: Subject, said: str) -> None:
    """Where it may stand in it would believe the client's own, in any coding, type or repetition."""
    call = laid(session(subject, said), fallback=("activity",))
    sent = ((b"content-type", b"text/x"), (b"Content-Encoding", b"gzip"), (b"X-Own", b"1"), (b"Digest", b"x"))
    twice = b'{"userId":"mallory","userId":"anonymous"}'
    call = replace(call, request=replace(call.request, fields=sent, body=twice))
    ladder = Recorded()
    await Identity(ladder, required=False, believed=False)(call)
    assert json.loads(ladder.call.request.body) == dict(ladder.call.values)
    assert ladder.call.values["userId"] == (ALICE.discord_id if subject == ALICE else ANONYMOUS)
    assert ladder.call.request.fields == ((b"X-Own", b"1"), (b"Content-Type", b"application/json"))


async def test_a_body_that_goes_nowhere_or_names_nobody_is_left_alone() -> None:
    """No other source reads it, and what is said elsewhere is not in it."""
    in_query = Input.model_validate({"from": "query", "default": "x"})
    inputs = {**session(ALICE).route.inputs, "userId": in_query}
    for call in (session(ALICE), laid(session(ALICE), fallback=("activity",), inputs=inputs)):
        ladder = Recorded()
        await Identity(ladder, required=False, believed=False)(call)
        assert ladder.call.request is call.request


async def test_a_user_id_of_a_route_of_the_services_is_not_believed_either() -> None:
    """Whatever the table says, no request names another."""
    ladder = Recorded()
    call = session(SERVICE)
    call = replace(call, route=call.route.model_copy(update={"as_": "service"}))
    await Identity(ladder, required=True, believed=False)(call)
    assert ladder.call.values["userId"] == ANONYMOUS


async def test_unknown_callers_are_turned_away_where_the_operator_wants_it() -> None:
    """No source is asked for a user's call; what is the service's is for everyone."""
    ladder = Recorded()
    identity = Identity(ladder, required=True, believed=True)
    answer = await identity(session(SERVICE))
    assert ladder.calls == []
    assert (answer.status, answer.source) == (401, None)
    assert answer.problem is not None
    assert answer.problem.code == "login_required"
    assert answer.headers == (("WWW-Authenticate", "Bearer"),)
    video = call_of("plan", "GET", "/api/kaltura/video/1_cats")
    assert isinstance(await identity(video), Answer)
    assert ladder.call is video
