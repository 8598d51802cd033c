"""The source `gateway`: one call of the API Gateway, with deadline, retries, token and breaker.

Read `Gateway.__call__` for a call and `_Exchange` for an attempt. An attempt passes the token, then the
breaker, then the client, and its answer is judged before the breaker hears of it: a 200 that is an HTML page
is a failure of the gateway like a 500.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import orjson

from proxy.attempts import AttemptFailed, Attempts, RetrySettings, repeated
from proxy.call import Answer, Call, Failure, FailureKind, Problem, SourceFailed, Subject, missing
from proxy.clock import Clock
from proxy.events import AttemptEnded, ContractViolated, Observe, RetrySuppressed
from proxy.frozen import frozen
from proxy.gateway_client import GatewayRequest, GatewayResponse, Send
from proxy.grant import TokenError
from proxy.inputs import called_with
from proxy.protocols import Breaker, Budget, Permit, Token, Tokens
from proxy.verdict import Failed, Missing, Refused, Usable, Verdict, judge, retry_after_seconds

# A pause that a 429 asks for is waited out by a retry up to here, and by the breaker from here on (seconds).
LONG_PAUSE = 1.0
# An attempt that the deadline leaves less than this share of its time says nothing of the gateway: it counts
# neither way, and as a retry it is not begun.
FAIR_SHARE = 0.5
_OUTCOMES: Mapping[type[Verdict], str] = {Usable: "ok", Missing: "missing", Refused: "refused"}


@frozen
class Gateway:
    """Answers a call from the API Gateway.

    `client` makes one exchange; `attempt_timeout` is in seconds; `scope` gives the values that every mapping
    may use.
    """

    client: Send
    tokens: Callable[[Subject], Tokens]
    breakers: Mapping[str, Breaker]
    retry: RetrySettings
    budget: Budget
    attempt_timeout: float
    scope: Callable[[], Mapping[str, object]]
    clock: Clock
    random: Callable[[], float]
    observe: Observe

    async def __call__(self, call: Call) -> Answer:
        """Return the mapped answer. Raises `SourceFailed`."""
        route = call.route
        if route.call is None:
            raise ValueError(f"route {route.name} has no gateway call")
        attempts = Attempts(
            route.name,
            self.retry,
            repeatable=route.repeatable,
            deadline=call.deadline,
            least=FAIR_SHARE * self.attempt_timeout,
            budget=self.budget,
            clock=self.clock,
            random=self.random,
            observe=self.observe,
        )
        exchange = _Exchange(self, call, attempts)
        values = called_with(route.inputs, call.values)
        body = None
        if route.send is not None:
            body = orjson.dumps(route.send.render({**self.scope(), **values, **subject_values(call.subject)}))
        try:
            request = GatewayRequest(route.call.method, route.call.render(values), call.request_id, body)
        except ValueError as error:
            return _mistake(400, str(error), "invalid_request")
        try:
            await exchange.answered(request)
        except AttemptFailed as error:
            raise SourceFailed(error.failure) from None
        return self._answer(call, exchange.verdict)

    def _answer(self, call: Call, verdict: Verdict | None) -> Answer:
        match verdict:
            case Usable(reply, violations, written):
                for name in violations:
                    self.observe(ContractViolated(call.route.name, name))
                headers = (("Cache-Control", "no-store"),) if call.route.credential else ()
                page = paged(call, reply)
                body = orjson.dumps(page) if written is None or page is not reply else written
                return Answer(200, body, "gateway", headers=headers)
            case Missing():
                return Answer(404, b"", "gateway", problem=missing(call))
            case Refused(status, message):
                return _mistake(status, message, "refused_by_gateway")
            case Failed():
                raise SourceFailed(_failure(verdict))
            case None:
                raise ValueError("the call ended without a verdict")


@dataclass(slots=True)
class _Exchange:
    """What one call keeps between its attempts: the last verdict.

    Whatever is waited for (a token, the wire, a delay) has its own limit, and none goes past the deadline.
    """

    gateway: Gateway
    call: Call
    attempts: Attempts
    verdict: Verdict | None = field(default=None)

    async def answered(self, request: GatewayRequest) -> GatewayResponse:
        """Return the answer that the call makes do with: the first one, or what came of the repeats."""
        attempt = _then(self.with_token, _then(self.attempt, self.gateway.client))
        first: GatewayResponse | AttemptFailed
        try:
            first = await attempt(request)
        except AttemptFailed as error:
            first = error
        if isinstance(first, AttemptFailed) or self.attempts.failed:
            return await repeated(first, lambda: attempt(request), self.attempts)
        return first

    async def with_token(self, request: GatewayRequest, send: Send) -> GatewayResponse:
        """Send the request as its subject; a token that is refused is replaced once."""
        self.attempts.begin()
        tokens = self.gateway.tokens(self.call.subject)
        token = tokens.at_hand() or await self._token(tokens)
        request.authorization = token.authorization
        response = await send(request)
        if response.status != 401:
            return response
        tokens.void(token.generation)
        request.authorization = (tokens.at_hand() or await self._token(tokens)).authorization
        return await send(request)

    async def _token(self, tokens: Tokens) -> Token:
        try:
            async with asyncio.timeout(self._left()):
                return await tokens.get()
        except TimeoutError:
            raise SourceFailed(_late("the gateway gave no token in time")) from None
        except TokenError as error:
            detail = f"no token: {error.detail}"
            failure = Failure("gateway", FailureKind.TOKEN, detail, retry_after=error.retry_after)
            raise SourceFailed(failure) from None

    async def attempt(self, request: GatewayRequest, send: Send) -> GatewayResponse:
        """Make one attempt, judge its answer and tell the breaker."""
        gateway = self.gateway
        request.allowed = allowed = min(gateway.attempt_timeout, self._left())
        permit = self._permit()
        now = gateway.clock.monotonic
        start, outcome, seconds = now(), "cancelled", None
        try:
            response = await send(request)
            verdict = self._judge(response)
            outcome, seconds = _outcome(verdict), now() - start
            _tell(permit, verdict, seconds)
            return response
        except AttemptFailed as error:
            kind = error.failure.kind
            outcome, seconds = kind.value, now() - start
            if kind is not FailureKind.TIMEOUT or allowed >= FAIR_SHARE * gateway.attempt_timeout:
                permit.failure(seconds)
            if kind is FailureKind.CONTRACT:
                gateway.observe(ContractViolated(self.call.route.name, "body"))
            self.attempts.ended(error)
            raise
        finally:
            permit.cancel()
            if seconds is None:
                seconds = now() - start
            gateway.observe(AttemptEnded(self.call.route.name, outcome, seconds))

    def _permit(self) -> Permit:
        route = self.call.route
        try:
            return self.gateway.breakers[route.group].acquire()
        except SourceFailed:
            if self.attempts.made > 1:
                self.gateway.observe(RetrySuppressed(route.name, "breaker_open"))
            raise

    def _left(self) -> float:
        left = self.call.deadline - self.gateway.clock.monotonic()
        if left <= 0:
            raise SourceFailed(_late("the gateway did not answer in time"))
        return left

    def _judge(self, response: GatewayResponse) -> Verdict:
        gateway, pause = self.gateway, None
        if response.retry_after is not None:
            pause = retry_after_seconds(response.retry_after, gateway.clock.time())
        scope = {**gateway.scope(), **self.call.values}
        verdict = judge(self.call.route, response.status, response.body, scope, pause)
        self.verdict = verdict
        self.attempts.ended(None)
        if isinstance(verdict, Failed):
            self.attempts.ended(AttemptFailed(_failure(verdict), sent=True, retryable=verdict.retryable))
            if verdict.field is not None:
                gateway.observe(ContractViolated(self.call.route.name, verdict.field))
        return verdict


def _then(stage: Callable[[GatewayRequest, Send], Awaitable[GatewayResponse]], send: Send) -> Send:
    """Return a stage in front of what it sends by."""
    return lambda request: stage(request, send)


def paged(call: Call, reply: dict[str, object]) -> dict[str, object]:
    """Cut a list to the page that was asked for, where the gateway gave more than a page."""
    if call.route.paging is None:
        return reply
    elements = reply.get(call.route.paging)
    called = called_with(call.route.inputs, call.values)
    page, size = int(called["page"]), int(called["pageSize"])
    if not isinstance(elements, list) or len(elements) <= size:
        return reply
    return {**reply, call.route.paging: elements[(page - 1) * size : page * size]}


def _late(detail: str) -> Failure:
    return Failure("gateway", FailureKind.TIMEOUT, detail)


def _failure(failed: Failed) -> Failure:
    return Failure("gateway", failed.kind, failed.detail, failed.status, failed.retry_after)


def _tell(permit: Permit, verdict: Verdict, seconds: float) -> None:
    """Tell the breaker what an answer says of the gateway: a caller's mistake is none of its failures."""
    if not isinstance(verdict, Failed):
        permit.success(seconds)
    elif verdict.counts:
        permit.failure(seconds)
    elif verdict.status == 429 and (verdict.retry_after or 0.0) >= LONG_PAUSE:
        permit.hold_open(verdict.retry_after or 0.0)
    else:
        permit.success(seconds)


def _outcome(verdict: Verdict) -> str:
    return verdict.kind.value if isinstance(verdict, Failed) else _OUTCOMES[type(verdict)]


def subject_values(subject: Subject) -> dict[str, object]:
    """Return what a call's body may say of the subject."""
    return {
        "subject.discordId": subject.discord_id,
        "subject.username": subject.username,
        "subject.roles": subject.roles,
    }


def _mistake(status: int, message: str, code: str) -> Answer:
    return Answer(status, b"", "gateway", problem=Problem(message, message, code))
