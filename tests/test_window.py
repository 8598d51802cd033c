"""The sliding window of counts."""

from hypothesis import given
from hypothesis import strategies as st

from proxy.window import BUCKETS, Window
from tests.clocks import FakeClock


def test_counts_what_happened() -> None:
    """Calls, failures and slow calls are counted apart."""
    window = Window(30.0, FakeClock().monotonic)
    window.add(failed=True, slow=False)
    window.add(failed=False, slow=True)
    window.add(failed=False, slow=False)
    window.add(failed=False, slow=False)
    totals = window.totals()
    assert (totals.calls, totals.failures, totals.slow) == (4, 1, 1)
    assert totals.failure_ratio == 0.25


def test_nothing_counted_has_ratio_zero() -> None:
    """An empty window has a failure ratio of 0."""
    assert Window(30.0, FakeClock().monotonic).totals().failure_ratio == 0.0


def test_clear_forgets() -> None:
    """After clearing nothing counts any more."""
    window = Window(30.0, FakeClock().monotonic)
    window.add(failed=True, slow=True)
    window.clear()
    assert window.totals().calls == 0


@given(
    gaps=st.lists(st.floats(0.0, 40.0), max_size=60),
    seconds=st.floats(0.5, 60.0),
    after=st.floats(0.0, 60.0),
)
def test_results_count_for_the_window_and_no_longer(gaps: list[float], seconds: float, after: float) -> None:
    """A result counts through nine tenths of the window, never beyond the whole, in bounded memory."""
    clock = FakeClock()
    window = Window(seconds, clock.monotonic)
    times = []
    for gap in gaps:
        clock.shift(gap)
        window.add(failed=False, slow=False)
        times.append(clock.monotonic())
    clock.shift(after)
    now = clock.monotonic()
    slack = seconds * 1e-6
    surely = sum(now - time < seconds * (1 - 1 / BUCKETS) - slack for time in times)
    perhaps = sum(now - time <= seconds + slack for time in times)
    assert surely <= window.totals().calls <= perhaps
    assert len(window._buckets) <= BUCKETS
