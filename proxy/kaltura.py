"""The source `kaltura`: videos, lists and sessions from Kaltura itself, where the operator allows it.

What a route asks is declared by its key `kaltura`. Entries are read with a session of the sidecar's own,
which is kept for some minutes; a viewer's session is started anew each time, for one video, and never kept.
"""

import asyncio
from collections.abc import Mapping

import orjson

from proxy.call import Answer, Call, Failure, FailureKind, Problem, SourceFailed, missing
from proxy.clock import Clock
from proxy.events import ContractViolated, Observe
from proxy.frozen import frozen
from proxy.grant import TokenError
from proxy.inputs import called_with
from proxy.kaltura_api import NOT_FOUND, VOID_KS, Complained, KalturaApi, Unusable
from proxy.kaltura_calls import InvalidValue, Question, named, question
from proxy.kaltura_entry import LIST_FIELDS, VIDEO_FIELDS, Unsound, listed, video_of
from proxy.kaltura_session import KalturaSessions
from proxy.protocols import Token, Tokens
from proxy.route import KalturaCall
from proxy.verdict import Failed, Missing, Usable, Verdict, checked

FIELDS: Mapping[KalturaCall, tuple[str, ...]] = {
    "video": VIDEO_FIELDS,
    "list": LIST_FIELDS,
    "search": LIST_FIELDS,
    "session": ("ks",),
}
"""The closed set of fields that a contract violation can name, beside the route's own and `body`."""


@frozen
class Kaltura:
    """Answers from Kaltura.

    `tokens` keeps the session for reading, `sessions` starts a viewer's. `partner_id` fills what an entry
    does not tell.
    """

    api: KalturaApi
    sessions: KalturaSessions
    tokens: Tokens
    partner_id: str
    clock: Clock
    observe: Observe

    async def __call__(self, call: Call) -> Answer:
        """Return Kaltura's answer. Raises `SourceFailed`."""
        asked = call.route.kaltura
        if asked is None:
            raise ValueError(f"route {call.route.name} asks nothing of Kaltura")
        try:
            called = called_with(call.route.inputs, call.values)
            wanted = question(asked, named(asked, called, call.subject))
            if asked == "session":
                ks = await self.sessions.start(wanted, call.deadline)
                return self._answer(call, self._checked(call, {"ks": ks}))
            return self._answer(call, await self._read(call, wanted))
        except InvalidValue as error:
            return Answer(400, b"", "kaltura", problem=Problem(str(error), str(error), "invalid_request"))
        except Complained as error:
            if error.code == NOT_FOUND and asked == "video":
                return Answer(404, b"", "kaltura", problem=missing(call))
            raise SourceFailed(error.failure) from None
        except Unusable as error:
            self.observe(ContractViolated(call.route.name, error.field, "kaltura"))
            raise

    async def _read(self, call: Call, wanted: Question) -> Verdict:
        """Ask with the session for reading; one that is refused is replaced once."""

        async def ask() -> Verdict:
            having = wanted.having({"ks": token.value})
            return await self.api.ask(having, lambda content: self._judged(call, content), call.deadline)

        token = await self._token(call)
        try:
            return await ask()
        except Complained as error:
            if error.code not in VOID_KS:
                raise
        self.tokens.void(token.generation)
        token = await self._token(call)
        return await ask()

    async def _token(self, call: Call) -> Token:
        try:
            async with asyncio.timeout(max(0.0, call.deadline - self.clock.monotonic())):
                return await self.tokens.get()
        except TimeoutError:
            detail = "Kaltura gave no session in time"
            raise SourceFailed(Failure("kaltura", FailureKind.TIMEOUT, detail)) from None
        except TokenError as error:
            detail = "no session for reading is to be had of Kaltura"
            failure = Failure("kaltura", FailureKind.TOKEN, detail, retry_after=error.retry_after)
            raise SourceFailed(failure) from None

    def _judged(self, call: Call, content: object) -> Verdict:
        """Return what Kaltura's JSON is worth to the route. Raises `Unusable`."""
        try:
            if call.route.kaltura == "video":
                video = video_of(content, self.partner_id)
                if video["id"] != call.values["videoId"]:
                    raise Unsound("id")
                return self._checked(call, video)
            size = int(called_with(call.route.inputs, call.values)["pageSize"])
            page = listed(content, self.partner_id, size)
        except Unsound as error:
            raise Unusable(error.field, f"Kaltura's answer has no sound {error.field}") from None
        for name in page.unsound:
            self.observe(ContractViolated(call.route.name, name, "kaltura"))
        reply: dict[str, object] = {
            "videos": page.videos,
            "page": call.values["page"],
            "pageSize": call.values["pageSize"],
            "totalCount": page.total,
        }
        return self._checked(call, reply)

    def _checked(self, call: Call, reply: dict[str, object]) -> Verdict:
        verdict = checked(call.route, 200, reply, whose="Kaltura's")
        if isinstance(verdict, Failed):
            raise Unusable(verdict.field or "body", verdict.detail)
        return verdict

    def _answer(self, call: Call, verdict: Verdict) -> Answer:
        match verdict:
            case Usable(reply, violations):
                for name in violations:
                    self.observe(ContractViolated(call.route.name, name, "kaltura"))
                headers = (("Cache-Control", "no-store"),) if call.route.credential else ()
                return Answer(200, orjson.dumps(reply), "kaltura", headers=headers)
            case Missing():
                return Answer(404, b"", "kaltura", problem=missing(call))
        raise ValueError("the call ended without a verdict")
