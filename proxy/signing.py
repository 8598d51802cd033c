"""Signs viewers in and out.

A route with `sign: in` gets the Activity server's answer, Discord's tokens; on its way back Discord is asked
whose they are, and that user logged in at the gateway. Whatever fails there costs the client nothing of the
answer itself.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import field, replace
from typing import Final

import orjson

from proxy.api_error import ApiErrorCode, NotSignedIn, api_error
from proxy.call import Answer, Call, FailureKind, Problem, Source, Subject
from proxy.clock import Clock
from proxy.credentials import bearer_key, clear_cookie, cookie_key, presented, set_cookie
from proxy.events import Observe, SignInFailed
from proxy.frozen import frozen
from proxy.grant import Granted, TokenError, TokenRefused
from proxy.sessions import Session, SessionStore
from proxy.template import iso_time

_BY_KIND: Final[Mapping[FailureKind, ApiErrorCode]] = {
    FailureKind.UNREACHABLE: "gateway_unreachable",
    FailureKind.TIMEOUT: "gateway_timeout",
    FailureKind.OFF: "gateway_off",
    FailureKind.CONTRACT: "gateway_unusable_answer",
    FailureKind.NO_SUCH_ROUTE: "gateway_no_such_route",
    FailureKind.BREAKER_OPEN: "gateway_breaker_open",
}
# They tell of the bytes that were changed (RFC 9110 section 8.8.3, RFC 9530).
_OF_THE_BYTES: Final = frozenset({"etag", "content-md5", "digest", "content-digest", "repr-digest"})
_ADDED: Final = frozenset({"api_token", "api_token_expires_at", "api_error"})
_KEPT_STILL: Final = Answer(
    503,
    b"",
    None,
    headers=(("Retry-After", "5"),),
    problem=Problem(
        "Service unavailable", "You could not be signed out. Please try again.", "sessions_unavailable"
    ),
)


@frozen
class _Outcome:
    """What became of a sign-in: a token or why there is none, and the cookie if there is a session."""

    granted: Granted | ApiErrorCode
    cookie: str | None = field(default=None, repr=False)


@frozen
class Signing:
    """Answers routes with `sign`, and hands all others on to `answer`.

    `who` asks Discord for a token's user, within some seconds. `login` gets that user's token from the
    gateway, `logout` drops what is kept of it by the user's id. `roles` are every user's. `ttl` is how long
    a viewer stays signed in, and `least` the time that signing in has whatever the call's deadline says, in
    seconds. `make_secret` makes cookies that nobody guesses.
    """

    answer: Source
    who: Callable[[str, float], Awaitable[Subject]]
    login: Callable[[Subject], Awaitable[Granted]]
    logout: Callable[[str], None]
    sessions: SessionStore
    roles: tuple[str, ...]
    ttl: float
    least: float
    clock: Clock
    observe: Observe
    make_secret: Callable[[], str] = field(repr=False)

    def __call__(self, call: Call) -> Awaitable[Answer]:
        """Return the answer, and keep or forget who is signed in."""
        match call.route.sign:
            case "in":
                return self._sign_in(call)
            case "out":
                return self._sign_out(call)
        return self.answer(call)

    async def _sign_in(self, call: Call) -> Answer:
        answer = await self.answer(call)
        found = _object(answer.body) if answer.source == "activity" and answer.status == 200 else {}
        access_token = found.get("access_token")
        if not access_token or not isinstance(access_token, str):
            return answer  # nothing that Discord could be asked about
        outcome = await self._signed_in(call, access_token)
        headers = [(name, value) for name, value in answer.headers if name.lower() not in _OF_THE_BYTES]
        if outcome.cookie is not None:
            headers.append(("Set-Cookie", set_cookie(outcome.cookie, self.ttl)))
        # An Activity server that gives these itself knows better.
        body = answer.body if _ADDED & found.keys() else with_members(answer.body, self._told(outcome))
        return replace(answer, body=body, headers=tuple(headers))

    async def _signed_in(self, call: Call, access_token: str) -> _Outcome:
        deadline = max(call.deadline, self.clock.monotonic() + self.least)
        try:
            user = await self.who(access_token, deadline - self.clock.monotonic())
        except NotSignedIn as error:
            return _Outcome(error.code)
        user = replace(user, roles=self.roles)
        granted = await self._granted(user, deadline)
        # Known is the viewer all the same: their calls log them in as soon as the gateway can.
        cookie = await self._kept(call, user, granted)
        return _Outcome("sessions_unavailable") if cookie is None else _Outcome(granted, cookie)

    async def _granted(self, user: Subject, deadline: float) -> Granted | ApiErrorCode:
        try:
            async with asyncio.timeout(deadline - self.clock.monotonic()):
                return await self.login(user)
        except TimeoutError:
            return "gateway_timeout"
        except TokenRefused:
            return "gateway_refused"
        except TokenError as error:
            return _BY_KIND.get(error.kind, "gateway_error")

    async def _kept(self, call: Call, user: Subject, granted: Granted | ApiErrorCode) -> str | None:
        """Begin a session in place of the one that the client had; return its cookie, None if not kept."""
        await self._forgotten(call)
        cookie = self.make_secret()
        own, twin = cookie_key(cookie), bearer_key(granted.token) if isinstance(granted, Granted) else ""
        session = Session(user.discord_id, user.username, self.clock.time() + self.ttl, twin)
        kept = await self.sessions.put(own, session, self.ttl)
        if kept and twin:
            kept = await self.sessions.put(twin, replace(session, twin=own), self.ttl)
        return cookie if kept else None

    def _told(self, outcome: _Outcome) -> dict[str, object]:
        granted = outcome.granted
        if isinstance(granted, Granted):
            ends = None if granted.expires_at is None else iso_time(granted.expires_at)
            return {"api_token": granted.token, "api_token_expires_at": ends}
        self.observe(SignInFailed(granted))
        return {"api_error": api_error(granted)}

    async def _sign_out(self, call: Call) -> Answer:
        sessions = await self._forgotten(call)
        if sessions is None:
            return _KEPT_STILL
        for session in sessions:
            self.logout(session.discord_id)
        headers = (("Set-Cookie", clear_cookie()), ("Cache-Control", "no-store"))
        return Answer(204, b"", None, headers=headers)

    async def _forgotten(self, call: Call) -> list[Session] | None:
        """End the sessions of what the request shows, and return them; None where that may have failed."""
        shown = presented(call.request.fields)
        keys = [key for key in (shown.cookie_key, shown.bearer_key) if key is not None]
        return await self.sessions.end(*keys) if keys else []


def with_members(body: bytes, members: Mapping[str, object]) -> bytes:
    """Return a JSON object that is not empty with more members; what it has stays to the byte."""
    return body.rstrip()[:-1] + b"," + orjson.dumps(members)[1:]


def _object(body: bytes) -> dict[str, object]:
    try:
        content: object = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return content if isinstance(content, dict) else {}
