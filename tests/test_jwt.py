"""Reading the times of a JWT."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.jwt import LATEST, Claims, claims

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


def encoded(raw: bytes) -> str:
    """Encode as base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def jwt(payload: object) -> str:
    """Make a JWT with that payload and a signature of nothing in particular."""
    return f"{encoded(b'{}')}.{encoded(json.dumps(payload).encode())}.c2ln"


def test_reads_a_token_of_the_gateway() -> None:
    """A token as the gateway's contract shows it, 1 hour long, is read."""
    token = (
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."
        "eyJkaXNjb3JkSWQiOiI4MDM1MTExMDIyNDY3ODkxMiIsImlhdCI6MTc5NTM5NTE4OSwiZXhwIjoxNzk1Mzk4Nzg5fQ."
        "c2lnbmF0dXJl"
    )
    assert claims(token) == Claims(issued_at=1795395189, expires_at=1795398789)


@given(issued=st.integers(0, LATEST), expires=st.integers(0, LATEST), name=st.text())
def test_times_are_read_whatever_else_is_in_it(issued: int, expires: int, name: str) -> None:
    """Every payload length and every other claim leaves the times readable."""
    token = jwt({"iat": issued, "exp": expires, "name": name})
    assert claims(token) == Claims(issued_at=issued, expires_at=expires)


def test_base64url_letters_are_understood() -> None:
    """A payload whose encoding has `-` and `_` in it is read."""
    payload = {"a": "~~~???>>>", "b": "\u00ff\u00fe?", "exp": 7}
    token = f"e30.{encoded(json.dumps(payload, ensure_ascii=False).encode())}."
    assert "-" in token or "_" in token
    assert claims(token) == Claims(issued_at=None, expires_at=7)


@pytest.mark.parametrize("value", ["7", True, None, -1, LATEST + 1, 1795398789000, 1e300, [7]])
def test_what_is_no_time_counts_as_absent(value: object) -> None:
    """A claim that is no number of seconds is left out, and the token is still a JWT."""
    assert claims(jwt({"iat": value, "exp": value})) == Claims(None, None)


@pytest.mark.parametrize(
    "token",
    [
        "",
        "opaque",
        "a.b",
        "a.b.c.d.e",
        "..",
        "a.b.c",
        f"e30.{encoded(b'[1]')}.x",
        f"e30.{encoded(b'7')}.x",
        f"e30.{encoded(b'{')}.x",
        f"e30.{encoded(bytes([0xFF, 0xFE]))}.x",
        f"e30.{encoded(b'[' * 100_000)}.x",
        "e30.e3\n0.x",
        "e30.e30\u00e9.x",
    ],
)
def test_an_opaque_token_has_no_claims(token: str) -> None:
    """What is not a JWT with an object inside is opaque, not an error."""
    assert claims(token) is None


@given(st.text() | st.text(alphabet="abcXYZ019-_=.+/") | st.builds(jwt, JSON_VALUES))
def test_garbage_never_raises(token: str) -> None:
    """Whatever the text, the result is claims in range or nothing."""
    found = claims(token)
    if found is not None:
        for moment in (found.issued_at, found.expires_at):
            assert moment is None or 0 <= moment <= LATEST


def test_claims_hold_no_secret() -> None:
    """The result shows times only, so that it can be printed."""
    assert repr(claims(jwt({"exp": 7, "secret": "hunter2"}))) == ("Claims(issued_at=None, expires_at=7.0)")
