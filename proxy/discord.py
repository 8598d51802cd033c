"""Asks Discord whom an access token was given to: `GET /users/@me` (Discord's API, Users resource)."""

import asyncio
import re
from dataclasses import field
from typing import Final

import orjson
from aiohttp import ClientError, ClientResponse, ClientSession, hdrs
from yarl import URL

from proxy.api_error import ApiErrorCode, NotSignedIn
from proxy.call import Subject
from proxy.frozen import frozen
from proxy.grant import header_safe

MAX_ANSWER: Final = 64 * 1024
# Discord's own bound is 32 characters.
LONGEST_NAME: Final = 128
# A snowflake: an unsigned number of 64 bits.
_SNOWFLAKE: Final = re.compile(r"[0-9]{1,20}")


@frozen
class Discord:
    """Asks Discord's API below `url`. `timeout` is for a whole exchange, in seconds."""

    url: str
    session: ClientSession = field(repr=False)
    timeout: float

    async def __call__(self, access_token: str, within: float) -> Subject:
        """Return whose token it is, `within` that many seconds. Raises `NotSignedIn`."""
        if not header_safe(access_token):
            raise NotSignedIn("discord_refused")
        try:
            async with (
                asyncio.timeout(min(self.timeout, within)),
                self.session.get(
                    URL(f"{self.url}/users/@me", encoded=True),
                    headers={
                        hdrs.AUTHORIZATION: f"Bearer {access_token}",
                        hdrs.ACCEPT: "application/json",
                        hdrs.ACCEPT_ENCODING: "identity",
                    },
                    allow_redirects=False,
                    # What was compressed although that was not asked for might be anything when unpacked.
                    auto_decompress=False,
                ) as response,
            ):
                status, body = response.status, await _read(response)
        # First, because a timeout of aiohttp's own is a ClientError as well.
        except TimeoutError:
            code: ApiErrorCode = "discord_timeout"
        except (ClientError, OSError):
            code = "discord_unreachable"
        else:
            return _judged(status, body)
        # Raised out here, so that it does not drag along an error that quotes the exchange.
        raise NotSignedIn(code)


async def _read(response: ClientResponse) -> bytes | None:
    body = bytearray()
    async for chunk in response.content.iter_chunked(MAX_ANSWER):
        body += chunk
        if len(body) > MAX_ANSWER:
            return None
    return bytes(body)


def _judged(status: int, body: bytes | None) -> Subject:
    if status in {401, 403}:
        raise NotSignedIn("discord_refused")
    if status == 429:
        raise NotSignedIn("discord_busy")
    if status != 200:
        raise NotSignedIn("discord_error")
    found = None if body is None else _parsed(body)
    if isinstance(found, dict):
        discord_id, name = found.get("id"), found.get("global_name") or found.get("username")
        if (
            isinstance(discord_id, str)
            and _SNOWFLAKE.fullmatch(discord_id)
            and name
            and isinstance(name, str)
        ):
            return Subject("user", discord_id, name[:LONGEST_NAME])
    raise NotSignedIn("discord_unusable_answer")


def _parsed(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
