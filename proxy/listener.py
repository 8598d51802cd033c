"""The public listener: a request's way, readable from top to bottom.

Plain requests mostly end before it, within the calls that bring their bytes: `ahead` sees them first, `ready`
and `standing` answer what is at hand, and `beginning` leaves the rest to `relay` (what passes through) or to
`asking` (rewritten routes). All others come here, and what of those turns out otherwise:

target -> match -> pass through | read the body -> validate -> ladder -> reply
"""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import orjson
from aiohttp import hdrs, web
from multidict import CIMultiDict

from proxy.ahead import Begun
from proxy.asking import Asked, body_of, source_of
from proxy.call import Answer, Call, ClientRequest, Failure, FailureKind, Problem, Source, Subject
from proxy.clock import Clock
from proxy.errors import ActivityAway, MalformedBody
from proxy.events import Crashed, Limited, LimitName, Observe, RequestEnded, RequestStarted, SourceFailedEvent
from proxy.frozen import frozen
from proxy.headers import VIA, Field, Hop
from proxy.inputs import InvalidInput, query_values, read_inputs
from proxy.paths import AMBIGUOUS, PathIndex
from proxy.provenance import matches
from proxy.refusal import CLIENT_LEFT
from proxy.relay import Relayed
from proxy.reply import Reply
from proxy.request_id import RequestIds
from proxy.route import Route
from proxy.target import PASS, Target

_NO_BODY = b""
COME_BACK = "5"
"""Seconds after which an Activity server that is away may be there again."""


