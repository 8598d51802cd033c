"""Plain requests for a rewritten route, asked for within the call that brings them.

The answer is sent by whatever brings it: the task that goes down the ladder is the only one, and aiohttp's,
with its request and response objects, is not woken. Whatever turns out otherwise, the listener takes over,
with the call that was begun, as with `proxy.relay`.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import NamedTuple

from aiohttp import hdrs
from aiohttp.http import RawRequestMessage
from multidict import CIMultiDict, CIMultiDictProxy

from proxy.ahead import LARGEST, is_plain, shows_who
from proxy.call import Answer, Call, ClientRequest, Failure, Source, Subject
from proxy.clock import Clock
from proxy.connection import ClientConnection
from proxy.errors import error_body
from proxy.events import Observe, RequestEnded, RequestStarted
from proxy.frozen import frozen
from proxy.headers import Hop
from proxy.inputs import InvalidInput, query_values, read_inputs
from proxy.refusal import CLIENT_LEFT
from proxy.reply import BODILESS, head
from proxy.request_id import RequestIds
from proxy.route import Route
from proxy.target import Target

_STARTED = RequestStarted("public")


def source_of(answer: Answer) -> str:
    """Return what the access line calls the source of an answer."""
    return answer.source or ("none" if answer.status < 400 else "error")


def body_of(answer: Answer, request_id: str) -> bytes:
    """Return the body of an answer to that request."""
    problem = answer.problem
    if problem is None:
        return answer.body
    return error_body(problem.error, problem.message, problem.code, request_id)


@frozen
class Asking:
    """Begins the calls of routes that are anybody's: those whose answers may be kept.

    All it is given is what the listener is given, but for `client`, the address for a peer and its request's
    fields, and `admit`, which has words for the address of a client that asks too often.
    """

    route: Callable[[str], Route]
    answer: Source
    subject: Subject
    total: float
    fields: Callable[[Answer, str], CIMultiDict[str]]
    learn: Callable[[str, Call, Answer], None]
    loop: asyncio.AbstractEventLoop
    client: Callable[[str | None, CIMultiDictProxy[str]], str]
    request_ids: RequestIds
    clock: Clock
    observe: Observe
    admit: Callable[[str], Mapping[str, str] | None] | None = None

    def __call__(
        self,
        request: RawRequestMessage,
        connection: ClientConnection,
        target: Target,
        name: str,
        parameters: Mapping[str, str],
    ) -> "Asked | None":
        """Begin a request for the route of that name, or leave it alone and return None. Never waits."""
        route = self.route(name)
        if route.max_age is None or route.as_ != "service" or not is_plain(request):
            return None
        try:
            values = read_inputs(route.inputs, parameters, query_values(target.query), {})
        except InvalidInput:
            return None
        headers, peer = request.headers, connection.peer
        client = self.client(peer, headers)
        if self.admit is not None and (shows_who(request) or self.admit(client) is not None):
            return None
        start = self.clock.monotonic()
        request_id = self.request_ids.of(headers.get("X-Request-Id"))
        self.observe(_STARTED)
        hop = Hop(peer, connection.scheme, headers.get(hdrs.HOST), "1.1")
        asked = ClientRequest(hdrs.METH_GET, target.sent, hop, request.raw_headers, b"")
        call = Call(route, values, self.subject, asked, request_id, start + self.total)
        task = self.loop.create_task(self._go(request.path, call))
        begun = Asked(self, connection, request, call, task, client, start)
        task.add_done_callback(begun.answered)
        return begun

    async def _go(self, raw_path: str, call: Call) -> "_Brought":
        """Return the answer, ready to be sent: what goes wrong with that is the call's failure too."""
        answer = await self.answer(call)
        self.learn(raw_path, call, answer)
        body = body_of(answer, call.request_id)
        start = head(answer.status, self.fields(answer, call.request_id).items(), len(body))
        return _Brought(answer, len(body), start if answer.status in BODILESS else start + body)


class _Brought(NamedTuple):
    """An answer, how long its body is, and what to send."""

    answer: Answer
    size: int
    sent: bytes


class Asked:
    """A call that was begun at `start` by the clock."""

    __slots__ = (
        "_asking",
        "_client",
        "_connection",
        "_task",
        "call",
        "message",
        "request_id",
        "start",
    )

    def __init__(
        self,
        asking: Asking,
        connection: ClientConnection,
        message: RawRequestMessage,
        call: Call,
        task: asyncio.Task[_Brought],
        client: str,
        start: float,
    ) -> None:
        self.message = message
        self.call = call
        self._task = task
        self.request_id = call.request_id
        self.start = start
        self._asking = asking
        self._connection = connection
        self._client = client

    async def answer(self) -> Answer:
        """Return the answer, which was learned, to the listener, which has taken the request over."""
        return (await self._task).answer

    def answered(self, task: asyncio.Task[_Brought]) -> None:
        """Send the answer, if there is one and the client takes it; else let the listener do so."""
        connection = self._connection
        if not task.cancelled() and task.exception() is None and connection.takes():
            answer, size, sent = task.result()
            if size <= LARGEST:
                connection.finish(sent)
                self._ended(answer.status, source_of(answer), size, answer.failures)
                return
        connection.hand_over()

    def leave(self) -> None:
        """Give up, as the client has left before an answer."""
        self._task.cancel()
        self._ended(CLIENT_LEFT, "error", 0)

    def _ended(self, status: int, source: str, sent: int, failures: tuple[Failure, ...] = ()) -> None:
        asking = self._asking
        asking.observe(
            RequestEnded(
                "public",
                self.call.route.name,
                hdrs.METH_GET,
                status,
                source,
                asking.clock.monotonic() - self.start,
                self.request_id,
                self.message.path,
                self._client,
                sent,
                failures,
            )
        )
