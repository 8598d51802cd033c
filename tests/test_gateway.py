"""What the gateway is asked, and what its answers become."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.call import FailureKind, Value
from proxy.events import AttemptEnded, ContractViolated
from proxy.gateway import paged
from tests.gateway_fakes import CATS, FOUND, HTML, bench, call_of, content, http
from tests.tables import a_call, a_route, routes

SHELL = {"video": {"thumbnailUrl": "https://x/undefined", "duration": 0, "createdAt": None, "views": 0}}
VIDEOS: dict[str, Value] = {"page": 2, "pageSize": 2}


async def test_a_call_is_the_routes_own() -> None:
    """The gateway sees the route's method and path, the token, the request's id, nothing of the client."""
    async with bench(FOUND) as (it, origin):
        await it.ask("video", {"videoId": "1_cats"})
    (message,) = origin.received
    assert message.start == b"GET /api/videos/1_cats HTTP/1.1"
    assert message.one("Authorization") == b"Bearer token-1"
    assert message.one("X-Request-Id") == b"r1"
    assert message.one("Accept") == b"application/json"
    assert message.one("Cookie") is None
    assert message.body == b""


async def test_values_go_escaped_into_one_place_each() -> None:
    """A value that looks like a path or a query stays one value."""
    async with bench(http(200, {"videos": []})) as (it, origin):
        await it.ask("search", {"query": "a&limit=9/../#?ä", "page": 1, "pageSize": 5})
    assert origin.received[0].target == (
        b"/api/videos/search?q=a%26limit%3D9%2F..%2F%23%3F%C3%A4&limit=5&page=1"
    )


async def test_a_call_that_would_leave_its_path_is_not_made() -> None:
    """A value that no path can hold is the caller's mistake, and the gateway hears nothing of it."""
    async with bench(FOUND) as (it, origin):
        answer = await it.ask("video", {"videoId": ".."})
    assert answer.status == 400
    assert content(answer)["code"] == "invalid_request"
    assert not origin.received
    assert it.tokens.asked == 0


async def test_a_body_is_the_routes_own() -> None:
    """A call's body is rendered from the route's template, with the inputs, the subject and the built-ins."""
    route = a_route(
        match="POST /things/{id}",
        call="POST /v1/things",
        reply="{id: id}",
        send={
            "thing": "{{id}}",
            "who": "{{subject.discordId}} {{subject.username}}",
            "roles": "{{subject.roles}}",
            "partner": "{{partnerId}}",
            "at": "{{now}}",
        },
    )
    async with bench(http(200, {"id": "t"})) as (it, origin):
        await it.ask(route=route, values={"id": "t"})
    (message,) = origin.received
    assert message.one("Content-Type") == b"application/json"
    assert json.loads(message.body) == {
        "thing": "t",
        "who": "activity-proxy Activity Proxy",
        "roles": ["Moderator"],
        "partner": "42",
        "at": "2026-11-23T00:53:09.000Z",
    }


async def test_an_answer_is_mapped() -> None:
    """The gateway's video becomes the Activity server's, with what the gateway does not have filled in."""
    async with bench(FOUND) as (it, _):
        answer = await it.ask()
    assert (answer.status, answer.source, answer.headers) == (200, "gateway", ())
    assert content(answer) == {
        **CATS,
        "description": "",
        "duration": 0,
        "thumbnailUrl": "",
        "partnerId": "42",
        "views": 0,
        "playUrl": None,
        "userId": None,
    }
    assert it.events == [AttemptEnded("video", "ok", 0.0)]


async def test_the_clients_own_numbers_stand_in_the_answer() -> None:
    """The client reads the page that it asked for, and the gateway is asked for the one that is meant."""
    videos = {"videos": [CATS]}
    async with bench(http(200, videos)) as (it, origin):
        answer = await it.ask("search", {"query": "cats", "page": 1, "pageSize": -1})
    assert content(answer)["pageSize"] == -1
    assert b"limit=30&page=1" in origin.received[0].target


async def test_a_credential_is_not_to_be_kept() -> None:
    """An answer that holds a credential says `no-store`."""
    async with bench(http(200, {"ks": "djJ8"})) as (it, _):
        answer = await it.ask("session", {"videoId": "1_cats", "userId": "nelly"})
    assert content(answer) == {"ks": "djJ8"}
    assert answer.headers == (("Cache-Control", "no-store"),)


@pytest.mark.parametrize("body", [http(200, SHELL), http(404, {"error": "Video not found"})])
async def test_a_missing_video_is_missing(body: bytes) -> None:
    """A shell of a video, and a JSON 404, are a 404 that names the video, in the error shape."""
    async with bench(body) as (it, origin):
        answer = await it.ask("video", {"videoId": "1_absent00"})
    assert (answer.status, answer.source) == (404, "gateway")
    assert content(answer) == {
        "error": "Video not found",
        "message": "There is no video 1_absent00",
        "code": "not_found",
    }
    assert len(origin.received) == 1
    assert it.breaker.told == ["success"]
    assert it.events == [AttemptEnded("video", "missing", 0.0)]