class Declined(Exception):
    """A request that is answered with an error at once."""

    def __init__(
        self,
        status: int,
        error: str,
        code: str,
        limit: LimitName | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.code = code
        self.limit = limit
        self.headers = headers or {}


@dataclass(slots=True)
class _Account:
    """What the access line says of a request, filled in on its way."""

    request_id: str
    route: str = "none"
    source: str = "error"
    status: int = 500
    sent: int = 0
    failures: tuple[Failure, ...] = ()


@frozen
class Listener:
    """Handles every public request.

    `routes` finds the name of a route, `route` gives the route in force for it. `subject` is the service,
    `recognise` tells by header fields who calls a route that is called as a user. `total` is the time in
    seconds that the gateway has for a call, `max_body` the size in bytes that a rewritten call may send, and
    `body_timeout` the seconds that it may take for that. `fields` are those of an answer for a request id;
    `learn` is shown what each raw target was answered, `begun` gives what was asked for a request before it
    came here. `admit` gives the fields of a 429 for a client that asks too often; without it nobody does.
    """

    routes: PathIndex[str]
    route: Callable[[str], Route]
    answer: Source
    pass_through: Callable[[web.BaseRequest, str], Awaitable[web.StreamResponse]]
    client_address: Callable[[web.BaseRequest], str]
    subject: Subject
    recognise: Callable[[Sequence[Field]], Awaitable[Subject]]
    total: float
    max_body: int
    body_timeout: float
    fields: Callable[[Answer, str], CIMultiDict[str]]
    request_ids: RequestIds
    clock: Clock
    observe: Observe
    admit: Callable[[web.BaseRequest], Awaitable[Mapping[str, str] | None]] | None = None
    learn: Callable[[str, Call, Answer], None] = field(default=lambda _target, _call, _answer: None)
    begun: Callable[[web.BaseRequest], Begun | None] = field(default=lambda _request: None)

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; whatever happens, the client hears of it in the error shape."""
        begun = self.begun(request)
        if begun is None:
            start = self.clock.monotonic()
            account = _Account(self.request_ids.of(request.headers.get("X-Request-Id")))
            self.observe(RequestStarted("public"))
        else:
            start, account = begun.start, _Account(begun.request_id)
        try:
            response = await self._respond(request, account, begun)
            if account.route != PASS:
                # Sent here rather than by the server, so that the time of sending counts.
                await response.prepare(request)
                await response.write_eof()
        except (asyncio.CancelledError, ConnectionError):  # a source's own never come here
            account.status = CLIENT_LEFT
            raise
        except Exception as error:  # the last place that can answer
            self.observe(Crashed(account.request_id, error))
            if request.writer.output_size > 0:
                raise
            response = self._error(account, 500, "Internal server error", "internal_error")
        finally:
            self.observe(
                RequestEnded(
                    listener="public",
                    route=account.route,
                    method=request.method,
                    status=account.status,
                    source=account.source,
                    seconds=self.clock.monotonic() - start,
                    request_id=account.request_id,
                    target=request.raw_path,
                    client=self.client_address(request),
                    bytes_sent=0 if request.method == hdrs.METH_HEAD else account.sent,
                    failures=account.failures,
                )
            )
        return response

    async def _respond(
        self, request: web.BaseRequest, account: _Account, begun: Begun | None
    ) -> web.StreamResponse:
        try:
            if isinstance(begun, Relayed):
                account.route = PASS
                return self._passed(await begun.go_on(request), account)
            if isinstance(begun, Asked):
                account.route = begun.call.route.name
                call = begun.call
            else:
                found = await self._look(request, account)
                if isinstance(found, str):
                    return self._passed(await self.pass_through(request, found), account)
                call = found
        except Declined as refusal:
            return self._refused(account, refusal)
        except ActivityAway as away:
            self._activity_failed(account, f"the Activity server is away ({away.reason})")
            message = "The Activity is not available right now. Please try again later."
            response = self._error(account, 502, "Bad gateway", "activity_unreachable", message)
            response.headers[hdrs.RETRY_AFTER] = COME_BACK
            return response
        except (MalformedBody, web.RequestPayloadError):
            response = self._error(account, 400, "The request body is malformed", "malformed_body")
            response.force_close()  # where the next request begins is not known
            return response
        if isinstance(begun, Asked):
            answer = await begun.answer()
        else:
            answer = await self.answer(call)
            self.learn(request.raw_path, call, answer)
        if answer.etag is not None and matches(answer.etag, request.headers.getall(hdrs.IF_NONE_MATCH, ())):
            answer = replace(answer, status=304, body=b"")
        return self._reply(answer, account)

    async def _admit(self, request: web.BaseRequest) -> None:
        if self.admit is not None and (late := await self.admit(request)) is not None:
            raise Declined(429, "Too many requests", "rate_limited", "rate", late)
        if hdrs.VIA in request.headers and _came_by(request, VIA.decode()):
            raise Declined(508, "The request has come by this proxy before", "loop_detected")

    async def _look(self, request: web.BaseRequest, account: _Account) -> Call | str:
        """Return the call that the request is for, or the target to pass through."""
        await self._admit(request)
        host = request.headers.get(hdrs.HOST, "")
        target = Target.of(self.routes, request.method, request.raw_path, host)
        if target is None:
            raise Declined(400, "The request target is not a path", "invalid_target")
        if target.found is AMBIGUOUS:
            raise Declined(400, "The path can be read in more than one way", "ambiguous_path")
        if target.found is None:
            account.route = PASS
            return target.sent
        account.route, parameters = target.found
        return await self._call(request, account, parameters, target)

    def _passed(self, response: web.StreamResponse, account: _Account) -> web.StreamResponse:
        account.source, account.status = "activity", response.status
        account.sent = response.body_length
        if getattr(response, "truncated", False):
            account.source = "error"
            self._activity_failed(account, "the answer broke off")
        return response

    def _activity_failed(self, account: _Account, detail: str) -> None:
        failure = Failure("activity", FailureKind.UNREACHABLE, detail)
        account.failures = (failure,)
        self.observe(SourceFailedEvent(PASS, failure, account.request_id))

    async def _call(
        self, request: web.BaseRequest, account: _Account, parameters: Mapping[str, str], target: Target
    ) -> Call:
        route = self.route(account.route)
        body = await self._body(request)
        sent = _json_object(request, body, self.max_body) if _reads_body(route) else {}
        try:
            values = read_inputs(route.inputs, parameters, query_values(target.query), sent)
        except InvalidInput as error:
            raise Declined(400, str(error), "invalid_request") from None
        return Call(
            route=route,
            values=values,
            # What is called as the service is anybody's: to find out who asks would be for nothing.
            subject=self.subject if route.as_ == "service" else await self.recognise(request.raw_headers),
            request=ClientRequest(request.method, target.sent, _hop(request), request.raw_headers, body),
            request_id=account.request_id,
            deadline=self.clock.monotonic() + self.total,
        )

    async def _body(self, request: web.BaseRequest) -> bytes:
        if not request.body_exists:
            return _NO_BODY
        too_large = Declined(413, "The request body is too large", "body_too_large", "body")
        if (request.content_length or 0) > self.max_body:
            raise too_large
        body = bytearray()
        try:
            # Most bodies have come with their head, and need no timer.
            async with asyncio.timeout(None if request.content.is_eof() else self.body_timeout):
                async for chunk in request.content.iter_any():
                    body += chunk
                    if len(body) > self.max_body:
                        raise too_large
        except TimeoutError:
            late = "The request body did not come in time"
            raise Declined(408, late, "request_timeout", "body_time") from None
        return bytes(body)

    def _refused(self, account: _Account, refusal: Declined) -> web.StreamResponse:
        if refusal.limit is not None:
            self.observe(Limited(refusal.limit))
        response = self._error(account, refusal.status, refusal.error, refusal.code)
        response.headers.update(refusal.headers)
        if refusal.limit == "body_time":
            response.force_close()  # nobody waits for the rest
        return response

    def _reply(self, answer: Answer, account: _Account) -> web.StreamResponse:
        account.status, account.failures = answer.status, answer.failures
        account.source, body = source_of(answer), body_of(answer, account.request_id)
        account.sent = len(body)
        return Reply(answer.status, self.fields(answer, account.request_id), body)

    def _error(
        self, account: _Account, status: int, error: str, code: str, message: str | None = None
    ) -> web.StreamResponse:
        problem = Problem(error, message or error, code)
        return self._reply(Answer(status, b"", None, failures=account.failures, problem=problem), account)


def _came_by(request: web.BaseRequest, name: str) -> bool:
    """Tell whether `Via` names a proxy (RFC 9110 section 7.6.3): to send the request on would never end."""
    if hdrs.VIA not in request.headers:
        return False
    hops = ",".join(request.headers.getall(hdrs.VIA)).split(",")
    return any(name in hop.lower().split()[1:2] for hop in hops)


def _hop(request: web.BaseRequest) -> Hop:
    version = f"{request.version.major}.{request.version.minor}"
    return Hop(request.remote, request.scheme, request.headers.get(hdrs.HOST), version)


def _reads_body(route: Route) -> bool:
    return any(wanted.where == "body" for wanted in route.inputs.values())


def _json_object(request: web.BaseRequest, body: bytes, limit: int) -> Mapping[str, object]:
    """Read a body as the Activity server does: none, or one of another type, is an empty object."""
    if not body or request.content_type != "application/json":
        return {}
    content: object
    try:
        content = orjson.loads(_decoded(request, body, limit))
    except orjson.JSONDecodeError as error:
        where = f"The body is not JSON: {error.msg} at character {error.pos}"
        raise Declined(400, where, "invalid_json") from None
    if not isinstance(content, dict):
        raise Declined(400, "The body is not a JSON object", "invalid_json")
    return content


def _decoded(request: web.BaseRequest, body: bytes, limit: int) -> bytes:
    coding = request.headers.get(hdrs.CONTENT_ENCODING, "").lower()
    if coding in {"", "identity"}:
        return body
    if coding not in {"gzip", "deflate"}:
        raise Declined(415, "The body's content coding is not known", "unknown_coding")
    inflate = zlib.decompressobj(wbits=47)  # 32 + 15: takes gzip and zlib alike
    try:
        content = inflate.decompress(body, limit + 1)
    except zlib.error:
        raise Declined(400, "The body does not hold what its coding says", "invalid_coding") from None
    if len(content) > limit:
        raise Declined(413, "The request body is too large", "body_too_large", "body")
    return content
