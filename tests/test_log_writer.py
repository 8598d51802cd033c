"""The log handler that never holds up whoever logs."""

import io
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.events import RequestEnded
from proxy.log_writer import LogWriter

MESSAGE = logging.Formatter("%(message)s")


class SlowStream(io.StringIO):
    """A stream that takes nothing until it is opened, like a pipe that nobody reads."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = threading.Event()
        self.opened = threading.Event()

    def write(self, text: str) -> int:
        """Wait, then take the text."""
        self.reached.set()
        assert self.opened.wait(10)
        return super().write(text)


class Notices(logging.Formatter):
    """Shows a message with its fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Message and fields."""
        return f"{record.getMessage()} {getattr(record, 'fields', '')}"


class Unprintable:
    """Something that cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no")


def brief(at: float, ended: RequestEnded) -> str:
    """An access line, of a request that says what it took."""
    return f"{at} {1 / ended.seconds}"


def end(seconds: float = 0.5) -> RequestEnded:
    """A request that ended."""
    return RequestEnded("public", "video", "GET", 200, "cache", seconds, "r-1", "/", "203.0.113.9", 1)


def say(writer: LogWriter, text: str, *args: object) -> None:
    """Log through the handler, as a logger does."""
    writer.handle(logging.LogRecord("test", logging.INFO, "", 0, text, args, None))


@pytest.fixture
def stream() -> io.StringIO:
    """A stream that is no file."""
    return io.StringIO()


@pytest.fixture
def writer(stream: io.StringIO) -> Iterator[LogWriter]:
    """A handler that writes at once."""
    made = LogWriter(stream, MESSAGE, linger=0)
    yield made
    made.close()


def test_lines_come_in_order_and_none_is_lost(writer: LogWriter, stream: io.StringIO) -> None:
    """Whatever was logged before the end is written by the end, in order, though the thread lags."""
    for number in range(3000):
        say(writer, str(number))
    writer.close()
    assert stream.getvalue().splitlines() == [str(number) for number in range(3000)]


