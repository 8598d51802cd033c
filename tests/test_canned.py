"""Canned answers, held against the Activity server's own mocks."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.call import Value
from proxy.canned import Canned
from tests.clocks import FakeClock
from tests.recordings import Exchange, load
from tests.tables import DIALECTS, PARTNER, Dialect, a_call, mocks, request, routes

LIST = "/api/kaltura/videos"
SEARCH = "/api/kaltura/videos/search"
CALLS = {
    "video": ("GET", "/api/kaltura/video/1_a"),
    "videos": ("GET", LIST),
    "search": ("GET", f"{SEARCH}?query=cats"),
    "session": ("POST", "/api/kaltura/session"),
    "play": ("POST", "/api/kaltura/video/1_a/play"),
}


def canned(clock: FakeClock | None = None) -> Canned:
    """The source over the shipped answers."""
    clock = clock or FakeClock()
    return Canned(mocks(), lambda: {"now": clock.time(), "partnerId": PARTNER})


async def answer(
    method: str, target: str, body: Mapping[str, object] | None = None, dialect: Dialect = "plan"
) -> Any:
    """The parsed canned answer to a client's request."""
    route, values = request(dialect, method, target, body or {"videoId": "1_a"})
    got = await canned()(a_call(route, values))
    assert (got.status, got.source, got.content_type) == (200, "canned", "application/json; charset=utf-8")
    return json.loads(got.body)


def mocked() -> list[Exchange]:
    """The recorded answers that the Activity server mocked."""
    return [it for it in load("activity-server") if it.status == 200 and it.path.startswith("/api/kaltura/")
            and it.method != "OPTIONS"]  # fmt: skip


def unrolled(video: Mapping[str, Any]) -> dict[str, Any]:
    """A video without its milliseconds, which are another's in each answer."""
    return {**video, "createdAt": video["createdAt"][:-5]}


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("recorded", mocked(), ids=str)
async def test_canned_answer_is_the_activity_servers(dialect: Dialect, recorded: Exchange) -> None:
    """To the second the canned answer is what the Activity server mocks, but that paging is honoured."""
    sent = json.loads(recorded.sent) if recorded.sent else None
    got = await answer(recorded.method, recorded.path, sent, dialect)
    wanted = recorded.answer
    if "ks" in wanted:
        assert got.keys() == {"ks"}
        assert got["ks"][:-3] == wanted["ks"][:-3]
        assert got["ks"][-3:].isdigit()
        return
    if "videos" not in wanted:
        assert unrolled(got) == unrolled(wanted)
        assert list(got) == list(wanted)
        return
    size = wanted["pageSize"] if wanted["pageSize"] > 0 else 30
    page = wanted["videos"][(wanted["page"] - 1) * size : wanted["page"] * size]
    assert [unrolled(video) for video in got.pop("videos")] == [unrolled(video) for video in page]
    assert got == {key: value for key, value in wanted.items() if key != "videos"}


def test_recordings_hold_every_mock() -> None:
    """The comparison covers the details, the lists, the search and the sessions."""
    assert len(mocked()) == 7


@pytest.mark.parametrize(
    ("query", "ids", "page", "size"),
    [
        ("", range(1, 11), 1, 30),
        ("?page=2&pageSize=3", range(4, 7), 2, 3),
        ("?page=4&pageSize=3", range(10, 11), 4, 3),
        ("?page=5&pageSize=3", range(0), 5, 3),
        ("?page=2", range(0), 2, 30),
        ("?page=abc&pageSize=-1", range(1, 11), 1, -1),
        ("?page=-2&pageSize=4", range(1, 5), -2, 4),
        ("?page=1000000&pageSize=500", range(0), 1_000_000, 500),
    ],
)
async def test_list_is_paged(query: str, ids: range, page: int, size: int) -> None:
    """The list holds the page that was asked for, echoes the numbers, and counts all that there are."""
    got = await answer("GET", LIST + query)
    assert [video["id"] for video in got["videos"]] == [f"mock_video_{number}" for number in ids]
    assert (got["page"], got["pageSize"], got["totalCount"]) == (page, size, 10)


async def test_list_is_a_day_apart() -> None:
    """Each video of the list is a day older than the one before."""
    got = await answer("GET", LIST)
    times = [datetime.fromisoformat(video["createdAt"]) for video in got["videos"]]
    assert {newer - older for newer, older in pairwise(times)} == {timedelta(days=1)}


async def test_search_is_paged_and_names_what_was_searched_for() -> None:
    """A search holds five videos with the query in their titles, page by page."""
    titles = []
    for page in (1, 2, 3, 4):
        got = await answer("GET", f"{SEARCH}?query=cats+%26+dogs&page={page}&pageSize=2")
        assert (got["page"], got["pageSize"], got["totalCount"]) == (page, 2, 5)
        titles += [video["title"] for video in got["videos"]]
    assert titles == [f'Sample Video {number} - "cats & dogs"' for number in range(1, 6)]


async def test_play_url_is_a_mock_for_all_to_see() -> None:
    """A canned play URL holds the id and leads nowhere."""
    got = await answer("POST", "/api/kaltura/video/1_a/play")
    assert got == {"playUrl": "https://mock.invalid/play/1_a"}


async def test_time_is_the_clocks() -> None:
    """Each answer tells the time at which it is given."""
    clock = FakeClock()
    source = canned(clock)
    call = a_call(routes("plan")["video"], {"videoId": "1_a"})
    first = json.loads((await source(call)).body)["createdAt"]
    clock.shift(90.5)
    second = json.loads((await source(call)).body)["createdAt"]
    assert (first, second) == ("2026-11-23T00:53:09.000Z", "2026-11-23T00:54:39.500Z")


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", CALLS)
async def test_canned_answer_keeps_its_routes_own_rules(dialect: Dialect, name: str) -> None:
    """What stands in for an answer has the fields and types that the route requires of one."""
    route = routes(dialect)[name]
    got = await answer(*CALLS[name], dialect=dialect)
    types: dict[str, type | tuple[type, ...]] = {"string": str, "number": (int, float), "array": list}
    for field in (*route.require, *route.types):
        head, tail = field.parts
        for holder in got[head] if tail else [got]:
            if field in route.require:
                assert holder[tail or head]
            if field in route.types and (tail or head) in holder:
                assert isinstance(holder[tail or head], types[route.types[field]])


@given(query=st.text(min_size=1) | st.sampled_from(["{{now}}", '"}', "\n", "{{partnerId}}", "\\"]))
async def test_nothing_sent_alters_an_answer(query: str) -> None:
    """Whatever is searched for stands in the titles as it is, and everything else stays."""
    route = routes("plan")["search"]
    values: dict[str, Value] = {"page": 1, "pageSize": 30, "query": query}
    got = json.loads((await canned()(a_call(route, values))).body)
    for number, video in enumerate(got["videos"], 1):
        assert video.pop("title") == f'Sample Video {number} - "{query}"'
    usual = await answer("GET", f"{SEARCH}?query=cats")
    for video in usual["videos"]:
        del video["title"]
    assert got == usual


@given(user=st.text(max_size=128), video=st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True))
async def test_session_holds_what_was_sent(user: str, video: str) -> None:
    """A canned session is `mock_ks_`, the video, the user and the time, whatever the user is called."""
    call = a_call(routes("newer")["session"], {"videoId": video, "userId": user})
    got = json.loads((await canned()(call)).body)
    assert got == {"ks": f"mock_ks_{video}_{user}_1795395189000"}
