"""Statuses and `Retry-After`, and that any answer at all is judged."""

import json
from datetime import UTC, datetime
from email.utils import format_datetime
from math import isfinite
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.call import FailureKind
from proxy.route import Route
from proxy.verdict import (
    LONGEST_RETRY_AFTER,
    Failed,
    Missing,
    Refused,
    Usable,
    Verdict,
    judge,
    retry_after_seconds,
)
from tests.tables import DIALECTS, JSON_VALUES, routes

SCOPE = {"partnerId": "1", "page": 1, "pageSize": 30, "query": "cats", "videoId": "1_a", "userId": "u"}
NOW = 1_795_395_189.0
CALLING = [route for dialect in DIALECTS for route in routes(dialect).values() if route.call is not None]
VIDEO = routes("plan")["video"]
NO_WORDS = "the gateway refused the request"


@pytest.mark.parametrize(
    ("status", "body", "verdict"),
    [
        (404, b'{"error": "Video not found"}', Missing()),
        (404, b'{"error": {"code": "NOT_FOUND"}}', Missing()),
        (400, b'{"error": "Missing required fields"}', Refused(400, "Missing required fields")),
        (400, b'{"error": "%s"}' % (b"x" * 500), Refused(400, "x" * 200)),
        (400, b"<html>", Refused(400, NO_WORDS)),
        (400, b'{"error": ["a"]}', Refused(400, NO_WORDS)),
        (413, b"", Refused(413, NO_WORDS)),
    ],
)
def test_callers_mistake_is_no_failure(status: int, body: bytes, verdict: Verdict) -> None:
    """What is missing, wrong or too large is said by status, in the gateway's words, but not at length."""
    assert judge(VIDEO, status, body, SCOPE) == verdict


@pytest.mark.parametrize("status", [404, 405])
@pytest.mark.parametrize(
    "body", [b"", b"<html>Cannot GET</html>", b"{}", b"[]", b'"error"', b'{"error": null}']
)
def test_call_that_does_not_exist(status: int, body: bytes) -> None:
    """404 and 405 without a JSON error mean that the gateway has no such call, which is not an outage."""
    detail = "the gateway has no such call"
    wanted = Failed(FailureKind.NO_SUCH_ROUTE, detail, status, counts=False, retryable=False)
    assert judge(VIDEO, status, body, SCOPE) == wanted


def test_refused_token_is_no_outage() -> None:
    """401 does not count against the gateway and is not repeated as it was, whatever is in it."""
    for body in (b'{"error": "Invalid or expired token"}', b"<html>"):
        found = judge(VIDEO, 401, body, SCOPE)
        assert isinstance(found, Failed)
        assert (found.kind, found.counts, found.retryable) == (FailureKind.UNAUTHORIZED, False, False)


@pytest.mark.parametrize(
    ("status", "counts", "retryable"),
    [
        *((status, True, True) for status in (500, 502, 503, 504, 520, 521, 522, 523, 524)),
        *((status, True, False) for status in (501, 505, 507, 525, 599)),
        *((status, False, True) for status in (408, 429)),
        *((status, False, False) for status in (100, 300, 302, 304, 402, 403, 409, 410, 418, 422, 451)),
    ],
)
def test_failing_status(status: int, counts: bool, retryable: bool) -> None:
    """The gateway's own failing counts against it, and what may pass is tried again when it asks for it."""
    found = judge(VIDEO, status, b"<html>secret</html>", SCOPE, retry_after=7.0)
    assert found == Failed(
        FailureKind.STATUS, f"the gateway answered {status}", status, counts, retryable, retry_after=7.0
    )


def test_method_that_is_not_allowed_in_json() -> None:
    """405 with a JSON error is an answer of the call's own, though no good one."""
    found = judge(VIDEO, 405, b'{"error": "Method not allowed"}', SCOPE)
    assert found == Failed(FailureKind.STATUS, "the gateway answered 405", 405, counts=False, retryable=False)


def test_every_2xx_may_hold_the_answer() -> None:
    """Any status of success is judged by what it brings."""
    assert isinstance(judge(VIDEO, 203, b'{"video": {"id": "1_a", "title": "T"}}', SCOPE), Usable)
    empty = judge(VIDEO, 204, b"", SCOPE)
    assert isinstance(empty, Failed)
    assert (empty.kind, empty.field, empty.status) == (FailureKind.CONTRACT, "body", 204)


