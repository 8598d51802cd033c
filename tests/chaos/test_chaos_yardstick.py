"""The yardstick: what is late on a busy machine is told, and what is late on a quiet one fails."""

import time

import pytest

from tests.chaos.yardstick import Yardstick, in_time


def test_nothing_late_needs_no_excuse() -> None:
    """A test that was in time on a busy machine has passed."""
    in_time([], ["other processes had 50% of the time"])


def test_who_is_late_on_a_quiet_machine_fails() -> None:
    """One time without an excuse is enough."""
    with pytest.raises(AssertionError, match="much too late"):
        in_time(["much too late"], [None, "other processes had 50% of the time"])


def test_a_skipped_test_says_why() -> None:
    """The reason tells what was late, and how busy the machine was."""
    with pytest.raises(pytest.skip.Exception, match="50% of the time: much too late"):
        in_time(["much too late"], ["other processes had 50% of the time"])


def test_a_machine_is_busy_by_what_was_waited_for() -> None:
    """From a tenth of the time on there is an excuse."""
    yardstick = Yardstick()
    mark = (time.monotonic() - 10.0, 0.0)
    assert yardstick.excuse(mark) is None
    yardstick.waited = 5.0
    assert yardstick.excuse(mark) == "other processes had 50% of the time"
