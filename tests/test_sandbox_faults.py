"""The set of faults: what it takes, what it refuses, whom it strikes."""

from random import Random
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.sandbox_faults import AnswerManner, Fault, FaultError, Faults, read_faults

DICE = Random(1)  # noqa: S311


def test_nothing_named_is_nothing_wrong() -> None:
    """An empty object is the set without faults."""
    assert read_faults({}) == Faults()
    assert Faults().strike("routes", DICE) == Fault()


@given(
    fault=st.builds(
        Fault,
        latency=st.floats(0, 3600),
        status=st.integers(400, 599),
        retry_after=st.none() | st.integers(0, 3600),
        retry_after_form=st.sampled_from(["seconds", "date"]),
        answer=st.sampled_from(get_args(AnswerManner)),
        rate=st.floats(0, 1),
    ),
    seed=st.integers(),
)
def test_what_is_shown_can_be_put_back(fault: Fault, seed: int) -> None:
    """The JSON of any set of faults reads as that set."""
    faults = Faults(auth=fault, seed=seed)
    assert read_faults(faults.as_json()) == faults


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([], "faults: wants an object"),
        ({"al": {}}, "faults: unknown key 'al', known are all, auth, routes, seed"),
        ({"seed": 1.5}, "seed: wants a whole number"),
        ({"all": None}, "all: wants an object"),
        ({"auth": {"delay": 1}}, "auth: unknown key 'delay', known are latency, status, "),
        ({"auth": {"latency": "5s"}}, "auth.latency: wants a number"),
        ({"auth": {"latency": True}}, "auth.latency: wants a number"),
        ({"auth": {"latency": float("nan")}}, "auth.latency: wants a number"),
        ({"routes": {"latency": -1}}, "routes.latency: wants seconds from 0 to 3600"),
        ({"routes": {"status": "500"}}, "routes.status: wants a whole number"),
        ({"routes": {"status": True}}, "routes.status: wants a whole number"),
        ({"routes": {"status": 200}}, "routes.status: wants an error status from 400 to 599"),
        ({"all": {"status": 429, "retry_after": -1}}, "all.retry_after: wants whole seconds"),
        ({"all": {"retry_after": 3}}, "all.retry_after: wants a status beside it"),
        (
            {"all": {"retry_after_form": "ms"}},
            "all.retry_after_form: wants one of seconds, date",
        ),
        ({"all": {"answer": "HTML"}}, "all.answer: wants one of normal, reset, truncated, "),
        ({"all": {"rate": 2}}, "all.rate: wants a share from 0 to 1"),
    ],
)
def test_a_mistake_names_its_field(value: object, said: str) -> None:
    """A key or value that is none of ours is refused with the field and what it wants."""
    with pytest.raises(FaultError) as refused:
        read_faults(value)
    assert str(refused.value).startswith(said)


def test_each_class_meets_its_own_faults() -> None:
    """Faults of `all` meet everyone, the others only their class."""
    faults = Faults(auth=Fault(status=503), routes=Fault(latency=1))
    assert faults.strike("auth", DICE) == Fault(status=503)
    assert faults.strike("routes", DICE) == Fault(latency=1)
    assert faults.strike("other", DICE) == Fault()
    assert Faults(all=Fault(answer="hang")).strike("other", DICE).answer == "hang"


def test_faults_add_up() -> None:
    """Delays are summed; of statuses and manners the one of `all` goes before the class's."""
    faults = Faults(
        all=Fault(latency=1, status=429, retry_after=3, retry_after_form="date"),
        routes=Fault(latency=2, status=500, answer="truncated"),
    )
    assert faults.strike("routes", DICE) == Fault(
        latency=3, status=429, retry_after=3, retry_after_form="date", answer="truncated"
    )
    assert Faults(all=Fault(3600), auth=Fault(3600)).strike("auth", DICE).latency == 3600


def test_a_rate_strikes_its_share_and_can_be_repeated() -> None:
    """A rate of 30 % strikes about that many requests, the same ones with the same dice."""
    faults = Faults(routes=Fault(status=500, rate=0.3))

    def struck() -> list[bool]:
        dice = Random(7)  # noqa: S311
        return [faults.strike("routes", dice).status == 500 for _ in range(1000)]

    assert struck() == struck()
    assert 250 < sum(struck()) < 350
    assert Faults(all=Fault(status=500, rate=0)).strike("auth", DICE) == Fault()
