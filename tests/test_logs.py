"""The observer that writes."""

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import get_args

import pytest

from proxy.access_line import ACCESS
from proxy.call import Failure, FailureKind
from proxy.events import (
    AnsweredAtOnce,
    AttemptEnded,
    BreakerChanged,
    BreakerRejected,
    CacheLooked,
    CertificateChanged,
    ContractViolated,
    Crashed,
    DialectChosen,
    Event,
    Limited,
    Operated,
    RequestEnded,
    RequestStarted,
    RetryScheduled,
    RetrySuppressed,
    SourceFailedEvent,
    TokenAcquired,
    TokenRequested,
)
from proxy.logs import EventLog, configure
from tests.clocks import FakeClock

TIMEOUT = Failure("gateway", FailureKind.TIMEOUT, "no answer in time")


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """It is one."""
        return True


class Log:
    """Everything that is logged, and an observer with a clock."""

    def __init__(self, level: int) -> None:
        self.stream = io.StringIO()
        self.clock = FakeClock()
        self.logging = configure(self.stream, json=True, level=level)
        self.observe = EventLog(self.clock)

    def lines(self) -> list[dict[str, object]]:
        """The lines so far."""
        self.logging.writer.flush()
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]

    def told(self, *events: Event) -> list[dict[str, object]]:
        """What is logged of these events, less the time."""
        before = len(self.lines())
        for event in events:
            self.observe(event)
        return [{k: v for k, v in line.items() if k != "ts"} for line in self.lines()[before:]]


@pytest.fixture
def log() -> Iterator[Log]:
    """A log at its usual level."""
    made = Log(logging.INFO)
    yield made
    made.logging.close()


@pytest.fixture
def chatty() -> Iterator[Log]:
    """A log at debug level."""
    made = Log(logging.DEBUG)
    yield made
    made.logging.close()


def ended(**changes: object) -> RequestEnded:
    """An answered request, changed as told."""
    values: dict[str, object] = {
        "listener": "public",
        "route": "video",
        "method": "GET",
        "status": 200,
        "source": "gateway",
        "seconds": 0.04,
        "request_id": "r-1",
        "target": "/api/kaltura/video/1_abc?token=hidden",
        "client": "203.0.113.9",
        "bytes_sent": 10,
    }
    return RequestEnded(**{**values, **changes})  # type: ignore[arg-type]  # values by name


def test_one_access_line_a_request(log: Log) -> None:
    """A request is one line, at its end, whatever its status."""
    lines = log.told(RequestStarted("public"), ended(), ended(status=502, request_id="r-2"))
    assert [(line["status"], line["request_id"]) for line in lines] == [(200, "r-1"), (502, "r-2")]
    assert {line["logger"] for line in lines} == {"activity_proxy.access"}
    assert {line["level"] for line in lines} == {"info"}
    assert {line["target"] for line in lines} == {"/api/kaltura/video/1_abc?token=***"}


def test_an_answer_given_at_once_is_a_line_like_another(log: Log) -> None:
    """How it was given is nothing that a line tells."""
    one, other = log.told(ended(), AnsweredAtOnce(*ended()))
    assert one == other
    log.observe.wants[AnsweredAtOnce](AnsweredAtOnce(*ended()))
    assert log.lines()[-1].items() > one.items()


def test_probes_do_not_drown_the_log(log: Log) -> None:
    """Of the admin listener's requests, those that were refused are told."""
    probe = ended(listener="admin", route="livez", source="admin")
    refused = ended(listener="admin", route="status", source="admin", status=403)
    assert [line["status"] for line in log.told(probe, refused)] == [403]


def test_probes_are_for_the_curious(chatty: Log) -> None:
    """The admin listener's other requests are debug lines."""
    (line,) = chatty.told(ended(listener="admin", route="livez", source="admin"))
    assert (line["level"], line["route"]) == ("debug", "livez")


def test_a_failed_source_is_a_warning(log: Log) -> None:
    """A source's failure says which route and source, what kind, and for which request."""
    failure = Failure("gateway", FailureKind.STATUS, "answered 503", 503, 2.0)
    assert log.told(SourceFailedEvent("video", failure, "r-1")) == [
        {
            "level": "warning",
            "logger": "activity_proxy",
            "message": "source failed",
            "route": "video",
            "source": "gateway",
            "kind": "status",
            "upstream_status": 503,
            "retry_after": 2.0,
            "detail": "answered 503",
            "request_id": "r-1",
        }
    ]


