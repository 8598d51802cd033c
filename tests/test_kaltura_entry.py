"""Kaltura's entries as videos."""

from typing import Any

import pytest
from hypothesis import given

from proxy.kaltura_entry import LIST_FIELDS, VIDEO_FIELDS, Unsound, listed, video_of
from tests.tables import JSON_VALUES

ENTRY: dict[str, Any] = {
    "id": "1_cats",
    "name": "Cats",
    "description": "About cats",
    "duration": 77,
    "thumbnailUrl": "https://cdn.example/1_cats",
    "partnerId": 5896392,
    "createdAt": 1_740_259_200,
    "views": 33,
    "plays": 30,
    "userId": "teacher@example.edu",
    "objectType": "KalturaMediaEntry",
}
VIDEO = {
    "id": "1_cats",
    "title": "Cats",
    "description": "About cats",
    "duration": 77,
    "thumbnailUrl": "https://cdn.example/1_cats",
    "partnerId": "5896392",
    "createdAt": "2025-02-22T21:20:00.000Z",
    "views": 33,
    "playUrl": None,
    "userId": "teacher@example.edu",
}


def test_an_entry_becomes_the_activity_servers_video() -> None:
    """Names, types and time are the Activity server's; a play URL Kaltura has none."""
    assert video_of(ENTRY, "42") == VIDEO


def test_what_an_entry_lacks_has_its_empty_value() -> None:
    """Absent and null fields are empty texts and zeros, and the partner is the configured one."""
    bare = {**dict.fromkeys(ENTRY), "id": "1_cats", "name": "Cats"}
    empty = {
        **dict.fromkeys(VIDEO),
        "id": "1_cats",
        "title": "Cats",
        "description": "",
        "duration": 0,
        "thumbnailUrl": "",
        "partnerId": "42",
        "views": 0,
    }
    assert video_of(bare, "42") == video_of({"id": "1_cats", "name": "Cats"}, "42") == empty


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"id": None}, "id"),
        ({"id": 7}, "id"),
        ({"name": None}, "title"),
        ({"description": ["x"]}, "description"),
        ({"duration": "77"}, "duration"),
        ({"duration": -1}, "duration"),
        ({"duration": True}, "duration"),
        ({"thumbnailUrl": 1}, "thumbnailUrl"),
        ({"partnerId": True}, "partnerId"),
        ({"partnerId": 1.5}, "partnerId"),
        ({"createdAt": "yesterday"}, "createdAt"),
        ({"createdAt": 10**15}, "createdAt"),
        ({"createdAt": 1e300}, "createdAt"),
        ({"views": {}}, "views"),
        ({"userId": 5}, "userId"),
    ],
)
def test_a_wrong_type_is_named(changes: dict[str, Any], field: str) -> None:
    """The field is named as the client would read it."""
    with pytest.raises(Unsound) as caught:
        video_of({**ENTRY, **changes}, "42")
    assert caught.value.field == field


def test_a_list_tells_its_total_and_leaves_out_what_is_no_entry() -> None:
    """The total is Kaltura's own; more than a page is cut; what an entry was left out for is told once."""
    entries = [ENTRY, {**ENTRY, "name": 5}, {**ENTRY, "name": 6}, ENTRY, ENTRY]
    page = listed({"objects": entries, "totalCount": 95}, "42", 4)
    assert (page.videos, page.total, page.unsound) == ([VIDEO, VIDEO], 95, ("videos[].title",))
    assert listed({"objects": [], "totalCount": 0}, "42", 4).videos == []


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ([ENTRY], "videos"),
        ({"totalCount": 1}, "videos"),
        ({"objects": {}, "totalCount": 1}, "videos"),
        ({"objects": [ENTRY]}, "totalCount"),
        ({"objects": [ENTRY], "totalCount": "1"}, "totalCount"),
        ({"objects": [ENTRY], "totalCount": True}, "totalCount"),
        ({"objects": [ENTRY], "totalCount": -1}, "totalCount"),
        ({"objects": [{}, {}], "totalCount": 2}, "videos[].id"),
        ({"objects": ["x"], "totalCount": 2}, "videos[].id"),
    ],
)
def test_a_list_that_is_none_is_unsound(content: object, field: str) -> None:
    """Nothing is made of another shape, nor of a list in which nothing is sound."""
    with pytest.raises(Unsound) as caught:
        listed(content, "42", 30)
    assert caught.value.field == field


@given(JSON_VALUES)
def test_any_json_is_a_video_or_unsound(content: object) -> None:
    """Whatever comes, no other error does, and the field is one of the closed set."""
    for read, fields in ((lambda: video_of(content, "42"), VIDEO_FIELDS), (_as_list(content), LIST_FIELDS)):
        try:
            read()
        except Unsound as error:
            assert error.field in fields  # noqa: PT017  (most examples raise)


def _as_list(content: object) -> Any:
    return lambda: listed({"objects": [content], "totalCount": 1}, "42", 30)
