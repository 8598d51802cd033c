"""Who a caller is by what they show: sure, or unknown."""

from collections.abc import Iterator

import pytest

from proxy.call import Subject
from proxy.credentials import COOKIE, bearer_key, cookie_key
from proxy.memory_sessions import MemorySessions
from proxy.recognition import Recognition
from proxy.sessions import Session
from tests.clocks import FakeClock

SERVICE = Subject("service", "activity-proxy", "Activity Proxy")
ALICE = Subject("user", "1", "Alice", ("Viewer",))
BOB = Subject("user", "2", "Bob", ("Viewer",))
TTL = 100.0


@pytest.fixture
def clock() -> FakeClock:
    """A clock."""
    return FakeClock()


@pytest.fixture
async def recognise(clock: FakeClock) -> Recognition:
    """A recognition that knows Alice and Bob, by `ca`, `ta` and `cb`, `tb`."""
    sessions = MemorySessions(clock)
    for name, user in (("a", ALICE), ("b", BOB)):
        session = Session(user.discord_id, user.username, clock.time() + TTL)
        await sessions.put(cookie_key(f"c{name}"), session, 1000)
        await sessions.put(bearer_key(f"t{name}"), session, 1000)
    return Recognition(sessions, SERVICE, ("Viewer",), clock)


def shows(cookie: str | None, token: str | None) -> Iterator[tuple[bytes, bytes]]:
    """Give the header fields that show these."""
    if cookie is not None:
        yield b"Cookie", f"{COOKIE}={cookie}".encode()
    if token is not None:
        yield b"Authorization", f"Bearer {token}".encode()


@pytest.mark.parametrize(
    ("cookie", "token", "who"),
    [
        (None, None, SERVICE),
        ("ca", None, ALICE),
        (None, "tb", BOB),
        ("ca", "ta", ALICE),
        ("gone", "ta", ALICE),
        ("ca", "gone", SERVICE),
        ("ca", "tb", SERVICE),
        ("gone", None, SERVICE),
        (None, "gone", SERVICE),
        ("ta", None, SERVICE),
        (None, "ca", SERVICE),
        ("ca", "", SERVICE),
    ],
)
async def test_who_a_caller_is(
    recognise: Recognition, cookie: str | None, token: str | None, who: Subject
) -> None:
    """By cookie or by token; nobody by an unknown token, by two people's, or by one in the other's place."""
    assert await recognise(shows(cookie, token)) == who


async def test_a_session_ends_at_its_time(recognise: Recognition, clock: FakeClock) -> None:
    """Although the store still has it, it is over by its own word."""
    clock.shift(TTL - 1)
    assert await recognise(shows("ca", None)) == ALICE
    clock.shift(1)
    assert await recognise(shows("ca", None)) == SERVICE
