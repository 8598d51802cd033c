"""What Kaltura is asked for the calls of routes."""

from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.kaltura_calls import InvalidValue, Question, known_as, question, reading, viewing
from tests.recordings import Recording, load
from tests.tables import DIALECTS, Dialect, routes

PAGE = {"page": 2, "pageSize": 3}


def form(asked: Question) -> dict[str, str]:
    """Return the form as Kaltura reads it."""
    return dict(parse_qsl(asked.body().decode(), keep_blank_values=True, strict_parsing=True))


def test_each_kind_of_route_has_its_call() -> None:
    """A video is got by its id; lists are newest first, paged, and searched by free text."""
    video = question("video", {"videoId": "1_cats"})
    assert (video.path, form(video)) == (
        "/service/media/action/get",
        {"format": "1", "entryId": "1_cats"},
    )
    newest = question("list", PAGE)
    paged = {
        "format": "1",
        "filter[objectType]": "KalturaMediaEntryFilter",
        "filter[orderBy]": "-createdAt",
        "pager[pageSize]": "3",
        "pager[pageIndex]": "2",
    }
    assert (newest.path, form(newest)) == ("/service/media/action/list", paged)
    found = question("search", {"query": "cats", **PAGE})
    assert (found.path, form(found)) == (newest.path, {**paged, "filter[freeText]": "cats"})


def test_a_viewers_session_is_for_one_video() -> None:
    """It is a user's (type 0), lives for hours and has the privilege to view that video and no other."""
    asked = question("session", {"videoId": "1_cats", "userId": "nelly"})
    assert asked.path == "/service/session/action/start"
    assert form(asked) == {
        "format": "1",
        "type": "0",
        "expiry": "14400",
        "privileges": "sview:1_cats",
        "userId": "nelly",
    }


def test_the_session_for_reading_is_short() -> None:
    """It is an administrator's (type 2), for ten minutes, named for listing and viewing."""
    assert form(reading()) == {
        "format": "1",
        "type": "2",
        "expiry": "600",
        "privileges": "list:*,sview:*",
    }


@pytest.mark.parametrize(
    ("video", "user", "said"),
    [
        ("1_a,edit:*", "nelly", "videoId is not valid"),
        ("*", "nelly", "videoId is not valid"),
        ("1_a;2", "nelly", "videoId is not valid"),
        ("1_a\n", "nelly", "videoId is not valid"),
        ("", "nelly", "videoId is not valid"),
        ("1_a", "x;0;edit:*", "userId is not valid"),
        ("1_a", "x,disableentitlement", "userId is not valid"),
        ("1_a", "x\n", "userId is not valid"),
        ("1_a", "", "userId is not valid"),
        ("1_a", "x" * 129, "userId is not valid"),
    ],
)
def test_no_value_of_a_client_widens_a_session(video: str, user: str, said: str) -> None:
    """What would add a privilege, or a field of a session, is the caller's mistake."""
    with pytest.raises(InvalidValue, match=said):
        viewing(video, user)


@given(st.text(min_size=1).filter(lambda text: text == text.encode(errors="replace").decode()))
def test_a_value_stays_one_value(text: str) -> None:
    """Whatever is searched for, it is one field of the form, and the others are as they were."""
    asked = question("search", {"query": text, **PAGE})
    assert form(asked) == {**form(question("list", PAGE)), "filter[freeText]": text}
    assert asked.path == "/service/media/action/list"


def test_no_form_is_shown() -> None:
    """The form, in which a secret or a KS may be, is in no `repr`."""
    assert "s3cret" not in repr(reading().having({"secret": "s3cret"}))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_shipped_tables_say_what_is_asked(dialect: Dialect) -> None:
    """Video, list, search and session ask Kaltura; nothing else does."""
    asked = {name: route.kaltura for name, route in routes(dialect).items() if route.kaltura}
    assert asked == {"video": "video", "videos": "list", "search": "search", "session": "session"}


@pytest.mark.parametrize(
    "name", ["gateway-older-kaltura", "gateway-newer-kaltura", "gateway-newer-development"]
)
def test_a_viewer_has_the_name_that_the_gateway_gives_them(name: Recording) -> None:
    """What Kaltura keeps of a viewer hangs on it: it is the `kalturaUserId` of every recorded login."""
    answers = [one.answer for one in load(name) if isinstance(one.answer, dict)]
    users = [answer["user"] for answer in answers if "kalturaUserId" in answer.get("user", {})]
    assert users
    assert all(known_as(user["discordId"]) == user["kalturaUserId"] for user in users)
