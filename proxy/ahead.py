"""Before the server's handler: requests answered, or begun, within the call that brings their bytes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from aiohttp import HttpVersion11, StreamReader, hdrs
from aiohttp.http import HttpRequestParser, RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import MAX_MSG_QUEUE_SIZE

from proxy.headers import sound_host

Send = Callable[[Iterable[bytes]], None]
Give = Callable[[Send], bool]
"""Answers what was asked by sending bytes, if that can be done now; called again, it does so again."""
AtOnce = Callable[[RawRequestMessage, str | None], Give | None]
"""Returns what may answer a request without a body, from that peer; None where it is to be left alone."""

Messages = Sequence[tuple[RawRequestMessage, StreamReader]]
HEADS = 4096
"""Heads of requests that are remembered at most."""
LONGEST = 2048
"""Bytes that a head may have to be remembered."""

_END = b"\r\n\r\n"
_NOTHING: tuple[bytes, Messages] = (b"", ())

LARGEST = 49_152
"""Bytes that a body sent at once may have: with its head less than what a transport takes without a word."""
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

    def at_once(request: RawRequestMessage, peer: str | None) -> Give | None:
        one, other = first(request, peer), second(request, peer)
        if one is None or other is None:
            return one or other
        return lambda send: one(send) or other(send)

    return at_once


class Heads(dict[bytes, tuple[str | None, Give]]):
    """Heads of requests that came more than once, from which peer, and what answers them.

    Many clients' heads never come again, since what is before us puts something of its own into each. Of
    those no more is kept than a mark.
    """

    def __init__(self) -> None:
        super().__init__()
        self._once: set[int] = set()

    def remember(self, head: bytes, peer: str | None, give: Give) -> None:
        """Remember a head that came before."""
        mark = hash(head)
        if mark not in self._once:
            if len(self._once) >= HEADS:
                self._once.clear()
            self._once.add(mark)
            return
        if len(self) >= HEADS:
            self.clear()
        self[head] = (peer, give)


class Begun(Protocol):
    """A request that was begun before anybody handled it, at `start` by the clock, with that id."""

    message: RawRequestMessage
    request_id: str
    start: float

    def leave(self) -> None:
        """Give up, as the client has left."""
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

    Clients that ask for the same over and over do so in the very same bytes, which mean the same each time.
    So `heads`, which all connections share, has what answers those that came so before, and only when that
    cannot is a request looked into. What was begun last is looked into each time, but not parsed again.
    """

    __slots__ = ("_at_once", "_begun", "_between", "_connection", "_given", "_heads", "_mark", "_parser")

    def __init__(
        self, connection: Connection, parser: HttpRequestParser, at_once: AtOnce | None, heads: Heads
    ) -> None:
        self._connection = connection
        self._parser = parser
        self._at_once = at_once
        self._heads = heads
        self._between = True
        """Whether the parser has seen all of one request and nothing of the next: only then can what comes be
        known by its bytes. False from the first of what is fed until it turns out to be one whole head."""
        self._given: Give | None = None
        """What answered the last request of what was fed, while that is looked into."""
        self._mark = 0
        """The hash of the last head of a request that was begun, of one that may come again."""
        self._begun = _NOTHING
        """That head and what the parser made of it, once it has come twice."""

    def message_consumed(self) -> None:
        """Take note that a request does not wait any more; part of the parser's."""
        self._parser.message_consumed()

    def __getattr__(self, name: str) -> object:
        return getattr(self._parser, name)

    def again(self, data: bytes) -> bool:
        """Answer a request that came so before, byte for byte, or leave it alone and return false."""
        if not self._between or len(data) > LONGEST:
            return False
        known = self._heads.get(data)
        if known is None:
            return self._again(data)
        peer, give = known
        connection = self._connection
        return peer == connection.peer and connection.waits() and give(connection.send)

    def _again(self, data: bytes) -> bool:
        """Answer or begin what came so when it was last begun, or leave it alone and return false."""
        head, messages = self._begun
        if data != head:
            return False
        self._given = None
        if not self._answered(messages, False):
            return False
        self._remember(head, messages)
        return True

    def feed_data(self, data: bytes) -> tuple[Messages, bool, bytes]:
        """Parse, as the parser does; what is answered already is not among the messages."""
        begins = self._begins()
        messages, upgraded, tail = self._parser.feed_data(data)
        answered = self._answered(messages, upgraded)
        if self._between:
            # One whole head and nothing else: behind two the parser might keep back a third.
            self._between = data.find(_END) == len(data) - len(_END) >= 0
            if answered and begins and self._between and len(data) <= LONGEST:
                self._remember(data, messages)
        if not answered:
            return messages, upgraded, tail
        # At so many the parser stops, and the server makes it go on only when it has handled as many itself.
        while len(messages) == answered == MAX_MSG_QUEUE_SIZE:
            messages, upgraded, tail = self._parser.feed_data(b"")
            answered = self._answered(messages, upgraded)
            self._between = False  # behind the last of so many, part of one more may have come
        left = messages[answered:]
        if left and len(messages) == MAX_MSG_QUEUE_SIZE:
            more, upgraded, tail = self._parser.feed_data(b"")
            left = [*left, *more]
        return left, upgraded, tail

    def aside(self) -> HttpRequestParser:
        """Return the parser itself, for what comes now and is to be handed on whole."""
        self._between = False
        return self._parser

    def _begins(self) -> bool:
        """Tell whether a request begins with what comes now; what will be known of it is not known yet."""
        begins, self._between, self._given = self._between, False, None
        return begins

    def _remember(self, head: bytes, messages: Messages) -> None:
        if self._given is not None:
            self._heads.remember(head, self._connection.peer, self._given)
        elif hash(head) == self._mark:
            self._begun = (head, messages)
        else:
            self._mark, self._begun = hash(head), _NOTHING

    def _answered(self, messages: Messages, upgraded: bool) -> int:
        """Answer those at the beginning that may be, and return how many they are."""
        answered = 0
        for message, payload in messages:
            if payload is not EMPTY_PAYLOAD or upgraded or not self._connection.waits():
                break
            self._between = len(messages) == 1
            if not sound_host(message.headers.get("Host", "")):
                break
            if self._at_once is not None:
                give = self._at_once(message, self._connection.peer)
                if give is not None and give(self._connection.send):
                    self._given = give
                    self._parser.message_consumed()
                    answered += 1
                    continue
            last = answered + 1 == len(messages) < MAX_MSG_QUEUE_SIZE
            return answered + (last and self._connection.begin(message))
        return answered
