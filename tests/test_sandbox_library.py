"""The sandbox's videos: 95 lectures, or made-up ones."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.sandbox_library import LECTURES, Library, MadeUp, shell
from tests.clocks import FakeClock

DICE = Random(1)  # noqa: S311
LIBRARY = Library(DICE)


def ids(videos: list[dict[str, object]]) -> list[object]:
    """Return the videos' ids."""
    return [video["id"] for video in videos]


@given(size=st.integers(1, 120))
def test_pages_cover_the_library_once(size: int) -> None:
    """All pages of any size, one after the other, are the 95 lectures from the newest on."""
    seen: list[object] = []
    page = 1
    while videos := LIBRARY.newest(page, size):
        assert len(videos) <= size
        seen += ids(videos)
        page += 1
    assert seen == [f"1_e{n:07d}" for n in range(95, 0, -1)]


@pytest.mark.parametrize(("query", "found"), [("cats", 48), ("DOGS", 47), ("", 95), ("  ", 95)])
def test_a_search_counts(query: str, found: int) -> None:
    """Odd lectures are about cats, even ones about dogs; case is nothing; no words match all."""
    assert len(LIBRARY.search(query, 1, 100)) == found


def test_a_search_wants_every_word() -> None:
    """Each word of the query has to be in the title or the description."""
    assert ids(LIBRARY.search("session dogs 42", 1, 10)) == ["1_e0000042"]
    assert LIBRARY.search("cats dogs", 1, 10) == []


def test_pages_before_the_first_are_the_first() -> None:
    """A page or size below one counts as one."""
    assert ids(LIBRARY.newest(-3, 0)) == ["1_e0000095"]


@given(n=st.integers(1, LECTURES))
def test_each_lecture_is_found_by_its_id(n: int) -> None:
    """A lecture's details are the same as in the list."""
    (listed,) = LIBRARY.newest(LECTURES + 1 - n, 1)
    assert LIBRARY.one(f"1_e{n:07d}") == listed


@pytest.mark.parametrize(
    "absent", ["", "1_absent00", "1_e0000000", "1_e0000096", "1_e3", "0000003", "1_e000000\u0663"]
)
def test_an_absent_video_is_a_shell(absent: str) -> None:
    """What is no lecture's id gives a video without id and title."""
    video = LIBRARY.one(absent)
    assert video == shell("5896392")
    assert "id" not in video
    assert "title" not in video


def test_sessions_name_their_user_and_privileges() -> None:
    """Each session is another, and says whose it is and what it allows."""
    first, second = (LIBRARY.ks("discord_1", "sview:1_e0000003") for _ in range(2))
    assert first.startswith("djJ85896392|discord_1|sview:1_e0000003|")
    assert first != second


def test_made_up_videos_differ_at_every_call() -> None:
    """Without Kaltura there are five videos whatever is asked, never the same ones."""
    made_up = MadeUp(DICE, FakeClock())
    first, second = made_up.newest(1, 2), made_up.newest(1, 2)
    assert len(first) == len(second) == 5
    assert not set(ids(first)) & set(ids(second))
    assert made_up.search("cats", 9, 1)[0]["title"] == "Mock Video 1 - cats"
    assert made_up.one("anything")["id"] == "anything"
    assert made_up.ks("a", "b") != made_up.ks("a", "b")
