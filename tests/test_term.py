"""How long a token may be used."""

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.grant import Grant
from proxy.template import iso_time
from proxy.term import Moment, Term, fixed_term, granted_term
from tests.token_bench import jwt

EPOCH = 1_795_395_189.0
SKEWS = st.floats(-30.0, 30.0)
ASKED = Moment(1000.0, EPOCH)


def test_a_new_token_lives_by_its_own_times() -> None:
    """A token of an hour is renewed at four fifths and used until half a minute before its end."""
    term = granted_term(Grant(jwt(iat=EPOCH, exp=EPOCH + 3600)), ASKED, 0.0)
    assert term.since == 1000.0
    assert term.renew == pytest.approx(1000 + 0.8 * 3599)
    assert term.until == pytest.approx(1000 + 3599 - 30)
    assert term.ends == pytest.approx(EPOCH + 3599 - 30)
    assert term.expires_at == EPOCH + 3600


def test_renewals_are_set_apart_ahead_of_the_hour() -> None:
    """Dice make a renewal earlier, by a twentieth of the life at most."""
    grant = Grant(jwt(iat=EPOCH, exp=EPOCH + 3600))
    early = granted_term(grant, ASKED, 0.999999).renew
    assert 1000 + 0.75 * 3599 <= early < granted_term(grant, ASKED, 0.0).renew


@given(
    skew=SKEWS,
    life=st.integers(2, 100_000),
    there=st.floats(0.0, 3.0),
    fraction=st.floats(0.0, 0.999),
    dice=st.floats(0.0, 0.999),
)
def test_a_new_token_is_never_used_beyond_its_end(
    skew: float, life: int, there: float, fraction: float, dice: float
) -> None:
    """Whatever the skew, the way and the rounding, a new token ends in time and is used well."""
    issued = math.floor(EPOCH + there + skew) + fraction
    grant = Grant(jwt(iat=math.floor(issued), exp=math.floor(issued) + life))
    asked = Moment(1000.0, issued - there - skew)
    term = granted_term(grant, asked, dice)
    true_end = 1000.0 + there + (math.floor(issued) + life - issued)
    assert term.until <= true_end + 1e-3
    assert term.until >= 1000.0 + (life - 1) * 0.9 - 30.0 - 1e-3
    assert life < 5 or term.since < term.renew < term.until


@given(skew=SKEWS, life=st.integers(100, 100_000), age=st.floats(66.0, 90_000.0))
def test_an_old_token_given_again_is_never_used_beyond_its_end(skew: float, life: int, age: float) -> None:
    """A token that was issued a good while ago has only the rest of its life."""
    issued = EPOCH - age + skew
    grant = Grant(jwt(iat=math.floor(issued), exp=math.floor(issued) + life))
    term = granted_term(grant, ASKED, 0.0)
    true_end = 1000.0 - age + (math.floor(issued) + life - issued)
    assert term.until <= max(true_end, 1000.0) + 1e-3


def test_a_token_from_a_clock_far_ahead_lives_by_its_own_times() -> None:
    """Where the gateway's clock is hours ahead a new token is not taken to live hours longer."""
    term = granted_term(Grant(jwt(iat=EPOCH + 7200, exp=EPOCH + 7260)), ASKED, 0.0)
    assert term.until == pytest.approx(1000 + 59 * 0.9)


@given(skew=SKEWS, life=st.floats(0.01, 100_000.0), offset=st.sampled_from(["Z", "+00:00", ""]))
def test_an_opaque_token_ends_by_what_the_answer_says(skew: float, life: float, offset: str) -> None:
    """Without a JWT's times `expiresAt` counts, less the half minute that clocks may be apart."""
    seconds = EPOCH + skew + life
    whole = math.floor(seconds)
    text = _iso(whole, int((seconds - whole) * 1000), offset)
    term = granted_term(Grant("opaque", text), ASKED, 0.0)
    assert term.until <= 1000.0 + life + 1e-3
    assert term.until >= 1000.0 + life + skew - 30.0 - min(30.0, life * 0.1 + 6.0) - 1e-2
    assert term.expires_at == pytest.approx(seconds, abs=2e-3)


