"""The source `kaltura`: what clients get of Kaltura itself."""

import asyncio
from typing import Any

import pytest

from proxy.call import FailureKind
from proxy.events import ContractViolated
from proxy.grant import TokenEndpointFailed
from proxy.kaltura_api import Unusable
from proxy.route import Route
from proxy.sandbox_faults import Fault, Faults
from proxy.sandbox_library import Library
from proxy.tokens import TokenKeeper
from tests.clocks import until
from tests.gateway_fakes import CATS, FakeTokens, http
from tests.kaltura_bench import ENTRY, body, complains, sandbox_bench, scripted_bench
from tests.origins import PATIENCE
from tests.tables import a_call, a_route

NO_KS = complains("INVALID_KS", 'Invalid KS "token-1", Error "-2,EXPIRED"')


async def test_a_video_is_the_gateways_own() -> None:
    """The same entry reads the same by both ways, but for the play URL, which is the gateway's."""
    async with sandbox_bench() as (bench, kaltura):
        answer = await bench.ask("video")
        gateway = Library(kaltura.random).one("1_e0000003")
        assert (answer.status, answer.source, answer.headers) == (200, "kaltura", ())
        assert body(answer) == {**gateway, "partnerId": "5896392", "playUrl": None}


async def test_lists_and_searches_are_paged_and_counted() -> None:
    """A page is the page that was asked for, and the total is of all that was found."""
    async with sandbox_bench() as (bench, _):
        videos = body(await bench.ask("videos"))
        assert [video["id"] for video in videos["videos"]] == ["1_e0000092", "1_e0000091", "1_e0000090"]
        assert (videos["page"], videos["pageSize"], videos["totalCount"]) == (2, 3, 95)
        found = body(await bench.ask("search"))
        assert [video["id"] for video in found["videos"]] == ["1_e0000095", "1_e0000093"]
        assert found["totalCount"] == 48
        nothing = body(await bench.ask("search", query="nothing like it"))
        assert (nothing["videos"], nothing["totalCount"]) == ([], 0)


async def test_a_negative_page_size_is_asked_as_the_default() -> None:
    """The client reads its own number, Kaltura is asked for the default, as the gateway is."""
    async with sandbox_bench() as (bench, _):
        videos = body(await bench.ask("videos", page=1, pageSize=-5))
        assert (len(videos["videos"]), videos["pageSize"]) == (30, -5)


async def test_a_viewers_session_is_started_for_each_need() -> None:
    """It is a user's, for that video and that user alone, ends, and is another one each time."""
    async with sandbox_bench() as (bench, kaltura):
        answers = [await bench.ask("session") for _ in range(2)]
        keys = [body(answer)["ks"] for answer in answers]
        assert len(set(keys)) == 2
        for ks in keys:
            session = kaltura.sessions[ks]
            assert (session.type, session.user, *session.privileges) == (
                0,
                "80351110224678912",
                "sview:1_e0000003",
            )
            assert session.expiry == kaltura.clock.time() + 4 * 3600
            assert not session.may_list
            assert not session.may_view("1_e0000004")
        assert answers[0].headers == (("Cache-Control", "no-store"),)
        assert set(kaltura.calls) == {"session.start"}


async def test_one_session_reads_until_it_is_renewed() -> None:
    """Many calls have one session for reading; past its life another one is started."""
    async with sandbox_bench() as (bench, kaltura):
        for _ in range(3):
            await bench.ask("video")
        assert kaltura.calls["session.start"] == 1
        (session,) = kaltura.sessions.values()
        assert (session.type, session.expiry - kaltura.clock.time()) == (2, 600)
        bench.clock.shift(600)
        assert (await bench.ask("video")).status == 200
        assert kaltura.calls["session.start"] == 2


async def test_the_session_for_reading_is_renewed_ahead() -> None:
    """It is there before anyone asks, and its successor before it ends."""
    async with sandbox_bench() as (bench, kaltura), asyncio.timeout(PATIENCE):
        keeper = bench.keeper
        assert isinstance(keeper, TokenKeeper)
        running = asyncio.create_task(keeper.run())
        await until(lambda: keeper.status.age is not None)
        await bench.clock.advance(470)
        await until(lambda: len(kaltura.sessions) >= 2)
        running.cancel()
        await asyncio.wait([running])