def test_a_source_that_is_off_is_no_warning(log: Log) -> None:
    """In a mode without the gateway its absence is as wished."""
    off = Failure("gateway", FailureKind.OFF, "not in this mode")
    assert log.told(SourceFailedEvent("video", off, "r-1")) == []


@pytest.mark.parametrize(
    "event",
    [
        SourceFailedEvent("video", TIMEOUT, "r-1"),
        ContractViolated("video", "id"),
        TokenRequested("service", FailureKind.UNREACHABLE),
    ],
)
def test_an_outage_is_told_once_in_a_while(log: Log, event: Event) -> None:
    """One kind of trouble is a line in ten seconds, and the next line says how many were kept back."""
    assert len(log.told(*[event] * 5)) == 1
    log.clock.shift(9.9)
    assert log.told(event) == []
    log.clock.shift(0.1)
    (line,) = log.told(event)
    assert line["suppressed"] == 5
    log.clock.shift(10)
    (line,) = log.told(event)
    assert "suppressed" not in line


def test_each_kind_of_trouble_has_its_own_line(log: Log) -> None:
    """What is kept back of one route, source, kind, field or subject keeps back none of another."""
    refused = Failure("gateway", FailureKind.UNREACHABLE, "refused")
    activity = Failure("activity", FailureKind.TIMEOUT, "no answer in time")
    events: tuple[Event, ...] = (
        SourceFailedEvent("video", TIMEOUT, "r-1"),
        SourceFailedEvent("videos", TIMEOUT, "r-1"),
        SourceFailedEvent("video", refused, "r-1"),
        SourceFailedEvent("video", activity, "r-1"),
        ContractViolated("video", "id"),
        ContractViolated("video", "title"),
        TokenRequested("service", FailureKind.TIMEOUT),
        TokenRequested("user", FailureKind.TIMEOUT),
    )
    assert len(log.told(*events, *events)) == len(events)


def test_breaker_changes_are_each_told(log: Log) -> None:
    """A breaker that opens is a warning, one that recovers is news; none is kept back."""
    lines = log.told(
        BreakerChanged("gateway", "closed", "open"),
        BreakerChanged("gateway", "open", "half_open"),
        BreakerChanged("gateway", "half_open", "open"),
        BreakerChanged("gateway", "half_open", "closed"),
        BreakerChanged("gateway", "closed", "forced_open"),
    )
    assert [line["level"] for line in lines] == ["warning", "info", "warning", "info", "warning"]
    assert (lines[0]["breaker"], lines[0]["from"], lines[0]["to"]) == ("gateway", "closed", "open")


def test_an_operators_act_is_told(log: Log) -> None:
    """What was done, its outcome and from where, however often it is done."""
    act = Operated("/cache/purge", {"purged": False}, "127.0.0.1", "r-1")
    lines = log.told(act, act)
    assert lines == 2 * [
        {
            "level": "info",
            "logger": "activity_proxy",
            "message": "an operator acted",
            "action": "/cache/purge",
            "purged": False,
            "client": "127.0.0.1",
            "request_id": "r-1",
        }
    ]


def test_a_token_that_is_not_to_be_had_is_told_with_whose_it_is(log: Log) -> None:
    """There are Discord's tokens too, and Kaltura's sessions."""
    (line,) = log.told(TokenRequested("service", FailureKind.UNREACHABLE))
    assert (line["message"], line["subject"], line["outcome"]) == (
        "no gateway token",
        "service",
        "unreachable",
    )


def test_a_token_is_told_by_its_end_only(log: Log) -> None:
    """A new token shows its subject and expiry, if it says its end; a user's is no line."""
    lines = log.told(
        TokenRequested("service", "login"),
        TokenAcquired("service", 1_795_398_789.0),
        TokenAcquired("user", None),
        TokenAcquired("service", None),
    )
    assert [line["message"] for line in lines] == ["token acquired"] * 2
    assert lines[0]["expires_at"] == "2026-11-23T01:53:09.000Z"
    assert (lines[1]["subject"], lines[1]["expires_at"]) == ("service", None)


def test_the_choice_of_a_dialect_is_told(log: Log) -> None:
    """Which table a route is taken from, and why."""
    (line,) = log.told(DialectChosen("session", "newer", "no session call"))
    assert line["level"] == "info"
    assert (line["route"], line["dialect"], line["why"]) == ("session", "newer", "no session call")