def _iso(seconds: int, millis: int, offset: str) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{millis:03}{offset}"


@pytest.mark.parametrize("text", [None, "", "soon", "2026-13-01T00:00:00Z", "1795395189"])
def test_a_token_that_says_nothing_lives_five_minutes(text: str | None) -> None:
    """Neither a JWT nor a moment that can be read: five minutes, and nothing told."""
    term = granted_term(Grant("opaque", text), ASKED, 0.0)
    assert (term.until, term.expires_at) == (1000 + 270.0, None)


def test_an_end_beyond_what_can_be_written_is_the_last_that_can() -> None:
    """A gateway that means "never" costs nobody their sign-in."""
    term = granted_term(Grant("opaque", "9999-12-31T23:59:59-23:59"), ASKED, 0.0)
    assert term.expires_at is not None
    assert iso_time(term.expires_at) == "9999-12-31T23:59:59.000Z"


def test_a_jwt_without_issue_time_ends_by_the_wall_clock() -> None:
    """With `exp` alone, the half minute that clocks may be apart is taken off."""
    term = granted_term(Grant(jwt(exp=EPOCH + 3600)), ASKED, 0.0)
    assert term.until == 1000 + 3600 - 30 - 30


def test_a_term_is_over_by_either_clock() -> None:
    """A machine that slept has a wall clock ahead of the monotonic one: the token is over."""
    term = granted_term(Grant(jwt(iat=EPOCH, exp=EPOCH + 3600)), ASKED, 0.0)
    assert term.covers(1010.0, EPOCH + 10)
    assert not term.covers(1010.0, EPOCH + 3600)
    assert not term.covers(1000.0 + 3600, EPOCH + 10)


def test_a_fixed_token_without_end_has_none() -> None:
    """An opaque token from the configuration is used for ever and never renewed."""
    term = fixed_term("opaque", ASKED)
    assert term == Term(1000.0, math.inf, math.inf, math.inf, None)
    assert fixed_term(jwt(iat=EPOCH), ASKED) == term


def test_a_fixed_jwt_is_used_to_its_end() -> None:
    """A JWT from the configuration lasts until its `exp`, skew and margin taken off, however new."""
    term = fixed_term(jwt(iat=EPOCH, exp=EPOCH + 3600), ASKED)
    assert term.until == term.renew == 1000 + 3600 - 30 - 30
    assert term.ends == EPOCH + 3600 - 30 - 30
    assert term.expires_at == EPOCH + 3600


def test_a_fixed_jwt_that_is_over_is_not_used() -> None:
    """A JWT from the configuration whose end is past, or nearer than the skew, is not used."""
    assert not fixed_term(jwt(exp=EPOCH - 5), ASKED).covers(ASKED.monotonic, ASKED.wall)
    assert not fixed_term(jwt(exp=EPOCH + 29), ASKED).covers(ASKED.monotonic, ASKED.wall)


def test_the_same_token_again_has_no_second_life() -> None:
    """A JWT handed out twice ends when it would have, and is asked for again half-way there."""
    grant = Grant(jwt(iat=EPOCH, exp=EPOCH + 3600))
    first = granted_term(grant, ASKED, 0.0)
    again = granted_term(grant, Moment(1020.0, EPOCH + 20), 0.0)
    kept = first.given_again(again, 1020.0)
    assert again.until > first.until
    assert (kept.since, kept.until, kept.ends) == (first.since, first.until, first.ends)
    assert kept.renew == 1020.0 + (first.until - 1020.0) / 2
    late = first.given_again(again, first.until - 0.1)
    assert late.renew == first.until - 0.1 + 0.5


def test_the_same_token_with_a_later_end_has_the_later_end() -> None:
    """An opaque token whose end was moved on, or that never said one, goes by the new reckoning."""
    first = granted_term(Grant("opaque", "2026-11-23T01:53:09Z"), ASKED, 0.0)
    moved = granted_term(Grant("opaque", "2026-11-23T02:53:09Z"), ASKED, 0.0)
    silent = granted_term(Grant("opaque"), ASKED, 0.0)
    assert first.given_again(moved, 1000.0) == moved
    assert silent.given_again(silent, 1000.0) == silent
