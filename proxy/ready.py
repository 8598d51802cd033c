"""Kept answers that are ready: given the moment a request comes in, before anything is begun for it.

A cached answer is what this sidecar gives most, and matching, validating and looking it up costs several
times what sending it does. So the listener, which has done all that, shows each target that the cache
answered; while that answer is fresh, the next plain request for the same target gets the same bytes with
an id of its own. Whatever is not plain, known and fresh goes the listener's way, which stays the only
one that says what a request means.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from aiohttp import hdrs
from aiohttp.http import RawRequestMessage
from multidict import CIMultiDict, CIMultiDictProxy

from proxy.ahead import Send, is_path, is_plain, shows_who
from proxy.call import Answer, Call
from proxy.clock import Clock
from proxy.events import CacheLooked, Observe, RequestEnded, RequestStarted
from proxy.frozen import frozen
from proxy.reply import MARK, date, pieces
from proxy.request_id import RequestIds
from proxy.route import Route
from proxy.store import Entry, Store

TARGETS = 10_000
"""Targets that are remembered at most, and none longer than `LONGEST` characters: about 8 MiB in all."""
LONGEST = 512
_STARTED = RequestStarted("public")


@dataclass(slots=True)
class _Known:
    """A target, what it stands for, and the head for a kept answer, cut where ttl, id and date go.

    `etag` tells which answer, as it is made of its body. The answer itself is the store's to keep or drop,
    since the store bounds what answers take.
    """

    route: Route
    key: str
    looked: CacheLooked
    etag: str | None = None
    head: Sequence[bytes] = ()


@frozen
class Ready:
    """Gives fresh kept answers at once, and learns from the listener which targets have one.

    `route` gives the route in force for a name, `key` a call's key in the store; `fields` are an answer's
    for a request id; `client` is the address for a peer and its request's fields, and `admit` has words for
    the address of a client that asks too often.
    """

    store: Store
    key: Callable[[Call], str]
    route: Callable[[str], Route]
    fields: Callable[[Answer, str], CIMultiDict[str]]
    client: Callable[[str | None, CIMultiDictProxy[str]], str]
    request_ids: RequestIds
    clock: Clock
    observe: Observe
    admit: Callable[[str], Mapping[str, str] | None] | None = None
    _known: dict[str, _Known] = field(default_factory=dict)

    def learn(self, target: str, call: Call, answer: Answer) -> None:
        """Remember what call a raw target (path and query) stands for, if the cache gave the answer."""
        plain = call.request.method == hdrs.METH_GET and not call.request.body
        if answer.source != "cache" or not plain or not is_path(target) or len(target) > LONGEST:
            return
        if len(self._known) >= TARGETS:
            del self._known[next(iter(self._known))]
        self._known[target] = _Known(call.route, self.key(call), CacheLooked(call.route.name, "hit"))

    def __call__(self, request: RawRequestMessage, peer: str | None, send: Send) -> bool:
        """Answer a request without a body, or leave it alone and return false. Never waits."""
        known = self._known.get(request.path)
        if known is None or not is_plain(request):
            return False
        start = self.clock.monotonic()
        entry = self.store.at_hand(known.key)
        if entry is None:
            return False
        left = entry.max_age - max(0.0, self.clock.time() - entry.stored_at)
        if left <= 0 or entry.status != 200 or entry.missing_until:
            return False
        if entry.etag is not known.etag:
            self._render(known, entry)
        route = known.route
        if route is not self.route(route.name):
            return False
        client = self.client(peer, request.headers)
        if self.admit is not None and (shows_who(request) or self.admit(client) is not None):
            return False
        request_id = self.request_ids.of(request.headers.get("X-Request-Id"))
        self.observe(_STARTED)
        self.observe(known.looked)
        start_line, after_ttl, after_id, end = known.head
        send(
            (
                start_line,
                b"%d" % int(left),
                after_ttl,
                request_id.encode(),
                after_id,
                date(),
                end,
                entry.body,
            )
        )
        self.observe(
            RequestEnded(
                listener="public",
                route=route.name,
                method=hdrs.METH_GET,
                status=200,
                source="cache",
                seconds=self.clock.monotonic() - start,
                request_id=request_id,
                target=request.path,
                client=client,
                bytes_sent=len(entry.body),
            )
        )
        return True

    def _render(self, known: _Known, entry: Entry) -> None:
        answer = Answer(200, entry.body, "cache", etag=entry.etag, cache=f"hit; ttl={MARK}")
        known.head = pieces(self.fields(answer, MARK).items(), len(entry.body))
        known.etag = entry.etag
