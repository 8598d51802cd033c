"""Whom a call is for: the verified viewer, whatever the request's own body says.

One place before cache and ladder, so that no source can be told another's id.
"""

from collections.abc import Awaitable
from dataclasses import replace
from typing import Final

import orjson

from proxy.call import Answer, Call, ClientRequest, Problem, Source, Subject, Value
from proxy.frozen import frozen
from proxy.route import Route

CLAIM: Final = "userId"
"""The input by which a client says who they are."""
ANONYMOUS: Final = "anonymous"

# They tell of a body that is not sent as it came.
_OF_THE_BODY: Final = frozenset(
    {b"content-type", b"content-encoding", b"content-md5", b"digest", b"content-digest", b"repr-digest"}
)

LOGIN_REQUIRED: Final = Answer(
    401,
    b"",
    None,
    headers=(("WWW-Authenticate", "Bearer"),),
    problem=Problem("Login required", "Please sign in with Discord to watch this.", "login_required"),
)


@frozen
class Identity:
    """Sees to it that a call is for whom it says: in its values, and in the body that may be passed on.

    `required` turns unknown callers of routes `as: user` away. `believed` takes the `userId` of an unknown
    caller as a label, for development.
    """

    answer: Source
    required: bool
    believed: bool

    def __call__(self, call: Call) -> Awaitable[Answer]:
        """Return the answer for the verified viewer, or the refusal of an unknown one."""
        return self._told(call) if CLAIM in call.values or self.required else self.answer(call)

    async def _told(self, call: Call) -> Answer:
        if refuses(call.route, call.subject, required=self.required):
            return LOGIN_REQUIRED
        if CLAIM not in call.values:
            return await self.answer(call)
        counts = claimed(call.values[CLAIM], call.subject, believed=self.believed)
        told = replace(call, values={**call.values, CLAIM: counts})
        if "activity" in call.route.fallback and call.route.inputs[CLAIM].where == "body":
            told = replace(told, request=_restated(told))
        return await self.answer(told)


def refuses(route: Route, subject: Subject, *, required: bool) -> bool:
    """Tell whether the caller has to sign in first."""
    return required and route.as_ == "user" and subject.kind != "user"


def claimed(said: Value, subject: Subject, *, believed: bool) -> Value:
    """Return the user id that counts, where a client says that it is `said`."""
    if subject.kind == "user":
        return subject.discord_id
    return said if believed else ANONYMOUS


def _restated(call: Call) -> ClientRequest:
    """Return the client's request with a body of the call's values: whoever gets it believes what it says."""
    body = {name: call.values[name] for name, wanted in call.route.inputs.items() if wanted.where == "body"}
    kept = [field for field in call.request.fields if field[0].lower() not in _OF_THE_BODY]
    fields = (*kept, (b"Content-Type", b"application/json"))
    return replace(call.request, body=orjson.dumps(body), fields=fields)
