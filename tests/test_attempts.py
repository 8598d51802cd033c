"""When a failed call is made again, after how long, and what is told of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.attempts import AttemptFailed, Attempts, repeated
from proxy.call import Failure, FailureKind
from proxy.events import RetryScheduled, RetrySuppressed
from proxy.gateway_client import GatewayResponse
from tests.clocks import FakeClock
from tests.gateway_fakes import Events, FakeBudget, Retry


def http_answer(status: int) -> GatewayResponse:
    """Return an answer."""
    return GatewayResponse("GET", status, None, b"")


ANSWER = http_answer(200)  # the answer itself is not looked at


def attempts(
    retry: Retry | None = None,
    *,
    repeatable: bool = True,
    deadline: float = 8.0,
    dice: float = 0.0,
    clock: FakeClock | None = None,
    events: Events | None = None,
    budget: FakeBudget | None = None,
    least: float = 0.0,
) -> Attempts:
    """Return the options of one call, of which one attempt has begun."""
    options = Attempts(
        "video",
        retry or Retry(),
        repeatable=repeatable,
        deadline=deadline,
        least=least,
        budget=budget or FakeBudget(),
        clock=clock or FakeClock(),
        random=lambda: dice,
        observe=(Events() if events is None else events).append,
    )
    options.begin()
    return options


def failed(*, retry_after: float | None = None, sent: bool = True, retryable: bool = True) -> AttemptFailed:
    """Return a failure."""
    failure = Failure("gateway", FailureKind.STATUS, "the gateway answered 503", 503, retry_after)
    return AttemptFailed(failure, sent=sent, retryable=retryable)


def again(options: Attempts) -> bool:
    """Ask whether the loop may go on after an exception."""
    return bool(options.exceptions)


def test_an_answer_is_not_asked_for_again() -> None:
    """After an answer nothing is repeated."""
    options = attempts()
    options.ended(None)
    assert not again(options)


async def test_a_failed_answer_is_refused_while_attempts_are_left() -> None:
    """The loop is told to accept the last answer, and no failed one before it."""
    options = attempts(Retry(attempts=2))
    accept = options.evaluate_response_callback
    options.ended(failed())
    assert not await accept(ANSWER)
    options.begin()
    options.ended(failed())
    assert await accept(ANSWER)


def test_only_failures_of_an_attempt_are_repeated() -> None:
    """The loop repeats after `AttemptFailed` alone: not after a missing token or an open breaker."""
    options = attempts()
    options.ended(failed())
    assert options.exceptions == (AttemptFailed,)


def test_a_new_attempt_forgets_the_failure_before_it() -> None:
    """An exception of another kind in the second attempt is not repeated for the first one's sake."""
    options = attempts()
    options.ended(failed())
    options.begin()
    assert not again(options)


@given(st.integers(1, 10))
def test_the_number_of_attempts_is_bounded(most: int) -> None:
    """As many attempts are made as the settings say, the first one included."""
    options = attempts(Retry(attempts=most))
    made = 1
    options.ended(failed())
    while again(options):
        made += 1
        options.begin()
        options.ended(failed())
    assert made == most == options.made


def test_what_cannot_help_is_not_tried() -> None:
    """A failure that another try cannot mend ends the call without a word."""
    events = Events()
    options = attempts(events=events)
    options.ended(failed(retryable=False))
    assert not again(options)
    assert not events


def test_an_unsafe_call_is_not_repeated_once_sent() -> None:
    """A call that must not be made twice is not, and that is told."""
    events = Events()
    options = attempts(repeatable=False, events=events)
    options.ended(failed())
    assert not again(options)
    assert events == [RetrySuppressed("video", "unsafe")]


def test_an_unsafe_call_that_never_left_is_repeated() -> None:
    """Where no connection was made the gateway saw nothing, so that even an unsafe call is made again."""
    options = attempts(repeatable=False)
    options.ended(failed(sent=False))
    assert again(options)


def test_the_last_attempt_suppresses_nothing() -> None:
    """Where no attempt is left nothing is suppressed: there was nothing to allow."""
    events = Events()
    options = attempts(Retry(attempts=1), repeatable=False, deadline=-1.0, events=events)
    options.ended(failed())
    assert not again(options)
    assert not events


@given(
    initial=st.floats(0.001, 10),
    longest=st.floats(0.001, 60),
    made=st.integers(1, 9),
    dice=st.floats(0, 1, exclude_max=True),
)
def test_delays_have_full_jitter(initial: float, longest: float, made: int, dice: float) -> None:
    """Each delay is the dice's share of a ceiling that doubles from `initial` and stops at `max`."""
    options = attempts(Retry(10, initial, longest), deadline=1e9, dice=dice)
    for _ in range(made - 1):
        options.begin()
    options.ended(failed())
    assert again(options)
    ceiling = min(longest, initial * 2 ** (made - 1))
    assert options.get_timeout(made) == dice * ceiling
    assert 0 <= options.get_timeout(made) <= ceiling


