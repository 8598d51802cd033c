"""Asking Discord whose an access token is: what it says, and every way that it fails to."""

import gzip
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.api_error import CODES, ApiErrorCode, NotSignedIn, api_error
from proxy.call import Subject
from proxy.discord import MAX_ANSWER, Discord
from proxy.viewers import discord_session
from tests.gateway_fakes import HTML, Hang, Part, Step, http, nowhere, reset, scripted
from tests.origins import PATIENCE, Origin

TOKEN = "acc3ss-token"
ALICE = {"id": "80351110224678912", "username": "alice", "global_name": "Alice"}


@asynccontextmanager
async def asking(*steps: Step, limit: float = PATIENCE) -> AsyncIterator[tuple[Discord, Origin]]:
    """Put the client in front of a Discord with that script."""
    async with scripted(*steps) as origin, discord_session(PATIENCE) as session:
        yield Discord(f"{origin.url.origin()}/api", session, limit), origin


async def refused(discord: Discord, within: float = PATIENCE) -> str:
    """Ask, and return the code of the failure, which shows nothing."""
    with pytest.raises(NotSignedIn) as caught:
        await discord(TOKEN, within)
    error = caught.value
    assert error.__cause__ is None
    assert error.__context__ is None
    assert str(error) == error.code
    return error.code


async def test_discord_is_asked_with_the_token_and_nothing_else() -> None:
    """One GET that says whose token it is; no cookie, no header of the client's."""
    async with asking(http(200, ALICE, set_cookie="a=b")) as (discord, origin):
        for _ in range(2):
            assert await discord(TOKEN, PATIENCE) == Subject("user", "80351110224678912", "Alice")
    for message in origin.received:
        assert message.start == b"GET /api/users/@me HTTP/1.1"
        assert message.one("Authorization") == b"Bearer acc3ss-token"
        names = {name.lower() for name, _ in message.fields}
        assert names == {b"host", b"authorization", b"accept", b"accept-encoding", b"user-agent"}


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ({"id": "1", "username": "alice", "global_name": None}, "alice"),
        ({"id": "1", "username": "alice", "global_name": ""}, "alice"),
        ({"id": "1", "username": "x" * 200}, "x" * 128),
    ],
)
async def test_the_name_is_the_one_that_discord_shows(said: object, name: str) -> None:
    """The display name, else the user name; never longer than a login takes, always text."""
    async with asking(http(200, said)) as (discord, _):
        assert (await discord(TOKEN, PATIENCE)).username == name


@pytest.mark.parametrize(
    ("step", "code"),
    [
        (http(401, {"message": "401: Unauthorized"}), "discord_refused"),
        (http(403, {}), "discord_refused"),
        (http(429, {}, retry_after="1"), "discord_busy"),
        (http(500, {}), "discord_error"),
        (http(302, b"", location="http://127.0.0.1/"), "discord_error"),
        (http(200, HTML), "discord_unusable_answer"),
        (
            http(200, gzip.compress(json.dumps(ALICE).encode()), content_encoding="gzip"),
            "discord_unusable_answer",
        ),
        (http(200, [ALICE]), "discord_unusable_answer"),
        (http(200, {**ALICE, "id": 80351110224678912}), "discord_unusable_answer"),
        (http(200, {**ALICE, "id": "admin"}), "discord_unusable_answer"),
        (http(200, {**ALICE, "id": "1" * 21}), "discord_unusable_answer"),
        (http(200, {**ALICE, "id": "1\n"}), "discord_unusable_answer"),
        (http(200, {"id": "1"}), "discord_unusable_answer"),
        (http(200, {"id": "1", "username": 5}), "discord_unusable_answer"),
        (http(200, {"id": "1", "username": "a\ud800b"}), "discord_unusable_answer"),
        (http(200, {**ALICE, "bio": "x" * MAX_ANSWER}), "discord_unusable_answer"),
        (Part(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"), "discord_unreachable"),
        (Part(b"no HTTP\r\n\r\n"), "discord_unreachable"),
        (reset, "discord_unreachable"),
    ],
)
async def test_every_failure_has_its_code(step: Step, code: str) -> None:
    """What Discord does instead of saying who it is; nothing is followed and nothing believed."""
    async with asking(step) as (discord, _):
        assert await refused(discord) == code


@pytest.mark.parametrize("limits", [(0.05, PATIENCE), (PATIENCE, 0.05)])
async def test_a_discord_that_hangs_is_given_up(limits: tuple[float, float]) -> None:
    """At its own limit, or when the call's time is over."""
    hang = Hang()
    async with asking(hang, limit=limits[0]) as (discord, _):
        assert await refused(discord, limits[1]) == "discord_timeout"
        await hang.left.wait()


async def test_a_discord_that_is_away_is_told() -> None:
    """No connection is a failure like the others."""
    with nowhere() as base:
        async with discord_session(PATIENCE) as session:
            assert await refused(Discord(base, session, PATIENCE)) == "discord_unreachable"


async def test_a_token_that_no_header_can_carry_is_not_sent() -> None:
    """It would break out of its line."""
    async with asking(http(200, ALICE)) as (discord, origin):
        with pytest.raises(NotSignedIn):
            await discord("a\r\nX: y", PATIENCE)
    assert origin.received == []


@pytest.mark.parametrize("code", CODES)
def test_every_code_has_a_message_for_viewers(code: ApiErrorCode) -> None:
    """It says what they may do."""
    said = api_error(code)
    assert said["code"] == code
    assert said["message"].endswith(".")


def test_the_documentation_lists_the_codes() -> None:
    """All of them and no others, since clients' programs go by them."""
    text = (Path(__file__).parent.parent / "docs" / "identity.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `((?:discord|gateway|sessions)_[a-z_]+)` \|", text, re.MULTILINE)) == set(
        CODES
    )