def test_a_defect_is_told_with_its_traceback(log: Log) -> None:
    """A failure of the sidecar itself is an error with the place where it happened."""
    try:
        raise KeyError("lost")
    except KeyError as error:
        (line,) = log.told(Crashed("r-1", error))
    assert (line["level"], line["request_id"]) == ("error", "r-1")
    assert "KeyError: 'lost'" in str(line["exception"])
    assert "test_logs.py" in str(line["exception"])


def test_retries_are_for_the_curious(chatty: Log) -> None:
    """Retries, made or not, are debug lines."""
    lines = chatty.told(RetryScheduled("video", "timeout", 0.1), RetrySuppressed("video", "deadline"))
    assert [(x["level"], x["message"], x["reason"]) for x in lines] == [
        ("debug", "retry", "timeout"),
        ("debug", "no retry", "deadline"),
    ]
    assert lines[0]["delay_ms"] == 100.0


def test_the_rest_is_not_told(log: Log) -> None:
    """What only the metrics count makes no lines, and retries none at the usual level."""
    assert (
        log.told(
            AttemptEnded("video", "ok", 0.1),
            BreakerRejected("gateway"),
            RetryScheduled("video", "timeout", 0.1),
        )
        == []
    )


def test_libraries_are_tame(chatty: Log) -> None:
    """Aiohttp is heard from warnings up, its retry loop never, other libraries as they wish."""
    for name in ("aiohttp.server", "aiohttp.access", "aiohttp_retry", "asyncio"):
        for level in (logging.DEBUG, logging.INFO, logging.WARNING):
            logging.getLogger(name).log(level, "said")
    assert [(line["logger"], line["level"]) for line in chatty.lines()] == [
        ("aiohttp.server", "warning"),
        ("aiohttp.access", "warning"),
        ("asyncio", "debug"),
        ("asyncio", "info"),
        ("asyncio", "warning"),
    ]


@pytest.mark.parametrize(
    ("stream", "json_wanted", "colour", "start"),
    [
        (io.StringIO, None, None, "{"),
        (Terminal, None, None, "\x1b"),
        (Terminal, True, None, "{"),
        (io.StringIO, False, None, "warning"),
        (io.StringIO, False, True, "\x1b"),
        (Terminal, None, False, "warning"),
    ],
)
def test_the_stream_decides_unless_told(
    stream: type[io.StringIO], json_wanted: bool | None, colour: bool | None, start: str
) -> None:
    """Text in colours for a terminal, JSON elsewhere, and what was asked for where it was."""
    out = stream()
    with configure(out, json_wanted, colour=colour):
        logging.getLogger("x").warning("said")
    line = out.getvalue()
    assert start == "{" or line[2] == ":", "text opens with the time"
    assert line[0 if start == "{" else len("00:53:09.042Z ") :].startswith(start)


def test_close_writes_and_leaves_logging_as_it_was() -> None:
    """After the end nothing waits, and the root logger has its level and handlers back."""
    root = logging.getLogger()
    before = root.level, list(root.handlers)
    out = io.StringIO()
    with configure(out, json=True, level=logging.DEBUG):
        logging.getLogger("x").debug("last")
    assert json.loads(out.getvalue())["message"] == "last"
    assert (root.level, list(root.handlers)) == before


def test_lines_of_all_loggers_come_in_order(log: Log) -> None:
    """Lines of different loggers come in the order of what they tell."""
    lines = log.told(SourceFailedEvent("video", TIMEOUT, "r-1"), ended(), TokenAcquired("service", 0))
    assert [line["message"] for line in lines] == ["source failed", "request", "token acquired"]


@contextmanager
def alone(*others: logging.Handler) -> Iterator[Log]:
    """A log whose writer has no other handlers beside it, not even the tests' own, but these."""
    root, access = logging.getLogger(), logging.getLogger(ACCESS)
    before, root.handlers = root.handlers, []
    made = Log(logging.INFO)
    access.handlers += others
    try:
        yield made
    finally:
        access.handlers.clear()
        access.filters.clear()
        access.propagate = True
        made.logging.close()
        root.handlers = before