@given(dice=st.floats(0, 1, exclude_max=True), wanted=st.floats(0, 5))
def test_a_longer_retry_after_wins(dice: float, wanted: float) -> None:
    """The gateway's `Retry-After` is waited for where it is longer than the delay, and no shorter."""
    options = attempts(Retry(3, 1.0, 1.0), dice=dice)
    options.ended(failed(retry_after=wanted))
    assert again(options)
    assert options.get_timeout(1) == max(dice, wanted)


@given(delay=st.floats(0, 20), passed=st.floats(0, 20), least=st.floats(0.001, 10))
def test_no_repetition_begins_that_has_no_time_to_end(delay: float, passed: float, least: float) -> None:
    """A repetition that would be left less time than one needs is not made, and that is told."""
    clock, events = FakeClock(), Events()
    options = attempts(clock=clock, deadline=8.0, events=events, least=least)
    clock.shift(passed)
    options.ended(failed(retry_after=delay))
    enough = 8.0 - (passed + delay) >= least
    assert again(options) == enough
    assert events == ([] if enough else [RetrySuppressed("video", "deadline")])


def test_a_scheduled_retry_is_told() -> None:
    """That there will be another attempt is told, with what ailed the last and how long it takes."""
    events = Events()
    options = attempts(dice=0.5, events=events)
    options.ended(failed())
    assert again(options)
    assert options.get_timeout(1) == 0.05
    assert events == [RetryScheduled("video", "status", 0.05)]


def test_a_failure_says_no_more_than_its_detail() -> None:
    """The exception's own text is the detail, which is safe to show."""
    assert str(failed()) == "the gateway answered 503"


async def test_the_loop_begins_with_what_is_known() -> None:
    """The first attempt is not made once more: only what follows it is, until there is an answer."""
    answers = [failed(), http_answer(503), http_answer(200)]
    made: list[object] = []

    async def again() -> GatewayResponse:
        options.begin()
        answer = answers[len(made) + 1]
        made.append(answer)
        assert isinstance(answer, GatewayResponse)
        options.ended(failed() if answer.status == 503 else None)
        return answer

    events = Events()
    options = attempts(events=events)
    first = answers[0]
    assert isinstance(first, AttemptFailed)
    options.ended(first)
    assert await repeated(first, again, options) is answers[2]
    assert made == answers[1:]
    assert len(events.of(RetryScheduled)) == 2


@pytest.mark.parametrize("first", [failed(retryable=False), http_answer(403)])
async def test_a_first_failure_that_is_final_stays(first: GatewayResponse | AttemptFailed) -> None:
    """Whether it was an answer or none, it is what the loop ends with."""

    async def again() -> GatewayResponse:
        raise AssertionError("nothing is to be repeated")

    options = attempts()
    options.ended(failed(retryable=False))
    if isinstance(first, GatewayResponse):
        assert await repeated(first, again, options) is first
    else:
        with pytest.raises(AttemptFailed) as caught:
            await repeated(first, again, options)
        assert caught.value is first


async def test_a_spent_budget_ends_the_retries_of_all() -> None:
    """When there were too many retries of late, an attempt that failed is the last, and that is counted."""
    events, budget = Events(), FakeBudget(left=1)
    for allowed in (True, False):
        options = attempts(events=events, budget=budget)
        options.ended(failed())
        assert bool(options.exceptions) is allowed
    assert events == [RetrySuppressed("video", "budget")]


async def test_a_retry_that_is_not_made_costs_no_budget() -> None:
    """What the deadline or the call itself forbids is not taken from the others."""
    budget = FakeBudget(left=1)
    for options in (attempts(budget=budget, deadline=-1.0), attempts(budget=budget, repeatable=False)):
        options.ended(failed())
        assert not options.exceptions
    assert budget.left == 1


def test_a_retry_that_would_not_help_costs_no_budget() -> None:
    """Nor is it taken where no attempt is left, or another try cannot mend what failed."""
    budget = FakeBudget(left=1)
    last, useless = attempts(Retry(attempts=1), budget=budget), attempts(budget=budget)
    last.ended(failed())
    useless.ended(failed(retryable=False))
    assert not again(last)
    assert not again(useless)
    assert budget.left == 1


def test_a_call_counts_once_whatever_it_takes() -> None:
    """A call counts when its first attempt has ended, and its repetitions do not earn more of them."""
    budget = FakeBudget()
    options = attempts(budget=budget)
    for _ in range(3):
        options.ended(None)
        options.ended(failed())
        options.begin()
    assert budget.calls == 1


def test_a_call_that_was_kept_back_does_not_count() -> None:
    """A call that an open breaker kept from the gateway earns no retries for when it is open no more."""
    budget = FakeBudget()
    options = attempts(budget=budget)
    assert not again(options)
    assert budget.calls == 0
