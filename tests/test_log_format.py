"""Log records as lines."""

import json
import logging

import pytest
from aiohttp.http_exceptions import BadHttpMessage
from hypothesis import given
from hypothesis import strategies as st

from proxy.call import Failure, FailureKind
from proxy.events import RequestEnded
from proxy.log_format import COLOURS, JsonFormatter, TextFormatter, iso

AT = 1_795_395_189.0421
FAILURES = (
    Failure("gateway", FailureKind.STATUS, "answered 503", status=503, retry_after=2.5),
    Failure("activity", FailureKind.UNREACHABLE, "no connection"),
)
TEXT = TextFormatter({})


def ended(
    target: str = "/api/kaltura/videos?page=2",
    failures: tuple[Failure, ...] = (),
    method: str = "GET",
) -> RequestEnded:
    """An answered request."""
    return RequestEnded(
        listener="public",
        route="videos",
        method=method,
        status=200,
        source="canned",
        seconds=0.0123456,
        request_id="r-1",
        target=target,
        client="203.0.113.9",
        bytes_sent=345,
        failures=failures,
    )


def record(
    message: str = "hello",
    *args: object,
    name: str = "activity_proxy",
    level: int = logging.INFO,
    fields: object = None,
    error: BaseException | None = None,
) -> logging.LogRecord:
    """A record as the observers and libraries make it."""
    info = None if error is None else (type(error), error, error.__traceback__)
    made = logging.LogRecord(name, level, "", 0, message, args, info)
    made.created = AT
    if fields is not None:
        made.fields = fields
    return made


def read(made: logging.LogRecord) -> dict[str, object]:
    """The record's JSON line, read again."""
    line = JsonFormatter().format(made)
    assert "\n" not in line
    content = json.loads(line)
    assert isinstance(content, dict)
    return content


def failed(error: BaseException, cause: BaseException | None = None) -> BaseException:
    """An error with a traceback, and with a cause where one is given."""
    try:
        if cause is None:
            raise error
        raise error from cause
    except type(error) as caught:
        return caught


def test_json_line() -> None:
    """A line is one JSON object: time in UTC to the millisecond, level, logger, message, fields."""
    made = record("hello %s", "you", level=logging.WARNING, fields={"breaker": "gateway"})
    assert read(made) == {
        "ts": "2026-11-23T00:53:09.042Z",
        "level": "warning",
        "logger": "activity_proxy",
        "message": "hello you",
        "breaker": "gateway",
    }


def test_json_access_line() -> None:
    """An access line says what was asked, what was answered, by whom, how fast, and what failed before."""
    line = read(record("request", fields=ended(failures=FAILURES)))
    assert {key: line[key] for key in list(line)[4:]} == {
        "listener": "public",
        "route": "videos",
        "method": "GET",
        "target": "/api/kaltura/videos?page=2",
        "status": 200,
        "source": "canned",
        "duration_ms": 12.346,
        "bytes": 345,
        "client": "203.0.113.9",
        "request_id": "r-1",
        "failures": [
            {
                "source": "gateway",
                "kind": "status",
                "upstream_status": 503,
                "retry_after": 2.5,
                "detail": "answered 503",
            },
            {"source": "activity", "kind": "unreachable", "detail": "no connection"},
        ],
    }


def test_an_access_line_without_failures_names_none() -> None:
    """The usual line is short."""
    assert "failures" not in read(record(fields=ended()))


@pytest.mark.parametrize("formatter", [JsonFormatter(), TEXT])
def test_access_lines_hold_no_secret(formatter: logging.Formatter) -> None:
    """A session in the target shows in neither format."""
    line = formatter.format(record(fields=ended("/x?ks=djJ8hidden")))
    assert "hidden" not in line
    assert "ks=***" in line


def test_text_line() -> None:
    """On a terminal a line is time, level, message and fields, quoted where they would run together."""
    fields = {"why": 'it "said" no', "empty": "", "n": 3, "none": None, "sum": "a=b"}
    assert TEXT.format(record(fields=fields)) == (
        '00:53:09.042Z info     hello why="it \\"said\\" no" empty="" n=3 none=None sum="a=b"'
    )


