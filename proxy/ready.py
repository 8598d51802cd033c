"""Kept answers that are ready: given the moment a request comes in, before anything is begun for it.

A cached answer is what this sidecar gives most, and matching, validating and looking it up costs several
times what sending it does. So the listener, which has done all that, shows each target that the cache
answered; while that answer is fresh, the next plain request for the same target gets the same bytes with
an id of its own. Whatever is not plain, known and fresh goes the listener's way, which stays the only
one that says what a request means.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import floor

from aiohttp import hdrs
from aiohttp.http import RawRequestMessage

from proxy.ahead import Give, Send, is_path, is_plain
from proxy.call import Answer, Call
from proxy.frozen import frozen
from proxy.giving import Giving, PlainRequest
from proxy.reply import MARK, date, pieces
from proxy.route import Route
from proxy.store import Entry, Store

TARGETS = 10_000
"""Targets that are remembered at most, and none longer than `LONGEST` characters: about 8 MiB in all."""
LONGEST = 512


@dataclass(slots=True)
class _Known:
    """A target, what it stands for, and the head for a kept answer, cut where ttl, id and date go.

    `etag` tells which answer, as it is made of its body, and `stored_at` of when. The answer itself is the
    store's to keep or drop, since the store bounds what answers take. `before` and `after` are what goes
    around the id, right from `since` until `until` (epoch seconds), when the ttl or the date is another.
    """

    route: Route
    key: str
    etag: str | None = None
    stored_at: float = 0.0
    head: Sequence[bytes] = ()
    before: bytes = b""
    after: bytes = b""
    since: float = 0.0
    until: float = 0.0


@frozen
class Ready:
    """Gives fresh kept answers at once, and learns from the listener which targets have one.

    `route` gives the route in force for a name, `key` a call's key in the store.
    """

    store: Store
    key: Callable[[Call], str]
    route: Callable[[str], Route]
    give: Giving
    _known: dict[str, _Known] = field(default_factory=dict)

    def learn(self, target: str, call: Call, answer: Answer) -> None:
        """Remember what call a raw target (path and query) stands for, if the cache gave the answer."""
        plain = call.request.method == hdrs.METH_GET and not call.request.body
        if answer.source != "cache" or not plain or not is_path(target) or len(target) > LONGEST:
            return
        if len(self._known) >= TARGETS:
            del self._known[next(iter(self._known))]
        self._known[target] = _Known(call.route, self.key(call))

    def __call__(self, request: RawRequestMessage, peer: str | None) -> Give | None:
        """Return what gives the kept answer to a request without a body, if there may be one."""
        if request.path not in self._known or not is_plain(request):
            return None
        return partial(self._give, self.give.read(request, peer))

    def _give(self, asked: PlainRequest, send: Send) -> bool:
        known = self._known.get(asked.target)
        if known is None:
            return False
        give = self.give
        start = give.clock.monotonic()
        entry = self.store.at_hand(known.key)
        if entry is None or entry.missing_until or not self._renewed(known, entry, give.clock.time()):
            return False
        route = known.route
        if route is not self.route(route.name) or not give.admits(asked):
            return False
        give(send, asked, start, route, "cache", known.before, known.after, entry.body)
        return True

    def _renewed(self, known: _Known, entry: Entry, now: float) -> bool:
        """Have the head right for now, or return false when the answer is not, or no more, to be given so."""
        same = entry.etag is known.etag and entry.stored_at is known.stored_at
        if same and known.since <= now < known.until:
            return True
        left = entry.max_age - max(0.0, now - entry.stored_at)
        if left <= 0 or entry.status != 200:
            return False
        if not same:
            answer = Answer(200, entry.body, "cache", etag=entry.etag, cache=f"hit; ttl={MARK}")
            known.head = pieces(self.give.fields(answer, MARK).items(), len(entry.body))
            known.etag, known.stored_at = entry.etag, entry.stored_at
        start, after_ttl, after_id, end = known.head
        ttl = int(left)
        known.before = b"%b%d%b" % (start, ttl, after_ttl)
        known.after = after_id + date(now) + end
        known.since, known.until = now, min(floor(now) + 1, entry.stored_at + entry.max_age - ttl)
        return True
