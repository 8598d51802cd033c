"""How many retries the gateway bears."""

from hypothesis import given
from hypothesis import strategies as st

from proxy.budget import FLOOR, PERIOD, RetryBudget
from tests.clocks import FakeClock


def taken(budget: RetryBudget, tries: int) -> int:
    """How many retries of so many tries are allowed."""
    return sum(budget.allow() for _ in range(tries))


def test_a_quiet_sidecar_can_retry() -> None:
    """Without any traffic the floor is there, and no more."""
    assert taken(RetryBudget(0.2, FakeClock().monotonic), 100) == FLOOR


def test_retries_are_a_share_of_the_calls() -> None:
    """A thousand calls of late bear two hundred retries."""
    budget = RetryBudget(0.2, FakeClock().monotonic)
    for _ in range(1000):
        budget.call()
    assert taken(budget, 1000) == 200


def test_what_is_past_does_not_count() -> None:
    """Calls and retries of the period before are forgotten."""
    clock = FakeClock()
    budget = RetryBudget(0.2, clock.monotonic)
    for _ in range(1000):
        budget.call()
    assert taken(budget, 1000) == 200
    clock.shift(2 * PERIOD)
    assert taken(budget, 1000) == FLOOR


def test_the_share_is_settable() -> None:
    """Half of the calls, if the operator wants it."""
    budget = RetryBudget(0.5, FakeClock().monotonic)
    for _ in range(100):
        budget.call()
    assert taken(budget, 1000) == 50


@given(st.lists(st.tuples(st.sampled_from(["call", "retry"]), st.floats(0, 3)), max_size=200))
def test_in_no_ten_seconds_are_there_more(steps: list[tuple[str, float]]) -> None:
    """Over any ten seconds the retries are at most the floor, or the share of the calls before."""
    clock = FakeClock()
    budget = RetryBudget(0.2, clock.monotonic)
    calls: list[float] = []
    retries: list[float] = []
    for what, pause in steps:
        clock.shift(pause)
        now = clock.monotonic()
        if what == "call":
            budget.call()
            calls.append(now)
        elif budget.allow():
            retries.append(now)
        of_late = [at for at in retries if at > now - PERIOD]
        assert len(of_late) <= max(FLOOR, 0.2 * len([at for at in calls if at > now - 2 * PERIOD]))
