"""The sandbox's tokens are real ones."""

import base64
import json

import pytest

from proxy.sandbox_tokens import Tokens, User
from tests.clocks import FakeClock

NELLY = User("80351110224678912", "Nelly", "viewer")


def encoded(value: object) -> str:
    """Return a part of a token."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def test_a_token_says_whose_it_is_and_when_it_ends() -> None:
    """The claims are the recorded ones, and the token is read back as its user."""
    tokens = Tokens(FakeClock(epoch=1000.9), life=3600)
    token = tokens.issue(NELLY)
    payload = token.split(".")[1]
    assert json.loads(base64.urlsafe_b64decode(payload + "==")) == {
        "discordId": "80351110224678912",
        "discordUsername": "Nelly",
        "kalturaUserId": "discord_80351110224678912",
        "kalturaRole": "viewer",
        "iat": 1000,
        "exp": 4600,
    }
    assert tokens.read(token) == NELLY


def test_a_token_ends() -> None:
    """A token is good until the second that `exp` names, and not in it."""
    clock = FakeClock(epoch=1000.0)
    tokens = Tokens(clock, life=60)
    token = tokens.issue(NELLY)
    clock.shift(59.9)
    assert tokens.read(token) == NELLY
    clock.shift(0.1)
    assert tokens.read(token) is None


def test_revoking_voids_the_tokens_issued_so_far() -> None:
    """The old token is void and a new one of the same second is good."""
    tokens = Tokens(FakeClock(), life=60)
    old = tokens.issue(NELLY)
    tokens.revoke()
    assert tokens.read(old) is None
    assert tokens.read(tokens.issue(NELLY)) == NELLY


@pytest.mark.parametrize("forged", ["", "a", "expired.or.forged", "..", "é.ü.ö", "\udcff.a.b"])
def test_what_was_not_issued_is_no_token(forged: str) -> None:
    """Anything without our signature is refused, whatever its bytes."""
    assert Tokens(FakeClock(), life=60).read(forged) is None


def test_an_unsigned_token_is_refused() -> None:
    """The header cannot talk the reader out of the signature, nor the payload be exchanged."""
    tokens = Tokens(FakeClock(), life=60)
    _, payload, signature = tokens.issue(NELLY).split(".")
    none = encoded({"alg": "none", "typ": "JWT"})
    assert tokens.read(f"{none}.{payload}.") is None
    assert tokens.read(f"{none}.{payload}.{signature}") is None
    other = Tokens(FakeClock(), life=60).issue(NELLY)
    assert tokens.read(other) is None
