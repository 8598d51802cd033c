"""Asks the gateway's token endpoint: `POST /auth/token` and `POST /auth/refresh`.

What it gives is judged strictly, since every later call leans on it. No error holds what was sent or
received.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import orjson
from aiohttp import ClientError, ClientResponse, ClientSession, ClientSSLError, hdrs

from proxy.call import FailureKind, SourceFailed, Subject
from proxy.clock import Clock
from proxy.frozen import frozen
from proxy.grant import Grant, TokenEndpointFailed, TokenError, TokenRefused, header_safe
from proxy.protocols import Breaker, Permit
from proxy.verdict import retry_after_seconds

MAX_ANSWER = 64 * 1024
_HEADERS = {
    hdrs.CONTENT_TYPE: "application/json",
    hdrs.ACCEPT: "application/json",
    hdrs.ACCEPT_ENCODING: "identity",
}
# Statuses below 500 that are not about what was asked, so that asking again later may help.
_LATER = frozenset({408, 425, 429})
# A pause that is asked for opens the breaker from here on (seconds); the keeper waits out shorter ones.
LONG_PAUSE = 1.0


class TokenEndpointBusy(TokenEndpointFailed):
    """The token endpoint works, and asks to be left alone for a while."""


@frozen
class GatewayLogin:
    """Gets tokens for one subject.

    `base` is the gateway's base URL without a trailing slash; `timeout` is for a whole exchange, in
    seconds. Of the session only the connections are used, not its middlewares or redirects.
    """

    base: str
    session: ClientSession
    subject: Subject
    timeout: float
    clock: Clock

    async def login(self) -> Grant:
        """Get a token for the subject.

        Raises:
            TokenRefused: The gateway does not want this subject.
            TokenEndpointFailed: It is away, slow or broken.
        """
        subject = self.subject
        return await self._ask(
            "/auth/token",
            {
                "discordId": subject.discord_id,
                "username": subject.username,
                "roles": list(subject.roles),
            },
        )

    async def refresh(self, token: str) -> Grant:
        """Get a token for one that is still valid.

        Raises:
            TokenRefused: It is not valid any more.
            TokenEndpointFailed: The gateway is away, slow or broken.
        """
        return await self._ask("/auth/refresh", {"token": token})

    async def _ask(self, path: str, question: dict[str, object]) -> Grant:
        try:
            async with (
                asyncio.timeout(self.timeout),
                self.session.post(
                    self.base + path,
                    data=orjson.dumps(question),
                    headers=_HEADERS,
                    allow_redirects=False,
                    auto_decompress=False,
                    # The session's own may want the very token that is being asked for.
                    middlewares=(),
                ) as response,
            ):
                body = await _read(response)
                retry_after = response.headers.get(hdrs.RETRY_AFTER)
        # First, because a timeout of aiohttp's own is a ClientError as well.
        except TimeoutError:
            kind, detail = FailureKind.TIMEOUT, "the token endpoint did not answer in time"
        except ClientSSLError:
            kind, detail = FailureKind.UNREACHABLE, "the token endpoint gives no TLS connection"
        except ClientError:
            kind, detail = FailureKind.UNREACHABLE, "the token endpoint cannot be reached"
        else:
            seconds = retry_after_seconds(retry_after, self.clock.time())
            return _judge(response.status, body, seconds)
        # Raised out here, so that it does not drag along an error that quotes the answer.
        raise TokenEndpointFailed(kind, detail)


class Login(Protocol):
    """Gets tokens for one subject."""

    async def login(self) -> Grant:
        """Get a token. Raises `TokenError`."""
        ...

    async def refresh(self, token: str) -> Grant:
        """Get a token for one that is still valid. Raises `TokenError`."""
        ...


@frozen
class Guarded:
    """A login that passes a circuit breaker, which the logins of all subjects share.

    A refusal is no failure: the endpoint did its part. Beside what the login raises, an open breaker is
    told as `TokenEndpointFailed` with `BREAKER_OPEN`.
    """

    endpoint: Login
    breaker: Breaker
    clock: Clock

    async def login(self) -> Grant:
        """Get a token for the subject. Raises `TokenError`."""
        return await self._guarded(self.endpoint.login)

    async def refresh(self, token: str) -> Grant:
        """Get a token for one that is still valid. Raises `TokenError`."""
        return await self._guarded(lambda: self.endpoint.refresh(token))

    async def _guarded(self, ask: Callable[[], Awaitable[Grant]]) -> Grant:
        try:
            permit = self.breaker.acquire()
        except SourceFailed as error:
            failure = error.failure
            raise TokenEndpointFailed(failure.kind, failure.detail, failure.retry_after) from None
        start = self.clock.monotonic()
        try:
            grant = await ask()
        except TokenError as error:
            _tell(permit, error, self.clock.monotonic() - start)
            raise
        else:
            permit.success(self.clock.monotonic() - start)
            return grant
        finally:
            permit.cancel()


def _tell(permit: Permit, error: TokenError, seconds: float) -> None:
    """Tell the breaker what an error says of the endpoint."""
    pause = error.retry_after or 0.0
    if isinstance(error, TokenEndpointBusy) and pause >= LONG_PAUSE:
        permit.hold_open(pause)
    elif isinstance(error, TokenEndpointFailed) and not isinstance(error, TokenEndpointBusy):
        permit.failure(seconds)
    else:
        permit.success(seconds)


async def _read(response: ClientResponse) -> bytes | None:
    """Read the whole body, but None of one that is too large."""
    body = bytearray()
    async for chunk in response.content.iter_chunked(MAX_ANSWER):
        body += chunk
        if len(body) > MAX_ANSWER:
            return None
    return bytes(body)


def _judge(status: int, body: bytes | None, retry_after: float | None) -> Grant:
    if status == 200:
        return _grant(body)
    raise _refusal(status, retry_after)


def _refusal(status: int, retry_after: float | None) -> TokenError:
    detail = f"the token endpoint answered {status}"
    if status in _LATER:
        return TokenEndpointBusy(FailureKind.STATUS, detail, retry_after)
    if status >= 500:
        return TokenEndpointFailed(FailureKind.STATUS, detail, retry_after)
    if status in {404, 405}:
        return TokenEndpointFailed(FailureKind.NO_SUCH_ROUTE, detail)
    if status == 401:
        return TokenRefused(FailureKind.UNAUTHORIZED, detail)
    if status >= 400:
        return TokenRefused(FailureKind.STATUS, detail)
    return TokenEndpointFailed(FailureKind.CONTRACT, detail)


def _grant(body: bytes | None) -> Grant:
    if body is None:
        raise _unusable("is too large")
    content = _parsed(body)
    if not isinstance(content, dict):
        raise _unusable("is no JSON object")
    token, expires_at = content.get("token"), content.get("expiresAt")
    if not isinstance(token, str) or not header_safe(token):
        raise _unusable("holds no token that a header can carry")
    return Grant(token, expires_at if isinstance(expires_at, str) else None)


def _parsed(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        # Not chained: the error holds the text, and the text may hold a token.
        return None


def _unusable(what: str) -> TokenEndpointFailed:
    return TokenEndpointFailed(FailureKind.CONTRACT, f"the token endpoint's answer {what}")
