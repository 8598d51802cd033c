"""The users' gateway tokens: one keeper a user, in single flight, few enough, and none for the idle."""

import asyncio
import gc
import weakref
from dataclasses import dataclass, field

import pytest

from proxy.call import FailureKind, Subject
from proxy.grant import TokenEndpointFailed, TokenError
from proxy.login import Guarded
from proxy.tokens import TokenKeeper
from proxy.user_tokens import IDLE, MOST, SWEEP, UserTokens
from tests.clocks import FakeClock, settle
from tests.gateway_fakes import FakeBreaker
from tests.token_bench import Endpoint

AWAY = TokenEndpointFailed(FailureKind.UNREACHABLE, "away")


def user(number: int) -> Subject:
    """Return one of many users."""
    return Subject("user", f"{80351110224678912 + number}", f"viewer {number}", ("Viewer",))


@dataclass
class Door:
    """A token endpoint for each user, and the tokens on it."""

    most: int = MOST
    clock: FakeClock = field(default_factory=FakeClock)
    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    made: list[Subject] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tokens = UserTokens(self.keeper, self.clock, self.most)

    def endpoint(self, subject: Subject) -> Endpoint:
        """Return where that user's tokens come from."""
        return self.endpoints.setdefault(subject.discord_id, Endpoint(self.clock))

    def keeper(self, subject: Subject) -> TokenKeeper:
        """Make a keeper as the sidecar makes it."""
        self.made.append(subject)
        login = Guarded(self.endpoint(subject), FakeBreaker(10**6), self.clock)
        return TokenKeeper(
            login.login,
            login.refresh,
            clock=self.clock,
            random=lambda: 0.0,
            observe=lambda _: None,
            kind="user",
        )

    def calls(self, number: int) -> list[str]:
        """What was asked for that user."""
        return self.endpoint(user(number)).calls


async def test_each_user_has_tokens_of_their_own() -> None:
    """One login a user, however many ask at once; another user's is another token."""
    door = Door()
    got = await asyncio.gather(*(door.tokens.of(user(number % 2)).get() for number in range(20)))
    assert len({token.value for token in got[::2]}) == len({token.value for token in got[1::2]}) == 1
    assert door.calls(0) == door.calls(1) == ["login"]
    assert door.tokens.of(user(0)) is not door.tokens.of(user(1))


async def test_signing_in_logs_in_anew_and_its_token_is_used_from_then_on() -> None:
    """What a user is given at a sign-in is fresh, and the calls that follow use it."""
    door = Door()
    before = await door.tokens.of(user(1)).get()
    door.clock.shift(10)
    granted = await door.tokens.sign_in(user(1))
    assert granted.token != before.value
    assert granted.expires_at == door.clock.time() + 3600
    assert (await door.tokens.of(user(1)).get()).value == granted.token
    assert door.calls(1) == ["login", "login"]
    assert granted.token not in repr(granted)


async def test_a_sign_in_that_fails_costs_nobody_their_token() -> None:
    """While the gateway is away a user goes on with the token of an earlier sign-in."""
    door = Door()
    granted = await door.tokens.sign_in(user(1))
    door.endpoint(user(1)).trouble = [AWAY]
    with pytest.raises(TokenError):
        await door.tokens.sign_in(user(1))
    assert (await door.tokens.of(user(1)).get()).value == granted.token


async def test_a_token_that_nobody_wants_is_dropped() -> None:
    """After a quarter of an hour without a call a user's token is gone; who comes again logs in again."""
    door = Door()
    job = asyncio.create_task(door.tokens.run())
    await settle()
    await door.tokens.sign_in(user(1))
    await door.tokens.sign_in(user(2))
    await door.clock.advance(IDLE - 1)
    door.tokens.of(user(2))
    await door.clock.advance(SWEEP)
    assert len(door.tokens) == 1
    await door.tokens.of(user(2)).get()
    await door.tokens.of(user(1)).get()
    assert (door.calls(1), door.calls(2)) == (["login", "login"], ["login"])
    job.cancel()


async def test_no_more_users_are_kept_than_the_bound() -> None:
    """The user whose token was unused for the longest time makes room."""
    door = Door(most=2)
    for number in (1, 2):
        await door.tokens.of(user(number)).get()
    door.tokens.of(user(1))
    await door.tokens.of(user(3)).get()
    assert len(door.tokens) == 2
    await door.tokens.of(user(1)).get()
    assert door.calls(1) == ["login"]
    await door.tokens.of(user(2)).get()
    assert door.calls(2) == ["login", "login"]


async def test_a_user_who_signs_out_has_no_token_here_any_more() -> None:
    """The next call logs in anew; the token itself is let go, and dropping nobody is no mistake."""
    door = Door()
    await door.tokens.sign_in(user(1))
    keeper = weakref.ref(door.tokens.of(user(1)))
    door.tokens.drop(user(1).discord_id)
    door.tokens.drop(user(1).discord_id)
    gc.collect()
    assert keeper() is None
    assert len(door.tokens) == 0


async def test_a_drop_does_not_fail_those_who_wait() -> None:
    """A call that waits for its user's login gets the token although the user is dropped meanwhile."""
    door = Door(most=1)
    door.endpoint(user(1)).gate.clear()
    waiting = asyncio.create_task(door.tokens.of(user(1)).get())
    await settle()
    door.tokens.of(user(2))
    gc.collect()
    door.endpoint(user(1)).gate.set()
    assert (await waiting).value


async def test_closing_ends_every_login_under_way() -> None:
    """At the end all who wait are told, those of dropped users too, and nothing is kept or begun."""
    door = Door(most=1)
    for number in (1, 2):
        door.endpoint(user(number)).gate.clear()
    waiting = [asyncio.create_task(door.tokens.of(user(number)).get()) for number in (1, 2)]
    await settle()
    await door.tokens.aclose()
    for failure in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(failure, TokenError)
    door.tokens.of(user(3))
    assert len(door.tokens) == 0