class Kept(logging.Handler):
    """Keeps records."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.records.append(record)


def test_a_line_without_a_record_is_the_same(log: Log) -> None:
    """Where nobody else listens no record is made, and the lines and their order are as with one."""
    events = (
        SourceFailedEvent("video", TIMEOUT, "r-1"),
        ended(),
        TokenAcquired("service", 0),
        ended(status=404),
    )
    with_records = log.told(*events)
    with alone() as quick, pytest.MonkeyPatch.context() as patch:
        patch.setattr("proxy.logs.AccessRecord", None)
        assert quick.told(*events) == with_records
        assert quick.logging.writer.dropped == 0


def test_text_without_a_record_is_the_same() -> None:
    """What a person reads does not depend on who else listens either."""
    out = io.StringIO()
    with alone() as log:
        logging.getLogger().handlers.clear()
        with configure(out, json=False):
            log.observe(ended())
    assert (
        " info     GET /api/kaltura/video/1_abc?token=*** 200 gateway 40.0ms listener=public"
        in out.getvalue()
    )


def test_other_handlers_get_records() -> None:
    """Whoever listens to the access log, or filters it, has records as of any logger."""
    kept = Kept()
    with alone(kept) as log:
        assert len(log.told(ended())) == 1
    assert [(record.name, record.getMessage()) for record in kept.records] == [(ACCESS, "request")]
    with alone() as log:
        logging.getLogger().addHandler(kept)
        assert len(log.told(ended())) == 1
        logging.getLogger().removeHandler(kept)
    assert len(kept.records) == 2
    with alone() as log:
        logging.getLogger(ACCESS).addFilter(lambda record: record.fields.status != 404)  # type: ignore[attr-defined]  # ours
        assert len(log.told(ended(), ended(status=404))) == 1
    with alone(kept) as log:
        logging.getLogger(ACCESS).propagate = False
        assert log.told(ended()) == []
    assert len(kept.records) == 3


def test_the_access_loggers_level_holds_without_records() -> None:
    """An operator's library can quieten it."""
    with alone() as log:
        log.observe.access.setLevel(logging.WARNING)
        try:
            assert log.told(ended()) == []
        finally:
            log.observe.access.setLevel(logging.NOTSET)


def test_clients_over_a_limit_make_a_line_a_while(log: Log) -> None:
    """The operator sees which limit is met; a flood of clients is no flood of lines."""
    assert [line["limit"] for line in log.told(*[Limited("rate")] * 50, Limited("header"))] == [
        "rate",
        "header",
    ]
    log.clock.shift(11)
    (line,) = log.told(Limited("rate"))
    assert (line["level"], line["suppressed"]) == ("warning", 49)


def test_certificates_are_told_of(log: Log) -> None:
    """What is taken over is news; what cannot be used is a warning, with its reason."""
    loaded, kept = log.told(
        CertificateChanged("listen", "loaded"),
        CertificateChanged("gateway", "kept", "key does not fit the certificate"),
    )
    assert (loaded["level"], loaded["tls"]) == ("info", "listen")
    assert (kept["level"], kept["tls"], kept["reason"]) == (
        "warning",
        "gateway",
        "key does not fit the certificate",
    )


def test_what_it_wants_to_hear_of_is_what_makes_lines(chatty: Log) -> None:
    """Of other kinds it need not be told; of these it makes the same line either way."""
    kinds = {kind for kind in get_args(Event) if kind not in chatty.observe.wants}
    assert kinds == {RequestStarted, CacheLooked, AttemptEnded, BreakerRejected}
    events = BreakerChanged("gateway", "closed", "open"), SourceFailedEvent("video", TIMEOUT, "r-1")
    for event in events:
        (line,) = chatty.told(event)
        chatty.clock.shift(11)
        chatty.observe.wants[type(event)](event)
        assert chatty.lines()[-1].items() > line.items()


def test_in_an_outage_what_is_kept_back_counts_without_being_made(log: Log) -> None:
    """Told straight to the observer, a failed source is a line a while as well, with the number between."""
    tell = log.observe.wants[SourceFailedEvent]
    failed = SourceFailedEvent("video", TIMEOUT, "r-1")
    with pytest.MonkeyPatch.context() as patch:
        tell(failed)
        patch.setattr("proxy.logs.line_of", None)
        for _ in range(3):
            tell(failed)
    log.clock.shift(10)
    tell(failed)
    assert [line.get("suppressed") for line in log.lines()] == [None, 3]
