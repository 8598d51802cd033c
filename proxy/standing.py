"""Canned answers that stand in for a gateway behind an open breaker, given again at once.

In an outage every viewer asks for what nobody can fetch, and the way down the ladder ends at the same
canned answer each time. What the listener answered so is given again, for some seconds, as long as all that
led there still holds: nothing is kept, nothing is under way, and the breaker keeps this call back too. The
breaker is really asked, so what it tells of is told for each request.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field

from aiohttp import hdrs
from aiohttp.http import RawRequestMessage
from multidict import CIMultiDict, CIMultiDictProxy

from proxy.ahead import Send, is_path, is_plain, shows_who
from proxy.call import Answer, Call, Failure, FailureKind
from proxy.clock import Clock
from proxy.events import CacheLooked, Observe, RequestEnded, RequestStarted, SourceFailedEvent
from proxy.frozen import frozen
from proxy.reply import MARK, date, pieces
from proxy.request_id import RequestIds
from proxy.route import Route

LASTS = 5.0
"""Seconds for which a canned answer is given again: so late may the times in it be."""
TARGETS = 2048
"""Targets that are remembered at most, only those of the last seconds."""
LARGEST = 4096
"""Bytes that a remembered answer may have: a video's, not a list's."""
_STARTED = RequestStarted("public")


@frozen
class _Standing:
    """An answer, its head cut where id and date go, and until when it may be given again."""

    route: Route
    key: str
    looked: CacheLooked
    head: Sequence[bytes]
    body: bytes
    until: float


@frozen
class Standing:
    """Gives canned answers again, and learns them from the listener.

    `quiet` tells whether nothing is kept or under way for a call's `key`; `kept_back` asks the route's
    breaker, and returns why it lets no call through, if so; `lets_through` looks without asking.
    The rest is as in `proxy.ready.Ready`.
    """

    quiet: Callable[[str], bool]
    kept_back: Callable[[Route], Failure | None]
    lets_through: Callable[[Route], bool]
    key: Callable[[Call], str]
    route: Callable[[str], Route]
    fields: Callable[[Answer, str], CIMultiDict[str]]
    client: Callable[[str | None, CIMultiDictProxy[str]], str]
    request_ids: RequestIds
    clock: Clock
    observe: Observe
    admit: Callable[[str], Mapping[str, str] | None] | None = None
    _known: dict[str, _Standing] = field(default_factory=dict)

    def learn(self, target: str, call: Call, answer: Answer) -> None:
        """Remember an answer if it is canned, and nothing but the breaker led to it."""
        kinds = [(failure.source, failure.kind) for failure in answer.failures]
        if (
            answer.source != "canned"
            or kinds != [("gateway", FailureKind.BREAKER_OPEN)]
            or answer.cache != "fwd=miss"  # not another's call that was shared
            or call.route.max_age is None  # what is kept is anybody's, and asked for by GET
            or call.request.method != hdrs.METH_GET
            or call.request.body
            or not is_path(target)
            or len(answer.body) > LARGEST
        ):
            return
        now = self.clock.monotonic()
        self._known.pop(target, None)
        while self._known:
            oldest = next(iter(self._known))
            if len(self._known) < TARGETS and now < self._known[oldest].until:
                break
            del self._known[oldest]
        self._known[target] = _Standing(
            call.route,
            self.key(call),
            CacheLooked(call.route.name, "miss"),
            pieces(self.fields(answer, MARK).items(), len(answer.body)),
            bytes(memoryview(answer.body)),  # what orjson wrote holds on to eight times its length
            now + LASTS,
        )

    def __call__(self, request: RawRequestMessage, peer: str | None, send: Send) -> bool:
        """Answer a request without a body, or leave it alone and return false. Never waits."""
        known = self._known.get(request.path)
        if known is None or not is_plain(request):
            return False
        start = self.clock.monotonic()
        route = known.route
        if start >= known.until or route is not self.route(route.name) or not self.quiet(known.key):
            return False
        client = self.client(peer, request.headers)
        # Who is admitted here must not come to the listener any more, which would ask for another token.
        if self.admit is not None and (
            shows_who(request) or self.lets_through(route) or self.admit(client) is not None
        ):
            return False
        failure = self.kept_back(route)  # last, because it counts
        if failure is None:
            return False
        request_id = self.request_ids.of(request.headers.get("X-Request-Id"))
        self.observe(_STARTED)
        self.observe(SourceFailedEvent(route.name, failure, request_id))
        self.observe(known.looked)
        start_line, after_id, end = known.head
        send((start_line, request_id.encode(), after_id, date(), end, known.body))
        self.observe(
            RequestEnded(
                listener="public",
                route=route.name,
                method=hdrs.METH_GET,
                status=200,
                source="canned",
                seconds=self.clock.monotonic() - start,
                request_id=request_id,
                target=request.path,
                client=client,
                bytes_sent=len(known.body),
                failures=(failure,),
            )
        )
        return True
