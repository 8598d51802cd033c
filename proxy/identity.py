"""Whom a call is for: the verified viewer, whatever the request's own body says.

One place before cache and ladder, so that no source can be told another's id.
"""

from dataclasses import dataclass, replace
from typing import Final

from proxy.call import Answer, Call, Problem, Source, Subject, Value
from proxy.route import Route

CLAIM: Final = "userId"
"""The input by which a client says who they are."""
ANONYMOUS: Final = "anonymous"

LOGIN_REQUIRED: Final = Answer(
    401,
    b"",
    None,
    headers=(("WWW-Authenticate", "Bearer"),),
    problem=Problem("Login required", "Please sign in with Discord to watch this.", "login_required"),
)


@dataclass(frozen=True, slots=True)
class Identity:
    """Sees to it that a call is for whom it says.

    `required` turns unknown callers of routes `as: user` away. `believed` takes the `userId` of an unknown
    caller as a label, for development.
    """

    answer: Source
    required: bool
    believed: bool

    async def __call__(self, call: Call) -> Answer:
        """Return the answer for the verified viewer, or the refusal of an unknown one."""
        if refuses(call.route, call.subject, required=self.required):
            return LOGIN_REQUIRED
        if CLAIM not in call.values:
            return await self.answer(call)
        said = claimed(call.values[CLAIM], call.subject, believed=self.believed)
        return await self.answer(replace(call, values={**call.values, CLAIM: said}))


def refuses(route: Route, subject: Subject, *, required: bool) -> bool:
    """Tell whether the caller has to sign in first."""
    return required and route.as_ == "user" and subject.kind != "user"


def claimed(said: Value, subject: Subject, *, believed: bool) -> Value:
    """Return the user id that counts, where a client says that it is `said`."""
    if subject.kind == "user":
        return subject.discord_id
    return said if believed else ANONYMOUS
