"""Canned answers that stand in for a gateway behind an open breaker, given again at once.

In an outage every viewer asks for what nobody can fetch, and the way down the ladder ends at the same
canned answer each time. What the listener answered so is given again, for some seconds, as long as all that
led there still holds: nothing is kept, nothing is under way, and the breaker keeps this call back too. The
breaker is really asked, so what it tells of is told for each request.
"""

from collections.abc import Callable, Sequence
from dataclasses import field
from functools import partial

from aiohttp import hdrs
from aiohttp.http import RawRequestMessage

from proxy.ahead import Give, Send, is_path, is_plain
from proxy.call import Answer, Call, Failure, FailureKind
from proxy.frozen import frozen
from proxy.giving import Giving, PlainRequest
from proxy.reply import MARK, date, pieces
from proxy.route import Route

LASTS = 5.0
"""Seconds for which a canned answer is given again: so late may the times in it be."""
TARGETS = 2048
"""Targets that are remembered at most, only those of the last seconds."""
LARGEST = 4096
"""Bytes that a remembered answer may have: a video's, not a list's."""


@frozen
class _Standing:
    """An answer, its head cut where id and date go, and until when it may be given again."""

    route: Route
    key: str
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
    give: Giving
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
        now = self.give.clock.monotonic()
        self._known.pop(target, None)
        while self._known:
            oldest = next(iter(self._known))
            if len(self._known) < TARGETS and now < self._known[oldest].until:
                break
            del self._known[oldest]
        self._known[target] = _Standing(
            call.route,
            self.key(call),
            pieces(self.give.fields(answer, MARK).items(), len(answer.body)),
            bytes(memoryview(answer.body)),  # what orjson wrote holds on to eight times its length
            now + LASTS,
        )

    def forget(self) -> None:
        """Forget all answers: a breaker has changed, and they tell of how it was."""
        self._known.clear()

    def __call__(self, request: RawRequestMessage, peer: str | None) -> Give | None:
        """Return what gives the canned answer to a request without a body, if there may be one."""
        if request.path not in self._known or not is_plain(request):
            return None
        return partial(self._give, self.give.read(request, peer))

    def _give(self, asked: PlainRequest, send: Send) -> bool:
        known = self._known.get(asked.target)
        if known is None:
            return False
        give = self.give
        start = give.clock.monotonic()
        route = known.route
        if start >= known.until or route is not self.route(route.name) or not self.quiet(known.key):
            return False
        # Who is admitted here must not come to the listener any more, which would ask for another token.
        if (give.admit is not None and self.lets_through(route)) or not give.admits(asked):
            return False
        failure = self.kept_back(route)  # last, because it counts
        if failure is None:
            return False
        before, after_id, end = known.head
        after = after_id + date(give.clock.time()) + end
        give(send, asked, start, route, "canned", before, after, known.body, (failure,))
        return True
