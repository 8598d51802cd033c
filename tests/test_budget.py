"""The budget of retries."""

from hypothesis import given
from hypothesis import strategies as st

from proxy.budget import FLOOR, PERIOD, RetryBudget
from tests.clocks import FakeClock


def taken(budget: RetryBudget, wanted: int = 10_000) -> int:
    """Take retries until there is no room, and count them."""
    return next((number for number in range(wanted) if not budget.allow()), wanted)


def test_a_quiet_sidecar_can_retry() -> None:
    """However few the calls are, the floor is allowed, and not one retry more."""
    budget = RetryBudget(0.2, FakeClock().monotonic)
    assert taken(budget) == FLOOR == 10
    budget.call()
    assert not budget.allow()


def test_many_calls_allow_their_share() -> None:
    """With many calls the retries are the share of them: of a thousand, two hundred."""
    budget = RetryBudget(0.2, FakeClock().monotonic)
    for _ in range(1000):
        budget.call()
    assert taken(budget) == 200


def test_retries_earn_no_retries() -> None:
    """What was retried counts against the budget and not towards it."""
    budget = RetryBudget(1.0, FakeClock().monotonic)
    for _ in range(20):
        budget.call()
    assert taken(budget) == 20
    assert taken(budget) == 0


def test_room_comes_back_with_time() -> None:
    """When the retries are long enough ago there is room again, and calls of long ago allow nothing."""
    clock = FakeClock()
    budget = RetryBudget(0.2, clock.monotonic)
    for _ in range(1000):
        budget.call()
    assert taken(budget) == 200
    clock.shift(PERIOD * 1.2)
    assert taken(budget) == FLOOR == 10


def test_a_failing_gateway_is_asked_a_fifth_more_and_no_more() -> None:
    """With every call failing and always wanting a retry, minutes of traffic bring 1.2 times the calls."""
    clock = FakeClock()
    budget = RetryBudget(0.2, clock.monotonic)
    calls = retries = 0
    for _ in range(60 * 50):
        calls += 1
        budget.call()
        retries += budget.allow() + budget.allow()
        clock.shift(0.02)
    assert calls * 0.15 < retries <= calls * 0.2 + FLOOR


@given(
    share=st.floats(0.01, 1.0),
    steps=st.lists(
        st.tuples(st.floats(0.0, 4.0), st.integers(0, 60), st.integers(0, 30)), min_size=1, max_size=40
    ),
)
def test_the_share_holds_in_any_ten_seconds(share: float, steps: list[tuple[float, int, int]]) -> None:
    """Retries stay within share or floor of ten seconds' calls, and none below the floor is refused."""
    clock = FakeClock()
    budget = RetryBudget(share, clock.monotonic)
    calls: list[float] = []
    retries: list[float] = []
    for wait, called, wanted in steps:
        clock.shift(wait)
        now = clock.monotonic()
        for _ in range(called):
            budget.call()
            calls.append(now)
        allowed = taken(budget, wanted)
        retries += [now] * allowed
        # A hair less than the period, for the clock's sums are not exact.
        recent = sum(at > now - PERIOD + 1e-6 for at in retries)
        if allowed:
            assert recent <= max(FLOOR, share * sum(at > now - PERIOD for at in calls))
        if allowed < wanted:
            assert sum(at > now - PERIOD / 0.9 - 1e-6 for at in retries) >= FLOOR
