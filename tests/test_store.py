"""Entries of the cache, and their form as bytes."""

import math
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.store import FORMAT, Entry, decode, encode
from tests.stores import entries, entry


@given(entries)
def test_entry_comes_back_as_it_was(kept: Entry) -> None:
    """What was encoded is decoded to the same entry, whatever it holds."""
    assert decode(encode(kept)) == kept


@given(st.binary(max_size=400))
def test_foreign_bytes_are_no_entry(data: bytes) -> None:
    """Bytes that came from elsewhere are nothing, and raise nothing."""
    assert decode(data) is None


@given(entries, st.data())
def test_one_wrong_bit_is_noticed(kept: Entry, data: st.DataObject) -> None:
    """A flipped bit, wherever it is, never yields an entry."""
    good = encode(kept)
    at = data.draw(st.integers(0, 8 * len(good) - 1))
    damaged = bytearray(good)
    damaged[at // 8] ^= 1 << at % 8
    assert decode(bytes(damaged)) is None


@given(entries, st.data())
def test_other_length_is_noticed(kept: Entry, data: st.DataObject) -> None:
    """Bytes that were cut short, or that something follows, never yield an entry."""
    good = encode(kept)
    assert decode(good[: data.draw(st.integers(0, len(good) - 1))]) is None
    assert decode(good + data.draw(st.binary(min_size=1, max_size=9))) is None


def test_other_version_is_nothing() -> None:
    """An entry of a later format is a miss, even if the rest looks right."""
    good = encode(entry())
    assert good[0] == FORMAT
    assert decode(bytes([FORMAT + 1]) + good[1:]) is None


@pytest.mark.parametrize("etag", [b'"a\r\nX:1"', b'"\xc3\xa4"', b'"\x7f"'])
def test_sealed_but_impossible_entry_is_nothing(etag: bytes) -> None:
    """A tag that would break out of its header is refused, though the checksum over it is right."""
    good = encode(Entry(200, b"{}", "x" * len(etag), 1.0, 1.0))
    inside = good[5:].replace(b"x" * len(etag), etag)
    forged = good[:1] + zlib.crc32(inside).to_bytes(4) + inside
    assert decode(forged) is None


@pytest.mark.parametrize("status", [199, 201, 304, 401, 403, 500])
def test_only_answers_worth_keeping_are_kept(status: int) -> None:
    """Nothing but 200 and 404 can be an entry: no error and no refusal is ever kept."""
    with pytest.raises(ValueError, match="only 200 and 404"):
        entry(status=status)


@pytest.mark.parametrize("etag", ["ä", "a\r\nb", "x" * 256])
def test_tag_must_fit_into_a_header(etag: str) -> None:
    """A tag that is no short printable ASCII is refused."""
    with pytest.raises(ValueError, match="entity tag"):
        Entry(200, b"", etag, 0.0, 0.0)


@pytest.mark.parametrize(
    ("stored_at", "max_age"), [(math.nan, 1.0), (math.inf, 1.0), (1.0, math.inf), (1.0, -1.0)]
)
def test_times_must_make_sense(stored_at: float, max_age: float) -> None:
    """An entry cannot be kept fresh for ever by a time that is none."""
    with pytest.raises(ValueError, match="finite"):
        Entry(200, b"", "", stored_at, max_age)


def test_body_is_not_shown() -> None:
    """What an answer holds does not get into logs by way of its repr."""
    assert "1_abc" not in repr(entry())
