"""Access lines made without a record, held against those made of one."""

import logging
from math import inf, nan

from hypothesis import given
from hypothesis import strategies as st

from proxy.access_line import ACCESS, AccessRecord, JsonAccessLines, by_record, level_of
from proxy.call import Failure, FailureKind
from proxy.events import RequestEnded
from proxy.log_format import JsonFormatter

AT = 1_795_395_189.0421
LINES = JsonAccessLines(by_record(JsonFormatter()))
"""One for all examples, so that what it remembers of others is met."""

texts = st.text(max_size=40) | st.sampled_from(["", 'a"b\\', "é", "\x1b[2J", "\u202e", "\udc80", "x" * 300])
targets = st.sampled_from(["/a", "/b?c=d", "/x?token=hidden", "/service/ks/hidden/x", "http://u@h/"]) | texts
failures = st.builds(
    Failure, st.sampled_from(["gateway", "activity"]), st.sampled_from(FailureKind), texts,
    st.none() | st.just(503), st.none() | st.just(2.5),
)  # fmt: skip
ends = st.builds(
    RequestEnded,
    listener=st.sampled_from(["public", "admin"]),
    route=st.sampled_from(["video", "none"]),
    method=st.sampled_from(["GET", "POST"]) | texts,
    status=st.integers(100, 599),
    source=st.sampled_from(["cache", "error"]),
    seconds=st.floats(0, 10) | st.floats() | st.sampled_from([0.001, 0.0005, 0.0000005, 1.0, -0.0]),
    request_id=st.just("r-1") | texts,
    target=targets,
    client=st.just("203.0.113.9") | texts,
    bytes_sent=st.integers(0, 2**40),
    failures=st.lists(failures, max_size=2).map(tuple),
)
times = st.floats(AT - 2, AT + 2) | st.floats() | st.sampled_from([0.0, AT, AT + 0.001, -0.5, 1e300])


def ended(target: str = "/api/kaltura/videos", **changes: object) -> RequestEnded:
    """An answered request, changed as told."""
    it = RequestEnded("public", "videos", "GET", 200, "cache", 0.01, "r-1", target, "203.0.113.9", 345)
    return it._replace(**changes)  # type: ignore[arg-type]  # values by name


@given(ends, times)
def test_it_is_the_formatters_line(event: RequestEnded, at: float) -> None:
    """Byte for byte, whatever was asked and whenever it ended."""
    assert LINES.line(at, event) == JsonFormatter().format(AccessRecord(ACCESS, event, at))


@given(st.floats(0, 1e10))
def test_a_duration_is_the_shortest_number(seconds: float) -> None:
    """It is written as JSON writes what is rounded to the microsecond."""
    event = ended(seconds=seconds)
    assert LINES.line(AT, event) == JsonFormatter().format(AccessRecord(ACCESS, event, AT))


def test_lines_follow_the_clock() -> None:
    """Each line has its own time, though the last one's is remembered."""
    lines = JsonAccessLines(by_record(JsonFormatter()))
    for at in (
        AT,
        AT,
        AT + 0.0009,
        AT + 1,
        AT,
        AT - 0.05,
        AT - 1,
        inf,
        AT,
        nan,
        AT,
        0.0,
        -0.0005,
        0.0,
        -1e-250,
        1e-250,
    ):
        assert lines.line(at, ended()) == JsonFormatter().format(AccessRecord(ACCESS, ended(), at))


def test_what_is_remembered_is_bounded_and_holds_no_secret() -> None:
    """Methods, targets and clients are thought of by clients; a target with a parameter is not kept."""
    lines = JsonAccessLines(by_record(JsonFormatter()))
    for number in range(3000):
        event = ended(f"/v/{number}", client=f"2001:db8::{number:x}", method=f"M{number}")
        assert lines.line(AT, event) == JsonFormatter().format(AccessRecord(ACCESS, event, AT))
        lines.line(AT, ended(f"/v/?token=hidden{number}"))
    remembered = (lines._kinds, lines._targets, lines._clients)
    assert all(0 < len(texts) <= 1024 for texts in remembered)
    assert "hidden" not in repr(remembered)


def test_a_record_has_the_level_of_its_line() -> None:
    """Probes that went well are debug lines, all else is told."""
    probe = ended(listener="admin")
    refused = ended(listener="admin", status=403)
    assert [level_of(event) for event in (probe, refused, ended())] == [
        logging.DEBUG,
        logging.INFO,
        logging.INFO,
    ]