@pytest.mark.parametrize("status", [400, 413])
async def test_the_callers_mistake_is_told(status: int) -> None:
    """A mistake of the caller is answered as such, with the gateway's own words, and is nobody's failure."""
    async with bench(http(status, {"error": "videoId is odd"})) as (it, origin):
        answer = await it.ask()
    assert answer.status == status
    assert content(answer)["error"] == "videoId is odd"
    assert content(answer)["code"] == "refused_by_gateway"
    assert len(origin.received) == 1
    assert it.breaker.told == ["success"]
    assert it.events == [AttemptEnded("video", "refused", 0.0)]


@pytest.mark.parametrize("status", [404, 405])
async def test_a_call_that_does_not_exist_is_told_apart(status: int) -> None:
    """A page of HTML with 404 or 405 means that there is no such call: no failure that trips the breaker."""
    async with bench(http(status, HTML)) as (it, origin):
        failure = await it.fail()
    assert (failure.kind, failure.status) == (FailureKind.NO_SUCH_ROUTE, status)
    assert len(origin.received) == 1
    assert it.breaker.told == ["success"]


async def test_elements_that_are_none_are_left_out_and_told() -> None:
    """A list without its unsound elements is an answer, and each field at fault is told once."""
    videos = {"videos": [CATS, {"title": "no id"}, {"title": "neither"}, {**CATS, "duration": "long"}]}
    async with bench(http(200, videos)) as (it, _):
        answer = await it.ask("search", {"query": "cats", "page": 1, "pageSize": 5})
    assert [video["id"] for video in content(answer)["videos"]] == ["1_cats"]
    told = it.events.of(ContractViolated)
    assert told == [
        ContractViolated("search", "videos[].id"),
        ContractViolated("search", "videos[].duration"),
    ]


async def test_a_list_is_cut_to_its_page() -> None:
    """Where the gateway gives more than a page, the client gets the one that it asked for."""
    videos = {"videos": [{**CATS, "id": f"1_{number}"} for number in range(5)]}
    async with bench(http(200, videos)) as (it, _):
        answer = await it.ask("videos", VIDEOS)
    assert [video["id"] for video in content(answer)["videos"]] == ["1_2", "1_3"]


@given(st.lists(st.integers(), max_size=40), st.integers(1, 20), st.integers(1, 20))
def test_a_page_is_never_too_long(elements: list[int], page: int, size: int) -> None:
    """A page holds at most what was asked for: as it came where it fits, else cut from the whole."""
    call = call_of("plan", "GET", f"/api/kaltura/videos?page={page}&pageSize={size}")
    cut = paged(call, {"videos": elements, "page": page})
    wanted = elements if len(elements) <= size else elements[(page - 1) * size : page * size]
    assert cut == {"videos": wanted, "page": page}


def test_what_is_no_list_is_not_cut() -> None:
    """A route without paging, and a reply whose list is none, stay as they are."""
    call = call_of("plan", "GET", "/api/kaltura/videos?page=2")
    assert paged(call, {"videos": None}) == {"videos": None}
    assert paged(replace(call, route=routes("plan")["video"]), {"videos": [1] * 99}) == {"videos": [1] * 99}


async def test_a_route_without_a_call_is_a_defect() -> None:
    """The gateway is not to be asked for what it has no call for."""
    async with bench(FOUND) as (it, _):
        with pytest.raises(ValueError, match="no gateway call"):
            await it.gateway(a_call(routes("plan")["token"], {}))


async def test_a_call_that_came_to_nothing_is_a_defect() -> None:
    """An answer is made of a verdict; where there is none something is wrong here, not at the gateway."""
    async with bench(FOUND) as (it, _):
        with pytest.raises(ValueError, match="without a verdict"):
            it.gateway._answer(a_call(routes("plan")["video"], {}), None)


async def test_a_redirect_is_not_followed() -> None:
    """An answer that sends elsewhere is no answer: the token goes nowhere but to the gateway."""
    async with bench(http(302, b"", Location="http://127.0.0.1:9/")) as (it, origin):
        failure = await it.fail()
    assert (failure.kind, failure.status) == (FailureKind.STATUS, 302)
    assert len(origin.received) == 1


async def test_cookies_are_not_kept() -> None:
    """A cookie of the gateway's does not come back with the next call, which may be another user's."""
    async with bench(http(200, {"video": CATS}, Set_Cookie="user=nelly")) as (it, origin):
        await it.ask()
        answer = await it.ask()
    assert origin.received[1].one("Cookie") is None
    assert answer.headers == ()
