"""A connection to the Activity server or the gateway: one exchange at a time, and if one more may follow."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from aiohttp import ClientPayloadError, StreamReader
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpResponseParser, RawResponseMessage, StreamWriter
from aiohttp.http_exceptions import HttpProcessingError

from proxy.errors import ActivityAway, AwayReason

READ_BUFFER = 65536
"""Bytes of a body that wait to be read, before its sender is held up at twice as many."""
_BLANK_LINES = b"\r\n\r\n"
_INTERIM, _SWITCHING, _FINAL = 100, 101, 200
"""Status codes: those before the final ones come before the answer (RFC 9110 section 15.2), but for 101."""


class OriginRequest(NamedTuple):
    """What is to be sent: a head, with the body behind it where that is at hand, else the body's stream.

    `chunked` is how that stream is to be framed. `bodiless` tells that the answer ends with its head, as one
    to HEAD does.
    """

    sent: bytes
    body: StreamReader | None = None
    chunked: bool = False
    bodiless: bool = False

    def __repr__(self) -> str:
        """Tell nothing of what is sent: tokens and cookies are among it."""
        return f"{type(self).__name__}({len(self.sent)} bytes)"


class OriginResponse(NamedTuple):
    """The head of an answer, its body to be read, and the connection that it comes by."""

    message: RawResponseMessage
    content: StreamReader
    connection: "OriginConnection"


Answered = Callable[[OriginResponse | ActivityAway], None]
"""Is told the final answer, whose body may still be under way, or why there is none."""


class OriginConnection(BaseProtocol):
    """One connection to an origin. `decoding` is whether compressed answers are to be decoded."""

    __slots__ = (
        "_answered",
        "_asked",
        "_bodiless",
        "_content",
        "_decoding",
        "_head_limit",
        "_spent",
        "_upload",
        "idle_since",
        "reusable",
        "tail",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, head_limit: int, *, decoding: bool = False) -> None:
        super().__init__(loop)
        self._head_limit = head_limit
        self._decoding = decoding
        self._bodiless = False
        self._spent = False
        self._asked = False
        self._answered: Answered | None = None
        self._content: StreamReader | None = None
        self._upload: asyncio.Task[None] | None = None
        self.reusable = False
        """Whether another exchange may follow, as far as the last answer's head says."""
        self.idle_since = 0.0
        self.tail = b""
        """What has arrived behind a 101: no HTTP any more."""

    async def ask(self, request: OriginRequest) -> OriginResponse:
        """Send a request and return the final answer to it; its body may still be under way either way.

        When the request's body breaks off the connection is cut. Raises `ActivityAway`.
        """
        answer: asyncio.Future[OriginResponse] = self._loop.create_future()
        self.send(request, partial(_settle, answer))
        return await answer

    def send(self, request: OriginRequest, answered: Answered) -> None:
        """Send a request as `ask` does. `answered` is called once, unless the exchange is ended before.

        Raises `ActivityAway`.
        """
        if self.transport is None:
            raise ActivityAway("reset")
        if self._parser is None or request.bodiless != self._bodiless:
            self._bodiless = request.bodiless
            self._parser = self._new_parser()
        self._asked, self._answered = True, answered
        self.transport.write(request.sent)
        if request.body is not None:
            self._upload = self._loop.create_task(self._send(request.body, chunked=request.chunked))
            self._upload.add_done_callback(self._sent)

    def release(self, now: float) -> bool:
        """End the exchange, and tell whether the connection can be kept; if not, it is cut."""
        content, self._content = self._content, None
        self._asked, self._answered = False, None
        upload, self._upload = self._upload, None
        if upload is not None and not _whole(upload):
            upload.cancel()
            self.reusable = False
        if self.reusable and content is not None and content.is_eof() and self._at_rest():
            self.idle_since = now
            if self._spent:
                self._parser, self._spent = None, False
            return True
        self.abort()
        return False

    def abort(self) -> None:
        """Cut the connection, whatever is under way."""
        self.reusable = False
        if self.transport is not None:
            self.transport.abort()
        else:
            self._parser = None

    def data_received(self, data: bytes) -> None:
        """Take in what comes; part of asyncio's protocol."""
        if self._upgraded:
            self._keep_tail(data)
            return
        if not self._asked or self._parser is None:
            self.abort()  # nobody has asked for this, and the next answer must not be mistaken for it
            return
        try:
            messages, self._upgraded, tail = self._parser.feed_data(data)
        except HttpProcessingError:
            self._break("malformed")
            self.abort()
            return
        answer = None
        for message, content in messages:
            code = message.code
            if _INTERIM <= code < _FINAL and code != _SWITCHING:
                continue
            if answer is not None:
                self.abort()  # it is whole; what follows must not be mistaken for the next
                break
            if self._answered is None or code < _INTERIM or (code == _SWITCHING and not self._upgraded):
                self._break("malformed")
                self.abort()
                return
            self._content = content
            # Of a trailer (RFC 9112 section 7.1.2) the parser would make a field of the next answer.
            self._spent = self._spent or message.chunked
            self.reusable = not message.should_close and not self._upgraded
            answer = OriginResponse(message, content, self)
        if tail:
            self._keep_tail(tail)
        if answer is not None:
            self._tell(answer)
        else:
            self._went_on()

    def _went_on(self) -> None:
        """End the connection if what has come of a body cannot be decoded.

        The stream knows, but tells nobody who is just about to look for more.
        """
        if self._content is not None and self._content.exception() is not None:
            self.abort()

    def pause_reading(self) -> None:
        """Hold up the sender; part of aiohttp's protocol, whose streams call it when they are full."""
        super().pause_reading()
        # Where that is at an answer's last chunk, the parser would stop in the middle of the next answer.
        self._spent = True

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Go on after `pause_reading`; part of aiohttp's protocol, whose streams call it at every read."""
        if self._reading_paused:
            super().resume_reading(resume_parser)
            self._have_read()

    def eof_received(self) -> None:
        """Take note that the connection is about to end; part of asyncio's protocol."""
        self.reusable = False

    def connection_lost(self, exc: BaseException | None) -> None:
        """End a body that ends with its connection, and break off all else; part of asyncio's protocol."""
        super().connection_lost(exc)
        self.reusable = False
        # TLS tells of the end though reading has stopped: what came before it is still with the parser then.
        if exc is not None or not self._reading_paused or self._content is None:
            self._end(exc)

    def _have_read(self) -> None:
        """Come to the end of a connection that was lost, unless reading has stopped once more."""
        if self.transport is None and not self._reading_paused:
            self._end(None)

    def _end(self, exc: BaseException | None) -> None:
        content, parser = self._content, self._parser
        # The parser refers to this connection and to the body: held on to, they would wait for the collector.
        self._parser = None
        if exc is None and parser is not None and content is not None and not content.is_eof():
            with suppress(HttpProcessingError):  # it was not at its end
                parser.feed_eof()
        # What is whole by now is let alone. What has been broken is told again: aiohttp's stream forgets that
        # it is when it was just about to look for more, and whoever reads it would wait for ever.
        self._break("reset")

    def _at_rest(self) -> bool:
        """Tell whether nothing came behind the answer: part of another would be the next one's beginning.

        Blank lines before an answer are nothing to the parser, but they end any part of a head.
        """
        if self.transport is None or self._parser is None:
            return False
        try:
            messages, _, _ = self._parser.feed_data(_BLANK_LINES)
        except HttpProcessingError:
            return False
        return not messages

    def _new_parser(self) -> HttpResponseParser:
        return HttpResponseParser(
            self,
            self._loop,
            READ_BUFFER,
            payload_exception=ClientPayloadError,
            response_with_body=not self._bodiless,
            read_until_eof=True,
            auto_decompress=self._decoding,
            max_line_size=self._head_limit,
            max_field_size=self._head_limit,
        )

    async def _send(self, body: StreamReader, *, chunked: bool) -> None:
        writer = StreamWriter(self, self._loop)
        if chunked:
            writer.enable_chunking()
        while part := await body.readany():
            await writer.write(part)
        await writer.write_eof()

    def _sent(self, upload: asyncio.Task[None]) -> None:
        if not _whole(upload):
            self._break("reset")  # or an answer that ends with its connection would seem to be at its end
            self.abort()  # half a body is not to look like a whole

    def _break(self, reason: AwayReason) -> None:
        self._tell(ActivityAway(reason, sent=True))
        if self._content is not None and not self._content.is_eof():
            self._content.set_exception(ClientPayloadError(reason))

    def _tell(self, answer: OriginResponse | ActivityAway) -> None:
        answered, self._answered = self._answered, None
        if answered is not None:
            answered(answer)

    def _keep_tail(self, data: bytes) -> None:
        self.tail += data
        if len(self.tail) > READ_BUFFER:
            self._pause_transport_reading()


def _settle(asked: asyncio.Future[OriginResponse], answer: OriginResponse | ActivityAway) -> None:
    if asked.done():
        return  # nobody waits any more
    if isinstance(answer, ActivityAway):
        asked.set_exception(answer)
    else:
        asked.set_result(answer)


def _whole(upload: asyncio.Task[None]) -> bool:
    """Tell whether a body was sent to its end."""
    return upload.done() and not upload.cancelled() and upload.exception() is None
