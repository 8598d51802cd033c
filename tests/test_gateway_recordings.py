"""The client's calls against gateways that answer as the real ones were recorded."""

import asyncio
from typing import Any

import pytest

from proxy.events import AttemptEnded, DialectChosen
from tests.recordings import Recording, load
from tests.replay import ABSENT, KNOWN, RecordedTokens, Way, whole_way

RELEASES: tuple[Recording, ...] = ("gateway-newer-kaltura", "gateway-older-kaltura")
every_release = pytest.mark.parametrize("release", RELEASES)
VIDEO = {
    "id": KNOWN,
    "title": "Lecture 3: cats and networks",
    "description": "Recorded session 3",
    "duration": 111,
    "thumbnailUrl": f"https://cfvod.kaltura.com/p/5896392/thumbnail/entry_id/{KNOWN}",
    "partnerId": "42",
    "createdAt": "2025-02-22T21:20:00.000Z",
    "views": 33,
    "userId": "teacher0@example.edu",
}


def answer_to(release: Recording, method: str, path: str) -> Any:
    """Return what the recording has for that call."""
    return next(it.answer for it in load(release) if (it.method, it.path) == (method, path))


async def get(way: Way, method: str, target: str, **kw: Any) -> Any:
    """Return the JSON of an answer that came from the gateway."""
    got = await way.listener.send(method, target, **kw)
    assert got.status == 200, got.body
    assert got.headers["Activity-Proxy-Source"] == "gateway"
    assert "Proxy-Status" not in got.headers
    return got.json()


@every_release
async def test_a_video_is_the_right_one(release: Recording) -> None:
    """A video's details are those that the gateway has, in the Activity server's shape."""
    async with whole_way(release) as way:
        video = await get(way, "GET", f"/.proxy/api/kaltura/video/{KNOWN}")
    assert f"entry_id={KNOWN}" in video.pop("playUrl")
    assert video == VIDEO


@every_release
async def test_an_absent_video_is_a_404(release: Recording) -> None:
    """The shell that the gateway gives for a video that is not there is a 404, and no mock covers it."""
    async with whole_way(release) as way:
        got = await way.listener.send("GET", f"/api/kaltura/video/{ABSENT}")
    assert got.status == 404
    assert (got.json()["error"], got.json()["code"]) == ("Video not found", "not_found")
    assert got.headers["Activity-Proxy-Source"] == "gateway"
    assert got.headers["Cache-Control"] == "no-store"


@every_release
async def test_a_list_is_the_page_that_was_asked_for(release: Recording) -> None:
    """The list honours paging on both releases, once `auto` has asked, for which it needs a token too."""
    async with whole_way(release) as way:
        assert not await way.dialects.settle()
        assert await way.dialects.settle()
        listed = await get(way, "GET", "/api/kaltura/videos?page=2&pageSize=3")
    assert [video["id"] for video in listed["videos"]] == ["1_e0000092", "1_e0000091", "1_e0000090"]
    assert (listed["page"], listed["pageSize"], listed["totalCount"]) == (2, 3, 3)
    assert set(listed["videos"][0]) == {*VIDEO, "playUrl"}


@every_release
@pytest.mark.parametrize(("page", "numbers"), [(1, [95, 93]), (2, [91, 89])])
async def test_a_search_finds_and_pages(release: Recording, page: int, numbers: list[int]) -> None:
    """A search gives the page that was asked for, of what was asked for."""
    async with whole_way(release) as way:
        found = await get(way, "GET", f"/api/kaltura/videos/search?query=cats&page={page}&pageSize=2")
    assert [video["id"] for video in found["videos"]] == [f"1_e00000{number}" for number in numbers]
    assert all("cats" in video["title"] for video in found["videos"])
    assert (found["page"], found["pageSize"], found["totalCount"]) == (page, 2, 2)


@every_release
async def test_a_session_comes_from_the_login(release: Recording) -> None:
    """Without waiting for `auto`, the session call that is not there leads to the one that is."""
    async with whole_way(release) as way:
        body = {"videoId": KNOWN, "userId": "80351110224678912"}
        session = await get(way, "POST", "/api/kaltura/session", json=body)
    login = answer_to(release, "POST", "/api/auth/token")
    assert session == {"ks": login["kalturaSession"]["ks"]}
    assert {(it.route, it.dialect) for it in way.gateway.events.of(DialectChosen)} == {
        ("session", "newer"),
        ("videos", "newer"),
    }
    outcomes = [it.outcome for it in way.gateway.events.of(AttemptEnded)]
    assert outcomes == ["unauthorized", "no_such_route", "ok"]


@every_release
async def test_a_session_may_not_be_kept(release: Recording) -> None:
    """A credential says `no-store`."""
    async with whole_way(release) as way:
        got = await way.listener.send("POST", "/api/kaltura/session", json={"videoId": KNOWN})
    assert got.headers["Cache-Control"] == "no-store"


@every_release
async def test_a_play_url_is_the_gateways(release: Recording) -> None:
    """A play URL is the one that the gateway made, and nothing else of its answer."""
    async with whole_way(release) as way:
        play = await get(way, "POST", f"/api/kaltura/video/{KNOWN}/play")
    assert play == {"playUrl": answer_to(release, "POST", f"/api/videos/{KNOWN}/play")["playUrl"]}


async def test_kalturas_details_are_the_older_releases() -> None:
    """The call that only the older release has is answered there, and is an honest error elsewhere."""
    async with whole_way("gateway-older-kaltura") as way:
        video = await get(way, "GET", f"/api/kaltura/video/{KNOWN}/details")
    assert (video["id"], video["title"]) == (KNOWN, VIDEO["title"])
    async with whole_way("gateway-newer-kaltura") as way:
        got = await way.listener.send("GET", f"/api/kaltura/video/{KNOWN}/details")
    assert (got.status, got.json()["code"]) == (502, "gateway_no_such_route")


@every_release
async def test_many_at_once_settle_together(release: Recording) -> None:
    """Sessions that are asked for at the same time all come, for one round of questions."""
    async with whole_way(release) as way:
        way.gateway.tokens.void(1)
        body = {"videoId": KNOWN, "userId": "nelly"}
        await asyncio.gather(*(get(way, "POST", "/api/kaltura/session", json=body) for _ in range(5)))
        asked = [it for it in way.origin.received if b"/1_00000000/session" in it.start]
    assert len(asked) == 1


async def test_a_token_that_the_gateway_refuses_is_replaced() -> None:
    """The recorded 401 to a forged token brings on the next one, and the client sees nothing of it."""
    async with whole_way("gateway-newer-kaltura") as way:
        await get(way, "GET", f"/api/kaltura/video/{KNOWN}")
        tokens = way.gateway.tokens
    assert isinstance(tokens, RecordedTokens)
    sent = [(message.one("Authorization") or b"").decode() for message in way.origin.received]
    assert sent == [f"Bearer {tokens.values[1]}", f"Bearer {tokens.values[2]}"]
    assert tokens.voided == [1]
