"""The headers that tell where an answer came from, read by a parser of structured fields."""

from typing import Any

import http_sf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.call import JSON, Answer, Failure, FailureKind, SourceName
from proxy.provenance import provenance

SOURCES: tuple[SourceName, ...] = ("gateway", "activity", "canned")
PROXY_ERROR_TYPES = {
    "dns_timeout",
    "dns_error",
    "destination_not_found",
    "destination_unavailable",
    "destination_ip_prohibited",
    "destination_ip_unroutable",
    "connection_refused",
    "connection_terminated",
    "connection_timeout",
    "connection_read_timeout",
    "connection_write_timeout",
    "connection_limit_reached",
    "tls_protocol_error",
    "tls_certificate_error",
    "tls_alert_received",
    "http_request_error",
    "http_request_denied",
    "http_response_incomplete",
    "http_response_header_section_size",
    "http_response_header_size",
    "http_response_body_size",
    "http_response_trailer_section_size",
    "http_response_trailer_size",
    "http_response_transfer_coding",
    "http_response_content_coding",
    "http_response_timeout",
    "http_upgrade_failed",
    "http_protocol_error",
    "proxy_internal_response",
    "proxy_internal_error",
    "proxy_configuration_error",
    "proxy_loop_detected",
}
"""The registry of RFC 9209, section 2.3."""


def an_answer(source: SourceName | None = "gateway", status: int = 200, **more: Any) -> Answer:
    """An answer with a small body."""
    return Answer(status, b"{}", source, **more)


def members(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Read a List of Items (RFC 8941, section 3.1): each one's name and parameters as plain values."""
    parsed: Any = http_sf.parse(text.encode("ascii"), tltype="list")
    return [(str(item), {key: plain(value) for key, value in more.items()}) for item, more in parsed]


def plain(value: Any) -> Any:
    """Tokens as texts."""
    return str(value) if isinstance(value, http_sf.Token) else value


@pytest.mark.parametrize("source", SOURCES)
def test_answer_says_its_source(source: SourceName) -> None:
    """A rewritten answer names its source, its request and its content type."""
    headers = provenance(an_answer(source), "r1")
    assert headers["Activity-Proxy-Source"] == source
    assert headers["X-Request-Id"] == "r1"
    assert headers["Content-Type"] == JSON
    assert members(headers["Cache-Status"]) == [("activity-proxy", {"fwd": "bypass"})]
    assert "Proxy-Status" not in headers


def test_error_of_our_own_has_no_source() -> None:
    """An error that nobody else gave names no source and no cache, and must not be kept."""
    headers = provenance(an_answer(None, 503), "r1")
    assert "Activity-Proxy-Source" not in headers
    assert "Cache-Status" not in headers
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Request-Id"] == "r1"


@pytest.mark.parametrize(
    ("source", "status", "kept"),
    [
        ("gateway", 200, True),
        ("activity", 200, True),
        ("canned", 200, False),
        ("gateway", 404, False),
        ("gateway", 400, False),
        ("activity", 500, False),
        (None, 502, False),
    ],
)
def test_stand_ins_and_errors_are_not_kept(source: SourceName | None, status: int, kept: bool) -> None:
    """What stands in for the real answer, and every error, says `no-store`."""
    headers = provenance(an_answer(source, status), "r1")
    assert headers.get("Cache-Control") == (None if kept else "no-store")


@pytest.mark.parametrize(
    ("source", "status", "said"),
    [
        ("gateway", 200, ["public", "max-age=60"]),
        ("activity", 200, ["public", "max-age=60"]),
        ("canned", 200, ["no-store"]),
        ("stale", 200, ["no-store"]),
        ("activity", 500, ["no-store"]),
    ],
)
def test_no_store_is_said_alone(source: SourceName, status: int, said: list[str]) -> None:
    """Where an answer must not be kept, what its source says of keeping it is not repeated."""
    own = (("Cache-Control", "public"), ("cache-control", "max-age=60"))
    assert provenance(an_answer(source, status, headers=own), "r1").getall("Cache-Control") == said


def test_answers_own_headers_are_added() -> None:
    """What a source or the ladder says of an answer comes along, also twice."""
    own = (("Retry-After", "5"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"))
    headers = provenance(an_answer(None, 503, headers=own), "r1")
    assert headers["Retry-After"] == "5"
    assert headers.getall("Set-Cookie") == ["a=1", "b=2"]


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("kind", FailureKind)
def test_failure_is_told_in_registered_words(source: SourceName, kind: FailureKind) -> None:
    """Each kind of failure gives a valid `Proxy-Status` whose error type is registered."""
    failure = Failure(source, kind, "no answer in time", 503)
    headers = provenance(an_answer("canned", failures=(failure,)), "r1")
    ((name, more),) = members(headers["Proxy-Status"])
    assert name == "activity-proxy"
    assert more["next-hop"] == source
    assert more["received-status"] == 503
    assert more["details"] == "no answer in time"
    assert more.get("error", "proxy_internal_error") in PROXY_ERROR_TYPES


def test_errors_tell_the_kinds_apart() -> None:
    """Time-outs, absence and unusable answers can be told apart; where a status came it speaks for itself."""
    types = {}
    for kind in FailureKind:
        failure = Failure("gateway", kind, "x")
        ((_, more),) = members(provenance(an_answer("canned", failures=(failure,)), "r1")["Proxy-Status"])
        types[kind.value] = more.get("error")
        assert "received-status" not in more
    assert types == {
        "unreachable": "destination_unavailable",
        "timeout": "http_response_timeout",
        "status": None,
        "contract": "http_protocol_error",
        "no_such_route": None,
        "unauthorized": None,
        "token": "destination_unavailable",
        "breaker_open": "destination_unavailable",
        "overloaded": "connection_limit_reached",
        "nothing_kept": "proxy_internal_response",
        "off": "proxy_internal_response",
    }


def test_failures_are_told_in_order() -> None:
    """Each source that failed is a member of its own, the first that was asked in front."""
    failures = (
        Failure("gateway", FailureKind.TIMEOUT, "late"),
        Failure("activity", FailureKind.STATUS, "bad", 500),
    )
    headers = provenance(an_answer("canned", failures=failures), "r1")
    assert [more["next-hop"] for _, more in members(headers["Proxy-Status"])] == ["gateway", "activity"]
    assert headers["Proxy-Status"] == (
        'activity-proxy; next-hop=gateway; error=http_response_timeout; details="late", '
        'activity-proxy; next-hop=activity; received-status=500; details="bad"'
    )


@given(detail=st.text() | st.text('\\"\r\n\0é,;= a', max_size=20))
def test_any_detail_gives_a_valid_field(detail: str) -> None:
    """Whatever a detail holds, the field stays one line and one valid member, and ASCII comes through."""
    failure = Failure("gateway", FailureKind.STATUS, detail)
    headers = provenance(an_answer("canned", failures=(failure,)), "r1")
    ((_, more),) = members(headers["Proxy-Status"])
    assert more["details"] == "".join(letter if " " <= letter <= "~" else "?" for letter in detail)