async def test_a_revoked_session_is_replaced_once() -> None:
    """A KS that Kaltura refuses is void, and the call is made again with a new one."""
    async with sandbox_bench() as (bench, kaltura):
        await bench.ask("video")
        kaltura.revoke()
        assert (await bench.ask("videos")).status == 200
        assert dict(kaltura.calls) == {"session.start": 2, "media.get": 1, "media.list": 2}


async def test_a_session_refused_again_is_a_failure() -> None:
    """After one replacement there is no third try, and the failure names neither session."""
    async with scripted_bench(NO_KS) as (bench, origin):
        failure = await bench.fail()
        assert (failure.source, failure.kind) == ("kaltura", FailureKind.UNAUTHORIZED)
        assert failure.detail == "Kaltura refused the call: INVALID_KS"
        assert len(origin.received) == 2
        assert bench.tokens.voided == [1]


async def test_an_absent_entry_is_a_404() -> None:
    """Kaltura's exception with status 200 is the client's 404 for a video, and a failure for a list."""
    async with sandbox_bench() as (bench, _):
        answer = await bench.ask("video", videoId="1_absent00")
        assert (answer.status, answer.source) == (404, "kaltura")
        assert answer.problem is not None
        assert answer.problem.message == "There is no video 1_absent00"
    async with scripted_bench(complains("ENTRY_ID_NOT_FOUND")) as (bench, _):
        assert (await bench.fail("videos")).kind is FailureKind.STATUS


async def test_a_value_that_would_widen_a_session_is_the_callers_mistake() -> None:
    """It is answered with 400, and Kaltura is not asked."""
    async with sandbox_bench() as (bench, kaltura):
        answer = await bench.ask("session", userId="x;0;disableentitlement")
        assert (answer.status, answer.source) == (400, "kaltura")
        assert answer.problem is not None
        assert (answer.problem.error, answer.problem.code) == ("userId is not valid", "invalid_request")
        assert not kaltura.calls


async def test_no_session_for_reading_is_a_failure_of_its_own() -> None:
    """Where none is to be had the ladder is told so, with the time until the next attempt."""
    async with scripted_bench(http(200, ENTRY)) as (bench, origin):
        bench.tokens.error = TokenEndpointFailed(FailureKind.STATUS, "s3cret", 4.0)
        failure = await bench.fail()
        assert (failure.kind, failure.retry_after) == (FailureKind.TOKEN, 4.0)
        assert "s3cret" not in failure.detail
        assert not origin.received


async def test_waiting_for_a_session_ends_at_the_deadline() -> None:
    """A token that does not come in time is a timeout."""
    async with scripted_bench(http(200, ENTRY)) as (bench, _):
        bench.tokens.given.clear()
        async with asyncio.timeout(PATIENCE):
            failure = await bench.fail(total=0.01)
        assert (failure.source, failure.kind) == ("kaltura", FailureKind.TIMEOUT)


@pytest.mark.parametrize(
    ("name", "content", "field"),
    [
        ("video", {**ENTRY, "createdAt": "now"}, "createdAt"),
        ("video", {**ENTRY, "id": "1_other"}, "id"),
        ("video", [ENTRY], "id"),
        ("videos", {"objects": [ENTRY]}, "totalCount"),
        ("search", {"objects": [{}], "totalCount": 1}, "videos[].id"),
        ("session", {"ks": "x"}, "ks"),
        ("session", "", "ks"),
        ("session", "two words", "ks"),
        ("session", "x" * 5000, "ks"),
        ("video", b"<!DOCTYPE html>", "body"),
        ("video", b"null", "body"),
    ],
)
async def test_an_unusable_answer_is_a_contract_violation(name: str, content: object, field: str) -> None:
    """A 200 that is no answer fails, is counted by its field, and counts against Kaltura's breaker."""
    async with scripted_bench(http(200, content)) as (bench, _):
        failure = await bench.fail(name)
        assert (failure.source, failure.kind) == ("kaltura", FailureKind.CONTRACT)
        assert bench.events.of(ContractViolated) == [ContractViolated(name, field, "kaltura")]
        assert bench.api.breaker.told == ["failure"]  # type: ignore[attr-defined]  # of the fake


