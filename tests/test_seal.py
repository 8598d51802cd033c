"""What lies in a Redis of a session: nothing to read, nothing to alter, nothing to put elsewhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.seal import Seal
from proxy.sessions import Session

KEY = "0123456789abcdef0123456789abcdef"
ALICE = Session("80351110224678912", "Alice", 1_795_398_789.5, "twin-of-alice")
PLACE = "a" * 64
seal = Seal(KEY)

sessions = st.builds(
    Session,
    discord_id=st.text("0123456789", min_size=1, max_size=20),
    username=st.text(st.characters(codec="utf-8"), max_size=128),
    expires_at=st.floats(0, 4e9),
    twin=st.text("0123456789abcdef", max_size=64),
)


@given(sessions, st.text("0123456789abcdef", min_size=64, max_size=64))
def test_what_is_sealed_comes_out_as_it_was(session: Session, place: str) -> None:
    """By another seal of the same secret too, as another sidecar has it."""
    assert Seal(KEY).open(place, seal.close(place, session)) == session


def test_nothing_of_a_session_can_be_read() -> None:
    """And the same session is never the same bytes twice."""
    one, other = seal.close(PLACE, ALICE), seal.close(PLACE, ALICE)
    assert one != other
    for text in (ALICE.discord_id, ALICE.username, ALICE.twin, PLACE):
        assert text.encode() not in one


@given(st.data())
def test_nothing_altered_is_believed(data: st.DataObject) -> None:
    """One bit anywhere, the version included, a byte less or more: it is none of ours."""
    whole = seal.close(PLACE, ALICE)
    at, bit = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 7))
    altered = bytearray(whole)
    altered[at] ^= 1 << bit
    assert seal.open(PLACE, bytes(altered)) is None
    assert seal.open(PLACE, whole[:at]) is None
    assert seal.open(PLACE, whole + b"x") is None


@pytest.mark.parametrize(
    ("secret", "place"),
    [("x" * 32, PLACE), (KEY, "b" * 64), (KEY + "0", PLACE)],
)
def test_a_session_is_bound_to_its_secret_and_its_place(secret: str, place: str) -> None:
    """Whoever can write to the Redis cannot give one viewer another's session."""
    assert Seal(secret).open(place, seal.close(PLACE, ALICE)) is None
