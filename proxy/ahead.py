"""Before the server's handler: requests that are answered within the call that brings their bytes."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from aiohttp import StreamReader
from aiohttp.http import HttpRequestParser, RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD

from proxy.headers import sound_host

AtOnce = Callable[[RawRequestMessage, str | None, Callable[[Iterable[bytes]], None]], bool]
"""Answers a request without a body, from that peer, by sending bytes, or leaves it and returns false."""


class Connection(Protocol):
    """What is asked of the connection, whose client has the address `peer`."""

    peer: str | None

    def waits(self) -> bool:
        """Tell whether nothing is under way, so that an answer may be sent at once, and will be taken."""
        ...

    def send(self, parts: Iterable[bytes]) -> None:
        """Send a whole answer."""
        ...


class Ahead:
    """A connection's parser, which answers at once what may be, and hands on the rest.

    Only while the connection waits for a request: answers go in the order of their requests.
    """

    __slots__ = ("_answer", "_connection", "_parser")

    def __init__(self, connection: Connection, parser: HttpRequestParser, answer: AtOnce) -> None:
        self._connection = connection
        self._parser = parser
        self._answer = answer

    def __getattr__(self, name: str) -> object:
        return getattr(self._parser, name)

    def feed_data(self, data: bytes) -> tuple[Sequence[tuple[RawRequestMessage, StreamReader]], bool, bytes]:
        """Parse, as the parser does; what is answered already is not among the messages."""
        messages, upgraded, tail = self._parser.feed_data(data)
        answered = 0
        for message, payload in messages:
            if payload is not EMPTY_PAYLOAD or upgraded or not self._connection.waits():
                break
            if not sound_host(message.headers.get("Host", "")):
                break
            if not self._answer(message, self._connection.peer, self._connection.send):
                break
            self._parser.message_consumed()
            answered += 1
        return messages[answered:] if answered else messages, upgraded, tail
