"""What of a request may stand in a log."""

import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.masking import MASK, is_clear, masked_target, printable

SECRET_NAMES = [
    "token", "ks", "code", "access_token", "api_token", "secret", "session", "authorization",
    "password", "key", "client_secret", "refreshToken", "userKS", "user[ks]", "x-api-key",
]  # fmt: skip
HIDDEN = "djJ8MTIzNDV8hidden"
targets = st.text(alphabet="ab/?&;#=%@.:kstokenKEY\n 5\u202e\udc80é", max_size=60)


@pytest.mark.parametrize("name", SECRET_NAMES)
@pytest.mark.parametrize(
    "place",
    [
        "/x?{}={}",
        "/x?a=1&{}={}&b=2",
        "/x?a=1;{}={};b=2",
        "/x;{}={}",
        "/x?a=1?{}={}",
        "/x#{}={}",
        "/x?next=http://h/?{}={}",
        "/x?{}={};rest=&c=3",
        "http://h/x?{}={}",
        "{}={}",
    ],
)
def test_a_secret_parameter_is_masked(name: str, place: str) -> None:
    """Wherever a parameter stands, a secret's name stays and its value does not."""
    shown = masked_target(place.format(name, HIDDEN))
    assert HIDDEN not in shown
    assert f"{name}={MASK}" in shown


@pytest.mark.parametrize("name", ["TOKEN", "Ks", "cOdE", "Access_Token", "%6bs", "%54oken", "to%6Ben"])
def test_case_and_escapes_hide_no_name(name: str) -> None:
    """A name that the server reads as a secret's is one, however it is written."""
    assert masked_target(f"/x?{name}={HIDDEN}") == f"/x?{name}={MASK}"


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("name", SECRET_NAMES)
def test_an_address_as_a_value_keeps_no_secret(name: str, times: int) -> None:
    """A secret in an address that is itself a value is masked, escaped once or twice."""
    value = f"https://h/x?{name}={HIDDEN}&b=2"
    for _ in range(times):
        value = quote(value, safe="")
    assert HIDDEN not in masked_target(f"/login?a=1&next={value}&c=3")


def test_a_semicolon_ends_no_secret() -> None:
    """What follows a semicolon can be the rest of a secret, so it goes too."""
    assert masked_target("/x?token=abc;def&b=2") == f"/x?token={MASK}&b=2"


def test_the_rest_of_the_query_stays() -> None:
    """The log tells what was asked: other parameters, repeated and empty ones, stay as they came."""
    target = "/api/kaltura/videos/search?query=cat%20video&page=2&page=3&x&y=&monkey=1&z=100%25"
    assert masked_target(target) == target


def test_a_kaltura_session_in_a_path_is_masked() -> None:
    """Kaltura's addresses hold a session as a path segment."""
    assert masked_target(f"/p/1/KS/{HIDDEN}/a?b=1") == f"/p/1/KS/{MASK}/a?b=1"
    assert masked_target(f"/p/1/ks/{HIDDEN}") == f"/p/1/ks/{MASK}"
    assert masked_target(f"/p/1/ks/{HIDDEN}/a%20b") == f"/p/1/ks/{MASK}/a%20b"


@pytest.mark.parametrize("times", [0, 1, 2])
@pytest.mark.parametrize(
    "path", [f"/p/1/ks/{HIDDEN}/a", f"/ks/{HIDDEN}?b=1", f"/%6bs/{HIDDEN}", f"/ks%2F{HIDDEN}"]
)
def test_a_kaltura_session_in_an_address_that_is_a_value_is_masked(path: str, times: int) -> None:
    """However often that is escaped, and however the path is written."""
    value = f"https://h{path}"
    for _ in range(times):
        value = quote(value, safe="")
    assert HIDDEN not in masked_target(f"/login?a=1&next={value}&c=3")
    assert HIDDEN not in masked_target(path)


@pytest.mark.parametrize("user", [f"me:{HIDDEN}", HIDDEN, f"a@b:{HIDDEN}"])
def test_the_user_of_an_absolute_target_is_masked(user: str) -> None:
    """A user and password before the host are hidden; an @ elsewhere is none."""
    assert masked_target(f"http://{user}@host/x") == f"http://{MASK}@host/x"
    assert masked_target("/@me/x@y") == "/@me/x@y"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\r\nb", r"a\r\nb"),
        ("\x1b[31m", r"\x1b[31m"),
        ("\u202egnp", r"\u202egnp"),
        ("\udc80", r"\udc80"),
        ("\x85", r"\x85"),
        ("caf\u00e9 \u732b", "caf\u00e9 \u732b"),
    ],
)
def test_what_is_no_text_is_escaped(text: str, shown: str) -> None:
    """Nothing in a text can end a line, move a cursor, turn the direction or break the encoding."""
    assert printable(text, 100) == shown


@given(st.text(st.characters()), st.integers(1, 50))
def test_printable_is_bounded_and_safe(text: str, limit: int) -> None:
    """Whatever comes in, what comes out is short, printable and encodable."""
    shown = printable(text, limit)
    assert len(shown) <= limit
    assert shown.isprintable()
    assert json.loads(json.dumps(shown)).encode() == shown.encode()


def test_a_long_text_says_that_it_was_cut() -> None:
    """A cut text ends in an ellipsis; one that just fits does not."""
    assert printable("abcd", 4) == "abcd"
    assert printable("abcde", 4) == "abc…"


@given(targets, targets)
def test_no_target_lets_a_secret_out(before: str, after: str) -> None:
    """A secret between any two texts does not show, and the line stays one short line."""
    target = f"/{before}&ks={HIDDEN}&{after}"
    assert HIDDEN not in masked_target(target, 4096)
    shown = masked_target(target, 40)
    assert len(shown) <= 40
    assert shown.isprintable()


@given(targets)
def test_masking_twice_changes_nothing_more(target: str) -> None:
    """A masked target has nothing left to mask."""
    once = masked_target(target)
    assert masked_target(once) == once


@given(targets | st.text(alphabet="/kKsS\u212a\u017fx=", max_size=12))
def test_what_is_clear_is_shown_as_it_is(target: str) -> None:
    """The quick look spares nothing but the masking of what has nothing to mask."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("proxy.masking.is_clear", lambda _text: False)
        masked = masked_target(target)
    assert masked_target(target) == masked
    assert not is_clear(target) or masked == printable(target, 1024)
