"""Before the server's handler: requests that are answered within the call that brings their bytes."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Protocol

from aiohttp import HttpVersion11, StreamReader, hdrs, web
from aiohttp.http import HttpRequestParser, RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import MAX_MSG_QUEUE_SIZE

from proxy.headers import sound_host

Send = Callable[[Iterable[bytes]], None]
AtOnce = Callable[[RawRequestMessage, str | None, Send], bool]
"""Answers a request without a body, from that peer, by sending bytes, or leaves it and returns false."""

_ASKS_MORE = (hdrs.IF_NONE_MATCH, hdrs.VIA, hdrs.EXPECT, hdrs.TRANSFER_ENCODING)
"""Fields that want to be looked into by the listener, or by the server."""


def is_plain(request: RawRequestMessage) -> bool:
    """Tell whether a request without a body asks for nothing but its target's answer."""
    if request.method != hdrs.METH_GET or request.should_close or request.version != HttpVersion11:
        return False
    headers: Mapping[str, str] = request.headers
    return not any(name in headers for name in _ASKS_MORE)


def is_path(target: str) -> bool:
    """Tell whether a raw target means the same whatever `Host` says; an absolute form has to agree."""
    return target.startswith("/")


def shows_who(request: RawRequestMessage) -> bool:
    """Tell whether the client may be somebody who is limited as such: the listener finds out."""
    return hdrs.COOKIE in request.headers or hdrs.AUTHORIZATION in request.headers


def either(first: AtOnce, second: AtOnce) -> AtOnce:
    """Return what answers as the first does, or else as the second does."""
    return lambda request, peer, send: first(request, peer, send) or second(request, peer, send)


class Begun(Protocol):
    """A request that was begun before anybody handled it, at `start` by the clock, with that id."""

    message: RawRequestMessage
    request_id: str
    start: float

    def leave(self) -> None:
        """Give up, as the client has left."""
        ...

    def go_on(self, request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
        """Answer the request, which the listener has taken over."""
        ...


class Connection(Protocol):
    """What is asked of the connection, whose client has the address `peer`."""

    peer: str | None

    def waits(self) -> bool:
        """Tell whether nothing is under way, so that an answer may be sent at once, and will be taken."""
        ...

    def send(self, parts: Iterable[bytes]) -> None:
        """Send a whole answer."""
        ...

    def begin(self, request: RawRequestMessage) -> bool:
        """Begin a request, whose answer is still to come, or leave it and return false."""
        ...


class Ahead:
    """A connection's parser, which answers or begins at once what may be, and hands on the rest.

    Only while the connection waits for a request, and begins only what nothing has come behind: answers go
    in the order of their requests.
    """

    __slots__ = ("_answer", "_connection", "_parser")

    def __init__(self, connection: Connection, parser: HttpRequestParser, answer: AtOnce | None) -> None:
        self._connection = connection
        self._parser = parser
        self._answer = answer

    def message_consumed(self) -> None:
        """Take note that a request does not wait any more; part of the parser's."""
        self._parser.message_consumed()

    def __getattr__(self, name: str) -> object:
        return getattr(self._parser, name)

    def feed_data(self, data: bytes) -> tuple[Sequence[tuple[RawRequestMessage, StreamReader]], bool, bytes]:
        """Parse, as the parser does; what is answered already is not among the messages."""
        messages, upgraded, tail = self._parser.feed_data(data)
        answered = self._answered(messages, upgraded)
        if not answered:
            return messages, upgraded, tail
        # At so many the parser stops, and the server makes it go on only when it has handled as many itself.
        while len(messages) == answered == MAX_MSG_QUEUE_SIZE:
            messages, upgraded, tail = self._parser.feed_data(b"")
            answered = self._answered(messages, upgraded)
        left = messages[answered:]
        if left and len(messages) == MAX_MSG_QUEUE_SIZE:
            more, upgraded, tail = self._parser.feed_data(b"")
            left = [*left, *more]
        return left, upgraded, tail

    def _answered(self, messages: Sequence[tuple[RawRequestMessage, StreamReader]], upgraded: bool) -> int:
        """Answer those at the beginning that may be, and return how many they are."""
        answered = 0
        for message, payload in messages:
            if payload is not EMPTY_PAYLOAD or upgraded or not self._connection.waits():
                break
            if not sound_host(message.headers.get("Host", "")):
                break
            if self._answer is not None and self._answer(
                message, self._connection.peer, self._connection.send
            ):
                self._parser.message_consumed()
                answered += 1
                continue
            last = answered + 1 == len(messages) < MAX_MSG_QUEUE_SIZE
            return answered + (last and self._connection.begin(message))
        return answered
