"""Giving an answer that is at hand: sent within the call that brought its request, and told of in a step."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from aiohttp.http import RawRequestMessage
from multidict import CIMultiDict, CIMultiDictProxy

from proxy.ahead import Send, shows_who
from proxy.call import Answer, Failure
from proxy.clock import Clock
from proxy.events import AnsweredAtOnce, Observe, SourceFailedEvent
from proxy.frozen import frozen
from proxy.request_id import RequestIds
from proxy.route import Route


class PlainRequest(NamedTuple):
    """What there is to know of a plain request: its raw target, the client's address, the id it came with.

    `as_somebody` tells whether the client may be one who is limited as such.
    """

    target: str
    client: str
    request_id: str | None
    as_somebody: bool


@frozen
class Giving:
    """What giving an answer at once takes, whatever the answer.

    `fields` are an answer's for a request id; `client` is the address for a peer and its request's fields,
    and `admit` has words for the address of a client that asks too often.
    """

    fields: Callable[[Answer, str], CIMultiDict[str]]
    client: Callable[[str | None, CIMultiDictProxy[str]], str]
    request_ids: RequestIds
    clock: Clock
    observe: Observe
    admit: Callable[[str], Mapping[str, str] | None] | None = None

    def read(self, request: RawRequestMessage, peer: str | None) -> PlainRequest:
        """Return what a request of that peer asks."""
        headers = request.headers
        shown = self.admit is not None and shows_who(request)
        return PlainRequest(request.path, self.client(peer, headers), headers.get("X-Request-Id"), shown)

    def admits(self, asked: PlainRequest) -> bool:
        """Tell whether the client may have an answer; if so, that counts."""
        return self.admit is None or (not asked.as_somebody and self.admit(asked.client) is None)

    def __call__(
        self,
        send: Send,
        asked: PlainRequest,
        since: float,
        route: Route,
        source: str,
        before: bytes,
        after: bytes,
        body: bytes,
        failures: tuple[Failure, ...] = (),
    ) -> None:
        """Send what stands before and after the request's id, and the body, and tell of it.

        `since` is when the request was looked at, by the monotonic clock.
        """
        target, client, given, _ = asked
        request_id = self.request_ids() if given is None else self.request_ids.of(given)
        for failure in failures:
            self.observe(SourceFailedEvent(route.name, failure, request_id))
        send((before, request_id.encode(), after, body))
        took, sent = self.clock.monotonic() - since, len(body)
        self.observe(
            AnsweredAtOnce(
                "public", route.name, "GET", 200, source, took, request_id, target, client, sent, failures
            )
        )