def test_text_access_line() -> None:
    """On a terminal an access line opens with what was asked and answered."""
    assert TEXT.format(record("request", fields=ended(failures=FAILURES))) == (
        "00:53:09.042Z info     GET /api/kaltura/videos?page=2 200 canned 12.346ms "
        "listener=public route=videos bytes=345 client=203.0.113.9 request_id=r-1 "
        "failures=gateway:status,activity:unreachable"
    )


def test_colours_mark_the_level() -> None:
    """With colours the level's name has them, and the rest of the line does not."""
    line = TextFormatter(COLOURS).format(record(level=logging.ERROR))
    assert line == "00:53:09.042Z \x1b[31merror   \x1b[0m hello"
    assert "\x1b" not in TextFormatter(COLOURS).format(record(level=logging.INFO))


hostile = st.text(st.characters()) | st.sampled_from(["a\nb", "\x1b[2J", "\udc80", "x" * 5000])


@given(hostile, hostile, hostile)
def test_no_text_breaks_a_line(target: str, method: str, message: str) -> None:
    """Whatever a client or a library says, a line stays one line of bounded, readable text."""
    for made in (
        record(message, fields={"detail": target}),
        record(fields=ended(target, method=method)),
    ):
        line = TEXT.format(made)
        assert line.isprintable()
        assert len(line) < 10_000
        read(made)


def test_a_number_that_no_calendar_reaches_is_a_number() -> None:
    """A token may claim any expiry; the log still says it."""
    assert iso(1e300) == "1e+300"
    assert iso(float("nan")) == "nan"
    assert iso(0) == "1970-01-01T00:00:00.000Z"
    assert iso(-1e-250) == "1969-12-31T23:59:59.999Z"


def test_a_traceback_is_told_with_its_causes() -> None:
    """A defect shows where it happened and what led to it, the cause first."""
    error = failed(ValueError("outer"), failed(KeyError("inner\x1b")))
    text = str(read(record(error=error))["exception"])
    assert text.index("KeyError: 'inner\\x1b'") < text.index("ValueError: outer")
    assert "in failed" in text


def test_an_error_in_another_errors_handling_is_told_with_it() -> None:
    """The error that was being handled shows too, unless it was hidden on purpose."""
    error = ValueError("outer")
    error.__context__ = KeyError("inner")
    assert "inner" in str(read(record(error=error))["exception"])
    error.__suppress_context__ = True
    assert "inner" not in str(read(record(error=error))["exception"])


def test_a_ring_of_causes_ends() -> None:
    """Errors that name each other as causes do not hold up the log."""
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    assert "two" in str(read(record(error=one))["exception"])


def test_a_traceback_follows_its_line_as_text() -> None:
    """On a terminal a traceback comes below the line, as Python shows it."""
    line, *below = TEXT.format(record(error=failed(ValueError("outer")))).splitlines()
    assert line.endswith("hello")
    assert below[0].startswith('  File "')
    assert below[-1] == "ValueError: outer"


def test_errors_that_quote_the_client_are_told_without_their_text() -> None:
    """The text of aiohttp's errors holds header bytes and addresses: their kind alone shows."""
    error = failed(ValueError("outer"), failed(BadHttpMessage("Cookie: hidden")))
    text = str(read(record(error=error))["exception"])
    assert "hidden" not in text
    assert "BadHttpMessage" in text
    assert "ValueError: outer" in text


@pytest.mark.parametrize("formatter", [JsonFormatter(), TEXT])
def test_aiohttps_own_errors_are_one_line(formatter: logging.Formatter) -> None:
    """A malformed request is no defect: its kind and place, without header bytes or traceback."""
    error = failed(BadHttpMessage("Cookie: hidden"))
    made = record("Error handling request from %s", "1.2.3.4", name="aiohttp.server", error=error)
    line = formatter.format(made)
    assert "hidden" not in line
    assert "\n" not in line
    assert "BadHttpMessage" in line
    assert "test_log_format.py:" in line


def test_an_error_that_was_never_raised_has_no_place() -> None:
    """Without a traceback there is no place to tell."""
    line = read(record(name="aiohttp.server", error=ValueError("x")))
    assert line["error"] == "ValueError"
    assert "at" not in line
