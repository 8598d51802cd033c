"""Viewers who sign in, for tests from end to end."""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from proxy.credentials import COOKIE
from proxy.sandbox_discord import user_of
from tests.running import Reply, Viewer

VIDEO = "1_e0000003"


@dataclass
class SignedIn:
    """Somebody with a code of Discord's, what they were given for it, and how they ask from then on."""

    viewer: Viewer
    code: str
    reply: Reply
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Their Discord id."""
        return user_of(self.code).id

    @property
    def cookie(self) -> str:
        """The value of the session cookie that they were given."""
        return cookie_of(self.reply)

    @property
    def token(self) -> str:
        """The gateway token that they were given."""
        token: str = self.reply.json["api_token"]
        return token

    @property
    def by_cookie(self) -> Mapping[str, str]:
        """Header fields that show the cookie, beside one of somebody else's."""
        return {"Cookie": f"theme=dark; {COOKIE}={self.cookie}"}

    @property
    def by_token(self) -> Mapping[str, str]:
        """Header fields that show the token."""
        return {"Authorization": f"Bearer {self.token}"}

    async def ask(
        self, method: str, target: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Ask, by cookie unless `headers` say otherwise."""
        return await asked(self.viewer, method, target, body, self.by_cookie if headers is None else headers)

    async def play(self, headers: Mapping[str, str] | None = None) -> str | None:
        """Ask for a play URL, and return the Discord id that it is for."""
        reply = await self.ask("POST", f"/api/kaltura/video/{VIDEO}/play", {}, headers)
        return played_by(reply.json["playUrl"]) if reply.status == 200 else None


async def asked(viewer: Viewer, method: str, target: str, body: object, headers: Mapping[str, str]) -> Reply:
    """Make a request with these header fields."""
    async with viewer.session.request(method, viewer.base + target, json=body, headers=headers) as response:
        is_json = response.content_type == "application/json"
        return Reply(response.status, response.headers.copy(), await response.json() if is_json else None)


async def sign_in(viewer: Viewer, code: str, headers: Mapping[str, str] | None = None) -> SignedIn:
    """Exchange a code."""
    reply = await asked(viewer, "POST", "/api/token", {"code": code}, headers or {})
    assert reply.status == 200
    return SignedIn(viewer, code, reply)


def cookie_of(reply: Reply) -> str:
    """Return the session cookie's value in an answer, which must have its manners."""
    first, *manners = reply.headers["Set-Cookie"].split("; ")
    name, _, value = first.partition("=")
    assert name == COOKIE
    assert {"Path=/", "HttpOnly", "Secure", "SameSite=None", "Partitioned"} < set(manners)
    return value


def claims_of(token: str) -> Any:
    """Return what a JWT says."""
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def played_by(secret: str) -> str:
    """Return the Discord id in a play URL or a KS of the sandbox gateway's."""
    found = re.search(r"\|discord_([a-z0-9-]+)\|", secret)
    assert found is not None
    return found[1]
