"""How long a token may be used, and when to ask for the next.

Reckoned so that clocks up to 30 s apart do no harm, either way: a new JWT by its own two times, which
come from one clock, everything else with 30 s taken off. The last tenth of a life, at most 30 s, is left
unused, because a request takes time to arrive.
"""

import math
from datetime import UTC, datetime

from proxy.clock import Clock
from proxy.frozen import frozen
from proxy.grant import Grant
from proxy.jwt import LATEST, claims

SKEW = 30.0
# How much older than its request a token may look and still be new: the skew, and a little.
NEW = SKEW + 5.0
# A JWT's times are whole seconds: up to one of its life may be over when it is issued.
ROUNDING = 1.0
DEFAULT_LIFE = 300.0
MARGIN = 30.0
MARGIN_SHARE = 0.1
RENEW_AT = 0.8
RENEW_JITTER = 0.05
SOONEST_RENEWAL = 0.5


@frozen
class Moment:
    """A reading of both clocks at once."""

    monotonic: float
    wall: float

    @classmethod
    def now(cls, clock: Clock) -> "Moment":
        """Read the clocks."""
        return cls(clock.monotonic(), clock.time())


@frozen
class Term:
    """From when to when a token may be used.

    `since`, `renew` (when to ask for the next) and `until` are readings of the monotonic clock, `ends` is
    the wall clock's. `expires_at` is what the token itself says, in seconds since the epoch.
    """

    since: float
    renew: float
    until: float
    ends: float
    expires_at: float | None

    def covers(self, monotonic: float, wall: float) -> bool:
        """Tell whether the token may be used; by both clocks, since a machine may have slept."""
        return monotonic < self.until and wall < self.ends

    def given_again(self, other: "Term", now: float) -> "Term":
        """Return the term of a token that was handed out a second time: that is no second life.

        `other` is the term reckoned the second time, `now` a reading of the monotonic clock.
        """
        if other.expires_at is None or other.expires_at != self.expires_at:
            return other
        until = min(self.until, other.until)
        renew = now + max(SOONEST_RENEWAL, (until - now) / 2)
        return Term(self.since, renew, until, min(self.ends, other.ends), self.expires_at)


def granted_term(grant: Grant, asked: Moment, dice: float) -> Term:
    """Reckon the term of a token just given.

    `asked` is the moment just before the request went out, so that the time the answer took is not
    counted as life. `dice`, from 0 up to 1, sets apart the renewals of many sidecars.
    """
    seconds, expires_at = _granted_life(grant, asked.wall)
    usable = seconds - _margin(seconds)
    renew = max(SOONEST_RENEWAL, seconds * (RENEW_AT - RENEW_JITTER * dice))
    return Term(
        since=asked.monotonic,
        renew=asked.monotonic + renew,
        until=asked.monotonic + usable,
        ends=asked.wall + usable,
        expires_at=expires_at,
    )


def fixed_term(token: str, now: Moment) -> Term:
    """Reckon the term of a token of unknown age; without an `exp` it has no end.

    It is renewed at its end and not before.
    """
    found = claims(token)
    if found is None or found.expires_at is None:
        return Term(now.monotonic, math.inf, math.inf, math.inf, None)
    seconds = found.expires_at - now.wall - SKEW
    until = now.monotonic + seconds - _margin(seconds)
    ends = now.wall + seconds - _margin(seconds)
    return Term(now.monotonic, until, until, ends, found.expires_at)


def _granted_life(grant: Grant, asked: float) -> tuple[float, float | None]:
    found = claims(grant.token)
    if found is not None and found.expires_at is not None:
        issued, ends = found.issued_at, found.expires_at
        # One from the future is new as well, and this is then the more careful reckoning.
        if issued is not None and issued >= asked - NEW:
            return ends - issued - ROUNDING, ends
        return ends - asked - SKEW, ends
    moment = None if grant.expires_at is None else _seconds(grant.expires_at)
    if moment is not None:
        return moment - asked - SKEW, moment
    return DEFAULT_LIFE, None


def _margin(life: float) -> float:
    return min(MARGIN, max(0.0, life * MARGIN_SHARE))


def _seconds(text: str) -> float | None:
    """Read an ISO 8601 moment; one without an offset is taken for UTC.

    With an offset the last hours of the year 9999 end in the next, which nothing here can write.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return min((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp(), LATEST)