def sound(route: Route, verdict: Verdict) -> None:
    """Hold a verdict against what every user of verdicts builds on."""
    match verdict:
        case Usable(reply, violations):
            assert orjson.loads(orjson.dumps(reply)).keys() == reply.keys()
            assert set(violations) <= set(route.fields)
            assert all(reply[field] is not None for field in route.require if field.isidentifier())
        case Failed(kind, detail):
            assert (verdict.field is not None) == (kind is FailureKind.CONTRACT)
            assert verdict.field is None or verdict.field in route.fields
            assert detail.isprintable()
        case _:
            assert isinstance(verdict, Missing | Refused)


FIELDS = st.sampled_from(["id", "title", "duration", "views", "playUrl", "ks", "createdAt", "error"])
SHAPED = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.sampled_from(["1_a", 1e300, 2**70]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(FIELDS, inner, max_size=6),
    max_leaves=20,
)


@given(
    route=st.sampled_from(CALLING),
    envelope=st.sampled_from(["video", "videos", "kalturaSession", "playUrl", "ks", "error"]),
    content=SHAPED | st.lists(st.dictionaries(FIELDS, SHAPED), max_size=4),
    status=st.sampled_from([200, 201, 400, 404, 405, 500]),
)
def test_any_answer_of_about_the_right_shape_is_judged(
    route: Route, envelope: str, content: Any, status: int
) -> None:
    """However the parts of an answer are mixed up, there is a verdict that keeps its promises."""
    sound(route, judge(route, status, json.dumps({envelope: content}).encode(), SCOPE))


@given(
    route=st.sampled_from(CALLING),
    status=st.integers(100, 599) | st.just(200),
    body=st.binary(max_size=40) | JSON_VALUES.map(lambda value: json.dumps(value).encode()),
)
def test_any_bytes_are_judged(route: Route, status: int, body: bytes) -> None:
    """No status and no body whatsoever makes the judgement fail."""
    sound(route, judge(route, status, body, SCOPE))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        ("120", 120.0),
        (" 5 ", 5.0),
        ("86401", 86400.0),
        ("9" * 400, LONGEST_RETRY_AFTER),
        ("-5", None),
        ("1.5", None),
        ("5 seconds", None),
        ("²", None),
        ("٣", None),
        ("", None),
        ("soon", None),
        ("Mon, 23 Nov 2026 00:54:09 GMT", 60.0),
        ("Mon, 23 Nov 2026 00:54:09", 60.0),
        ("Mon, 23 Nov 2026 00:54:09 -0000", 60.0),
        ("Mon, 23 Nov 2026 01:54:09 +0100", 60.0),
        ("Monday, 23-Nov-26 00:54:09 GMT", 60.0),
        ("Mon Nov 23 00:54:09 2026", 60.0),
        ("Mon, 23 Nov 2026 00:53:09 GMT", 0.0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_RETRY_AFTER),
        ("Mon, 99 Nov 2026 00:54:09 GMT", None),
        ("Mon, 23 Nov 99999999999999999999 00:54:09 GMT", None),
        ("Mon, 23 Nov 2026 00:54:09 +9999999999", None),
    ],
)
def test_retry_after_is_read(text: str | None, seconds: float | None) -> None:
    """Seconds and dates in all forms of HTTP are read, the past is now, and garbage is nothing."""
    assert retry_after_seconds(text, NOW) == seconds


@given(text=st.text() | st.text("0123456789 MonNvGT:,+-", max_size=40))
def test_any_retry_after_is_read_or_nothing(text: str) -> None:
    """No text makes the reading fail or gives a wait that is negative, endless or longer than a day."""
    seconds = retry_after_seconds(text, NOW)
    assert seconds is None or (isfinite(seconds) and 0 <= seconds <= LONGEST_RETRY_AFTER)


@given(ahead=st.integers(0, 86_400))
def test_retry_after_date_is_held_against_now(ahead: int) -> None:
    """A date means the seconds from now until then."""
    date = format_datetime(datetime.fromtimestamp(NOW + ahead, UTC), usegmt=True)
    assert retry_after_seconds(date, NOW) == ahead


@pytest.mark.parametrize(("status", "again"), [(500, False), (503, True), (403, True), (429, False)])
def test_a_route_says_itself_after_which_statuses_it_is_repeated(status: int, again: bool) -> None:
    """`retry_statuses` takes the place of the common ones, and changes nothing else of the verdict."""
    own = VIDEO.model_copy(update={"retry_statuses": frozenset({503, 403})})
    verdict, common = judge(own, status, b"", SCOPE), judge(VIDEO, status, b"", SCOPE)
    assert isinstance(verdict, Failed)
    assert isinstance(common, Failed)
    assert verdict.retryable is again
    assert verdict.counts is common.counts
