"""The ids of requests."""

import re

import pytest

from proxy.request_id import RequestIds


def test_ids_differ_between_requests_and_processes() -> None:
    """Two seeds make two rows of ids, 32 digits each, that have nothing in common."""
    rows = [RequestIds(bytes([number] * 16)) for number in (1, 2)]
    ids = [row() for row in rows for _ in range(1000)]
    assert len(set(ids)) == 2000
    assert all(re.fullmatch(r"[0-9a-f]{32}", made) for made in ids)


def test_the_numbers_begin_anew_after_the_last() -> None:
    """An id never becomes longer."""
    ids = RequestIds(b"\xff" * 16)
    assert [ids()[16:], ids()[16:]] == ["f" * 16, "0" * 16]


def test_each_number_follows_the_one_before() -> None:
    """None is left out and none comes twice, wherever the row begins."""
    for begin in (0, 1, 250, 255, 256, 65_530):
        ids = RequestIds(bytes(8) + begin.to_bytes(8, "big"))
        assert [int(ids(), 16) for _ in range(600)] == [*range(begin, begin + 600)]


@pytest.mark.parametrize("given", [None, "", "a b", "x" * 129, 'a"b', "a\r\nb"])
def test_what_could_upset_a_header_is_not_taken_over(given: str | None) -> None:
    """The client gets an id of ours instead."""
    assert RequestIds(bytes(16)).of(given) == "0" * 32


def test_a_sound_id_is_taken_over() -> None:
    """So that a request can be followed from before us."""
    assert RequestIds(bytes(16)).of("Trace-1:a.b_c") == "Trace-1:a.b_c"