async def test_elements_left_out_are_counted() -> None:
    """A list with some unsound entries is answered without them."""
    content = {"objects": [ENTRY, {**ENTRY, "views": "many"}], "totalCount": 2}
    async with scripted_bench(http(200, content)) as (bench, _):
        answer = body(await bench.ask("videos"))
        assert [video["id"] for video in answer["videos"]] == ["1_e0000003"]
        assert bench.events.of(ContractViolated) == [ContractViolated("videos", "videos[].views", "kaltura")]


def a_video_route(**changes: Any) -> Route:
    """Return a route of one's own that asks Kaltura for a video."""
    return a_route(input={"videoId": {"from": "query", "default": "x"}}, kaltura="video", **changes)


async def test_the_routes_own_requirements_hold_too() -> None:
    """What a route requires of an answer it requires of Kaltura's, its idea of absence included."""
    wants_owner, wants_stars = a_video_route(require=["id", "userId"]), a_video_route(require=["stars"])
    async with scripted_bench(http(200, {**ENTRY, "id": "x"})) as (bench, _):
        with pytest.raises(Unusable, match="Kaltura's answer has no userId"):
            await bench.source(a_call(wants_owner, {"videoId": "x"}))
        assert (await bench.source(a_call(wants_stars, {"videoId": "x"}))).status == 404


async def test_elements_without_what_the_route_requires_are_left_out() -> None:
    """They are counted by the field that they lack."""
    paging = {name: {"from": "query", "type": "integer", "default": 9} for name in ("page", "pageSize")}
    route = a_route(input=paging, kaltura="list", require=["videos", "videos[].userId"])
    content = {"objects": [ENTRY, {**ENTRY, "userId": "nelly"}], "totalCount": 2}
    async with scripted_bench(http(200, content)) as (bench, _):
        answer = await bench.source(a_call(route, {"page": 1, "pageSize": 9}))
        assert [video["userId"] for video in body(answer)["videos"]] == ["nelly"]
        assert bench.events.of(ContractViolated) == [ContractViolated("thing", "videos[].userId", "kaltura")]


async def test_a_route_without_the_key_is_a_mistake_of_the_assembly() -> None:
    """The policy never asks such a route of Kaltura; if it did, that shows."""
    async with scripted_bench(http(200, CATS)) as (bench, _):
        with pytest.raises(ValueError, match="asks nothing of Kaltura"):
            await bench.source(a_call(a_route(), {"id": "x"}))


async def test_faults_of_the_stand_in_are_failures() -> None:
    """HTML, wrong types and a 500 of Kaltura's are never an answer."""
    async with sandbox_bench() as (bench, kaltura):
        for fault, kind in (
            (Fault(answer="html"), FailureKind.CONTRACT),
            (Fault(answer="wrong_types"), FailureKind.CONTRACT),
            (Fault(answer="shell"), FailureKind.CONTRACT),
            (Fault(answer="truncated"), FailureKind.CONTRACT),
            (Fault(answer="reset"), FailureKind.UNREACHABLE),
            (Fault(status=500), FailureKind.STATUS),
        ):
            kaltura.faults = Faults(routes=fault)
            assert (await bench.fail()).kind is kind


async def test_nothing_secret_is_in_a_url_or_a_repr() -> None:
    """Secret and KS go as values of posted forms; no target and no `repr` has them."""
    async with scripted_bench(http(200, "a-viewers-ks"), http(200, ENTRY)) as (bench, origin):
        bench.tokens = FakeTokens()
        await bench.ask("session")
        await bench.ask("video")
        start, get = origin.received
        assert b"secret=an-admin-secret" in start.body
        assert b"ks=token-1" in get.body
        for message in origin.received:
            assert message.start.startswith(b"POST /api_v3/service/")
            assert b"?" not in message.target
            assert message.one("Content-Type") == b"application/x-www-form-urlencoded"
            assert message.one("Authorization") is None
            fields = b"".join(value for _, value in message.fields)
            assert b"secret" not in message.target + fields
            assert b"token-1" not in message.target + fields
        assert "an-admin-secret" not in repr(bench.source)