def test_several_threads_lose_nothing() -> None:
    """Lines of many threads are each whole, and each thread's own are in order."""
    stream = io.StringIO()
    writer = LogWriter(stream, MESSAGE)

    def talk(name: str) -> None:
        for number in range(200):
            say(writer, f"{name} {number}")

    threads = [threading.Thread(target=talk, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    lines = stream.getvalue().splitlines()
    for name in "abcd":
        assert [x for x in lines if x.startswith(name)] == [f"{name} {n}" for n in range(200)]


def test_flush_waits_for_what_was_logged(stream: io.StringIO) -> None:
    """After a flush the lines so far are there, however long lines are let gather."""
    writer = LogWriter(stream, MESSAGE, linger=60, patience=10)
    say(writer, "one")
    writer.flush()
    assert stream.getvalue() == "one\n"
    writer.close()


def test_a_full_queue_drops_and_tells(caplog: pytest.LogCaptureFixture) -> None:
    """While nobody reads, logging returns at once; what did not fit is counted, and the log says so."""
    stream = SlowStream()
    writer = LogWriter(stream, Notices(), capacity=3, linger=0)
    say(writer, "first")
    assert stream.reached.wait(10)
    for number in range(10):
        say(writer, str(number))
    assert writer.dropped == 7
    stream.opened.set()
    writer.flush()
    say(writer, "after")
    writer.close()
    assert stream.getvalue().splitlines() == [
        "first ",
        "0 ",
        "1 ",
        "2 ",
        "log lines dropped {'dropped': 7}",
        "after ",
    ]


def test_close_gives_up_on_a_stream_that_takes_nothing() -> None:
    """The end does not wait for ever for a reader."""
    stream = SlowStream()
    writer = LogWriter(stream, MESSAGE, linger=0, patience=0.01)
    say(writer, "x")
    assert stream.reached.wait(10)
    writer.flush()
    writer.close()
    assert stream.getvalue() == ""
    stream.opened.set()


def test_closing_twice_is_closing_once(writer: LogWriter, stream: io.StringIO) -> None:
    """A second close and a late flush do nothing, and a late line is counted as dropped."""
    say(writer, "x")
    writer.close()
    writer.close()
    say(writer, "late")
    writer.flush()
    assert stream.getvalue() == "x\n"
    assert writer.dropped == 1


def test_arguments_are_read_when_logged(writer: LogWriter, stream: io.StringIO) -> None:
    """What changes after it was logged shows as it was, and the record itself is left alone."""
    numbers = [1]
    record = logging.LogRecord("test", logging.INFO, "", 0, "%s", (numbers,), None)
    writer.handle(record)
    numbers.append(2)
    writer.close()
    assert stream.getvalue() == "[1]\n"
    assert record.args == (numbers,)


def test_what_cannot_be_shown_becomes_a_line(stream: io.StringIO) -> None:
    """Neither wrong arguments nor a failing formatter end the log, or print a traceback."""
    writer = LogWriter(stream, Notices(), linger=0)
    say(writer, "%d", "no number")
    say(writer, Unprintable())  # type: ignore[arg-type]  # as a careless library would
    say(writer, "next")
    writer.close()
    told = "a log line could not be formatted {'origin': 'test'}"
    assert stream.getvalue().splitlines() == [told, told, "next "]


def test_a_failing_stream_is_survived(tmp_path: Path) -> None:
    """Lines that could not be written are counted and told when the stream takes lines again."""
    log = tmp_path / "log"
    with log.open("w") as stream:
        writer = LogWriter(stream, Notices(), linger=0)
        say(writer, "one")
        writer.flush()
        full = os.open("/dev/full", os.O_WRONLY)
        good = os.dup(stream.fileno())
        os.dup2(full, stream.fileno())
        say(writer, "two")
        writer.flush()
        os.dup2(good, stream.fileno())
        say(writer, "three")
        writer.close()
        os.close(full)
        os.close(good)
    assert writer.dropped == 1
    assert log.read_text().splitlines() == ["one ", "three ", "log lines dropped {'dropped': 1}"]


def test_a_closed_stream_is_not_written_past(tmp_path: Path) -> None:
    """A closed stream's number may be another file's by now: nothing goes there."""
    stream = (tmp_path / "log").open("w")
    writer = LogWriter(stream, MESSAGE, linger=0)
    number = stream.fileno()
    stream.close()
    with (tmp_path / "other").open("w") as other:
        assert other.fileno() == number
        say(writer, "x")
        writer.close()
    assert (tmp_path / "other").read_text() == ""
    assert writer.dropped == 1


def run(code: str, stderr: int) -> subprocess.Popen[bytes]:
    """Start Python with a handler on its standard error."""
    start = "import logging, sys\nfrom proxy.log_writer import LogWriter\n"
    start += "writer = LogWriter(sys.stderr, logging.Formatter('%(message)s'), patience=0.2)\n"
    start += "log = logging.getLogger()\nlog.addHandler(writer)\n"
    command = [sys.executable, "-c", start + code]
    return subprocess.Popen(command, stderr=stderr)  # noqa: S603  (code of this file)


def test_the_interpreters_exit_loses_nothing() -> None:
    """Without a close, what waits is written when the process ends, also after an error."""
    process = run("log.warning('last words')\nsys.exit(3)", subprocess.PIPE)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 3
    assert errors == b"last words\n"


def test_a_pipe_that_nobody_reads_does_not_hold_up_the_exit() -> None:
    """With the log's reader stuck, the process still ends as asked."""
    reading, writing = os.pipe()
    process = run("[log.warning('x' * 200) for _ in range(2000)]\nsys.exit(0)", writing)
    os.close(writing)
    try:
        assert process.wait(30) == 0
    finally:
        process.kill()
        os.close(reading)


def test_ends_are_lines_in_their_place(stream: io.StringIO) -> None:
    """A request that is handed over without a record is written where it came."""
    writer = LogWriter(stream, MESSAGE, access=brief)
    assert writer.takes_ends
    say(writer, "one")
    writer.ended(end(), 7.0)
    say(writer, "three")
    writer.ended(end(0.25), 8.0)
    writer.close()
    assert stream.getvalue().splitlines() == ["one", "7.0 2.0", "three", "8.0 4.0"]


def test_a_full_queue_drops_ends_as_well() -> None:
    """They are counted with the records; after the end they are dropped too."""
    stream = SlowStream()
    writer = LogWriter(stream, Notices(), access=brief, capacity=2, linger=0)
    say(writer, "first")
    assert stream.reached.wait(10)
    for _ in range(3):
        writer.ended(end(), 7.0)
    say(writer, "record")
    assert writer.dropped == 2
    stream.opened.set()
    writer.close()
    writer.ended(end(), 7.0)
    assert writer.dropped == 3
    told = "log lines dropped {'dropped': 2}"
    assert stream.getvalue().splitlines() == ["first ", "7.0 2.0", "7.0 2.0", told]


def test_many_ends_at_a_time_are_written_before_there_is_no_room() -> None:
    """The thread does not let them gather for as long as usual when so many wait."""
    stream = SlowStream()
    stream.opened.set()
    writer = LogWriter(stream, MESSAGE, access=brief, capacity=20, linger=60)
    for _ in range(10):
        writer.ended(end(), 7.0)
    assert not stream.reached.wait(0.05)
    for _ in range(2):
        writer.ended(end(), 7.0)
    assert stream.reached.wait(10)
    writer.close()
    assert writer.dropped == 0


def test_an_end_that_cannot_be_shown_becomes_a_line(stream: io.StringIO) -> None:
    """One that is not as it should be does not end the log."""
    writer = LogWriter(stream, Notices(), access=brief)
    nonsense: list[object] = ["no number", None]
    for seconds in nonsense:
        writer.ended(end(seconds), 7.0)  # type: ignore[arg-type]  # a defect's
    writer.ended(end(), 7.0)
    writer.close()
    told = "a log line could not be formatted {'origin': 'activity_proxy.access'}"
    assert stream.getvalue().splitlines() == [told, told, "7.0 2.0"]
