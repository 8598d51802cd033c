"""A client for the tests of the sandbox: one request, one whole answer, no connection kept."""

import asyncio
import json as standard_json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientSession, TCPConnector


@dataclass(frozen=True)
class Got:
    """An answer that came in whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body's JSON."""
        return standard_json.loads(self.body)


@dataclass(frozen=True)
class Client:
    """Sends requests to one base address with the same headers each."""

    base: str
    headers: Mapping[str, str] = field(default_factory=dict)

    async def __call__(
        self, method: str, path: str, json: object = None, headers: Mapping[str, str] | None = None
    ) -> Got:
        """Return the answer; raises what aiohttp raises."""
        async with (
            ClientSession(connector=TCPConnector(force_close=True)) as session,
            session.request(
                method, self.base + path, json=json, headers={**self.headers, **(headers or {})}
            ) as got,
        ):
            return Got(got.status, got.headers.copy(), await got.read())


async def logged_in(base: str) -> Client:
    """Return a client with a token of that gateway."""
    who = {"discordId": "80351110224678912", "username": "Nelly", "roles": []}
    token = (await Client(base)("POST", "/auth/token", json=who)).json()["token"]
    return Client(base, {"Authorization": f"Bearer {token}"})


async def until(happened: Callable[[], object]) -> None:
    """Give the loop away until that has happened; a second without it is a failure."""
    async with asyncio.timeout(1):
        while not happened():  # noqa: ASYNC110  (real sockets are in between)
            await asyncio.sleep(0)
