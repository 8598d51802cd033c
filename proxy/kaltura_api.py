"""One exchange with Kaltura's API v3, behind its circuit breaker, judged as strictly as the gateway's.

Kaltura reports errors with status 200. Its messages quote what was sent, a KS for instance, so none of them
goes anywhere; of its codes those that are known do.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import orjson
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse, ClientSession, hdrs

from proxy.attempts import AttemptFailed
from proxy.call import Failure, FailureKind, SourceFailed
from proxy.clock import Clock
from proxy.events import KalturaAsked, Observe
from proxy.frozen import frozen
from proxy.kaltura_calls import Question
from proxy.protocols import Breaker, Permit
from proxy.verdict import retry_after_seconds
from proxy.wire import exchanged

Read = TypeVar("Read")

NOT_FOUND = "ENTRY_ID_NOT_FOUND"
VOID_KS = frozenset({"INVALID_KS", "EXPIRED_KS", "MISSING_KS"})
DENIED = frozenset({"SERVICE_FORBIDDEN", "SERVICE_FORBIDDEN_CONTENT_BLOCKED", "START_SESSION_ERROR"})
# Kaltura's own trouble, spelt as Kaltura spells it; anything else is about what was asked.
_ILL = frozenset({"INTERNAL_SERVERL_ERROR", "INTERNAL_SERVER_ERROR", "INTERNAL_DATABASE_ERROR"})
_KNOWN = frozenset({NOT_FOUND, *VOID_KS, *DENIED, *_ILL})
# A pause that a 429 asks for opens the breaker from here on (seconds).
LONG_PAUSE = 1.0
# An exchange that the deadline leaves less than this share of its time says nothing of Kaltura.
FAIR_SHARE = 0.5
_HEADERS = {
    hdrs.CONTENT_TYPE: "application/x-www-form-urlencoded",
    hdrs.ACCEPT: "application/json",
    hdrs.ACCEPT_ENCODING: "identity",
}


class Complained(Exception):
    """Kaltura answered with an exception of its own; `code` is one that is known, or empty."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code

    @property
    def ill(self) -> bool:
        """Whether the trouble is Kaltura's own."""
        return self.code in _ILL

    @property
    def failure(self) -> Failure:
        """What a ladder is told."""
        kind = FailureKind.UNAUTHORIZED if self.code in DENIED | VOID_KS else FailureKind.STATUS
        return Failure(
            "kaltura", kind, f"Kaltura refused the call: {self.code or 'a code unknown here'}", 200
        )


class Unusable(SourceFailed):
    """Kaltura answered 200 with what is no answer; `field` says where, `body` is all of it."""

    def __init__(self, field: str, detail: str, status: int | None = 200) -> None:
        super().__init__(Failure("kaltura", FailureKind.CONTRACT, detail, status))
        self.field = field


@frozen
class KalturaApi:
    """Asks Kaltura at `base`, the endpoint's URL without a trailing slash.

    `timeout` is for one exchange, in seconds. Nothing is repeated; each exchange is told.
    """

    base: str
    session: ClientSession
    breaker: Breaker
    timeout: float
    clock: Clock
    observe: Observe

    async def ask(self, question: Question, read: Callable[[object], Read], deadline: float) -> Read:
        """Return what `read` makes of the answer's JSON; it raises `Unusable` where that is no answer.

        `deadline` is a reading of `Clock.monotonic()`.

        Raises:
            Complained: Kaltura answered with an exception.
            SourceFailed: There is no answer, or none that can be used.
        """
        start = self.clock.monotonic()
        allowed = min(self.timeout, deadline - start)
        if allowed <= 0:
            raise SourceFailed(_failure(FailureKind.TIMEOUT, "no time was left to ask Kaltura"))
        permit, outcome = self.permit(), "cancelled"
        try:
            response, body = await self._exchange(question, allowed)
            result = read(self._content(response, body))
        except AttemptFailed as error:
            outcome = error.failure.kind
            fair = allowed >= FAIR_SHARE * self.timeout
            if error.failure.kind is not FailureKind.TIMEOUT or fair:
                permit.failure(self.clock.monotonic() - start)
            if error.failure.kind is FailureKind.CONTRACT:
                raise Unusable("body", error.failure.detail, None) from None
            raise SourceFailed(error.failure) from None
        except (Complained, SourceFailed) as error:
            outcome = "missing" if _is_missing(error) else error.failure.kind
            _tell(permit, error, self.clock.monotonic() - start)
            raise
        else:
            outcome = "ok"
            permit.success(self.clock.monotonic() - start)
            return result
        finally:
            permit.cancel()
            self.observe(KalturaAsked(outcome))

    def permit(self) -> Permit:
        """Give leave for one exchange. Raises `SourceFailed` when the breaker is open."""
        try:
            return self.breaker.acquire()
        except SourceFailed as error:
            raise SourceFailed(replace(error.failure, source="kaltura")) from None

    async def _exchange(self, question: Question, allowed: float) -> tuple[ClientResponse, bytes]:
        read = b""

        async def attempt(request: ClientRequest, send: ClientHandlerType) -> ClientResponse:
            nonlocal read
            response, read = await exchanged(request, send, allowed)
            return response

        response = await self.session.post(
            self.base + question.path,
            data=question.body(),
            headers=_HEADERS,
            allow_redirects=False,
            auto_decompress=False,
            middlewares=(attempt,),
        )
        return response, read

    def _content(self, response: ClientResponse, body: bytes) -> object:
        if response.status != 200:
            pause = retry_after_seconds(response.headers.get(hdrs.RETRY_AFTER), self.clock.time())
            detail = f"Kaltura answered {response.status}"
            raise SourceFailed(_failure(FailureKind.STATUS, detail, response.status, pause))
        try:
            content: object = orjson.loads(body)
        except orjson.JSONDecodeError:
            content = None
        if content is None:  # out here, so that it does not drag along an error that quotes the answer
            raise Unusable("body", "Kaltura's answer is not JSON")
        if isinstance(content, dict) and content.get("objectType") == "KalturaAPIException":
            code = content.get("code")
            raise Complained(code if isinstance(code, str) and code in _KNOWN else "")
        return content


def _tell(permit: Permit, error: Complained | SourceFailed, seconds: float) -> None:
    """Tell the breaker what an answer says of Kaltura: what is about the question is none of its failures."""
    if isinstance(error, Complained):
        bad, pause = error.ill, 0.0
    else:
        failure = error.failure
        bad = failure.kind is FailureKind.CONTRACT or (failure.status or 0) >= 500
        pause = (failure.retry_after or 0.0) if failure.status == 429 else 0.0
    if bad:
        permit.failure(seconds)
    elif pause >= LONG_PAUSE:
        permit.hold_open(pause)
    else:
        permit.success(seconds)


def _is_missing(error: Complained | SourceFailed) -> bool:
    return isinstance(error, Complained) and error.code == NOT_FOUND


def _failure(
    kind: FailureKind, detail: str, status: int | None = None, retry_after: float | None = None
) -> Failure:
    return Failure("kaltura", kind, detail, status, retry_after)
