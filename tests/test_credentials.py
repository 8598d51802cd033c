"""What a viewer shows to be recognised, and what of it stays here."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.call import ClientRequest
from proxy.credentials import (
    COOKIE,
    Presented,
    bearer_key,
    clear_cookie,
    cookie_key,
    presented,
    set_cookie,
    without_cookie,
)
from proxy.headers import Hop, forwarded_headers

OURS = f"{COOKIE}=s3cret".encode()
HOP = Hop("192.0.2.1", "https", "example.com", "1.1")


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ([], Presented()),
        ([(b"Cookie", b"theme=dark")], Presented()),
        ([(b"cookie", OURS)], Presented("s3cret")),
        ([(b"Cookie", b"a=b;" + OURS + b" ; c=d")], Presented("s3cret")),
        ([(b"Cookie", b"a=b"), (b"Cookie", OURS)], Presented("s3cret")),
        ([(b"Cookie", OURS + b"; " + OURS)], Presented("s3cret")),
        ([(b"Cookie", OURS + b"; " + COOKIE.encode() + b"=other")], Presented("")),
        ([(b"Cookie", b"x" + OURS)], Presented()),
        ([(b"authorization", b"Bearer abc")], Presented(None, "abc")),
        ([(b"Authorization", b"  bEARER   abc ")], Presented(None, "abc")),
        ([(b"Authorization", b"Bearer")], Presented(None, "")),
        ([(b"Authorization", b"Basic YTpi")], Presented()),
        ([(b"Authorization", b"Bearer abc"), (b"Authorization", b"Bearer abc")], Presented(None, "")),
        ([(b"Cookie", OURS), (b"Authorization", b"Bearer abc")], Presented("s3cret", "abc")),
        ([(b"Authorization", b"Bearer \xff")], Presented(None, "\xff")),
    ],
)
def test_what_a_request_shows(fields: list[tuple[bytes, bytes]], shown: Presented) -> None:
    """One cookie and one bearer token count; of two that differ neither does; other schemes are not ours."""
    assert presented(fields) == shown


def test_keys_are_digests_of_their_own() -> None:
    """Neither holds what was shown, and a cookie's value is no token."""
    keys = {cookie_key("s3cret"), bearer_key("s3cret")}
    assert len(keys) == 2
    assert all(len(key) == 64 and "s3cret" not in key for key in keys)
    shown = Presented("s3cret", "s3cret")
    assert (shown.cookie_key, shown.bearer_key) == (cookie_key("s3cret"), bearer_key("s3cret"))
    assert (Presented("", "").cookie_key, Presented().bearer_key) == (None, None)
    assert "s3cret" not in repr(shown)


def test_the_cookie_has_the_manners_that_a_frame_of_others_wants() -> None:
    """`__Host-` wants Secure and the root path, and a third party's frame the rest."""
    assert set_cookie("v", 43200.5) == (
        "__Host-activity-proxy=v; Max-Age=43200; Path=/; HttpOnly; Secure; SameSite=None; Partitioned"
    )
    assert clear_cookie().startswith("__Host-activity-proxy=; Max-Age=0; Path=/; ")


@pytest.mark.parametrize(
    ("sent", "passed"),
    [
        (b"a=b;c=d ; e", b"a=b;c=d ; e"),
        (OURS, b""),
        (b"a=b; " + OURS, b"a=b"),
        (OURS + b";a=b; c=d", b"a=b; c=d"),
        (b"x" + OURS + b"; y=z", b"x" + OURS + b"; y=z"),
    ],
)
def test_the_cookie_goes_and_the_others_stay(sent: bytes, passed: bytes) -> None:
    """Where it is not in there nothing is touched."""
    assert without_cookie(sent) == passed


@given(
    st.lists(st.sampled_from([b"a=b", OURS, b"", b"c", b" " + OURS]), max_size=6),
    st.sampled_from([b";", b"; "]),
)
def test_no_session_cookie_ever_gets_to_the_activity_server(crumbs: list[bytes], between: bytes) -> None:
    """However it stands among others; a field that held nothing else is gone."""
    fields = [(b"COOKIE", between.join(crumbs)), (b"X", b"y")]
    sent = dict(forwarded_headers(fields, HOP, ()))
    assert b"s3cret" not in b"".join(sent.values())
    others = [crumb for crumb in crumbs if crumb.strip() not in {b"", OURS}]
    assert (b"COOKIE" in sent) == (bool(others) or OURS not in fields[0][1])
    assert sent[b"X"] == b"y"


def test_a_request_shows_none_of_it() -> None:
    """The fields that carry the credentials are in no representation of the call."""
    request = ClientRequest("GET", "/", HOP, ((b"Cookie", OURS),), b"")
    assert "s3cret" not in repr(request)
