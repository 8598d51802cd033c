"""What the HTTP server answers without its handler, and what is told of it."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import field
from http import HTTPStatus

from aiohttp import web
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong

from proxy.clock import Clock
from proxy.errors import MalformedBody, error_body
from proxy.events import Limited, LimitName, ListenerName, Observe, RequestEnded, RequestStarted
from proxy.frozen import frozen

NewRequestId = Callable[[], str]
CLIENT_LEFT = 499


class HeadTooLarge(HttpProcessingError):
    """A request's line and fields are larger together than they may be."""

    code = 431


@frozen
class Refusal:
    """An error that the server itself answers: `error` and `message` for people, `code` for programs.

    `limit` names the limit that the client went over, if that is what it is. `headers` come on top.
    """

    status: int
    error: str
    message: str
    code: str
    limit: LimitName | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def response(self, request_id: str) -> web.Response:
        """Return the refusal as an answer that ends the connection."""
        response = web.Response(
            status=self.status,
            body=self._body(request_id),
            content_type="application/json",
            charset="utf-8",
            headers={"X-Request-Id": request_id, "Cache-Control": "no-store", **self.headers},
        )
        response.force_close()
        return response

    def message_bytes(self, request_id: str) -> bytes:
        """Return the refusal as it goes over the wire when no request was read (RFC 9112 section 2.1)."""
        body = self._body(request_id)
        fields = {
            "Content-Type": "application/json; charset=utf-8",
            "Content-Length": str(len(body)),
            "X-Request-Id": request_id,
            "Cache-Control": "no-store",
            **self.headers,
            "Date": rfc822_formatted_time(),
            "Connection": "close",
        }
        lines = [f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in fields.items()]
        return "\r\n".join([*lines, "", ""]).encode() + body

    def _body(self, request_id: str) -> bytes:
        return error_body(self.error, self.message, self.code, request_id)


MALFORMED = Refusal(400, "Bad request", "The request is not valid HTTP.", "bad_request")
_TARGET = Refusal(414, "URI too long", "The request target is too long.", "target_too_long", "target")
_HEADER = Refusal(431, "Request header too large", "A line is too long.", "header_too_large", "header")
_HEADERS = Refusal(
    431, "Request header too large", "There are too many header fields.", "too_many_headers", "headers"
)
_HEAD = Refusal(431, "Request header too large", "The head is too large.", "head_too_large", "headers")
HEADER_TIMEOUT = Refusal(
    408, "Request timeout", "The request did not come in time.", "request_timeout", "header_time"
)
CROWDED = Refusal(
    503,
    "Service unavailable",
    "There are too many connections. Please try again later.",
    "too_many_connections",
    "connections",
    {"Retry-After": "1"},
)
CODING = Refusal(501, "Not implemented", "Only chunked is known as Transfer-Encoding.", "transfer_coding")
VERSION = Refusal(505, "HTTP version not supported", "Use HTTP/1.1.", "http_version")
METHOD = Refusal(
    405,
    "Method not allowed",
    "CONNECT and TRACE are not for this server.",
    "method_not_allowed",
    headers={"Allow": "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"},
)
_TIMEOUT = Refusal(504, "Timeout", "The answer took too long.", "timeout")
_FAILED = Refusal(500, "Internal error", "The request could not be answered.", "internal")


# All that tells this mistake from others of the parser's.
_TOO_MANY = "Too many headers received"


def refusal_for(status: int, exc: BaseException | None, target_limit: int = 0) -> Refusal:
    """Return what is answered to an error of the parser, or of a handler.

    `target_limit` is the parser's own for a request line, and no other limit of its.
    """
    if isinstance(exc, LineTooLong):
        return _TARGET if exc.args[1] == target_limit else _HEADER
    if isinstance(exc, HeadTooLarge):
        return _HEAD
    if isinstance(exc, HttpProcessingError) and exc.message == _TOO_MANY:
        return _HEADERS
    if status == 400 or isinstance(exc, MalformedBody):
        return MALFORMED
    return _TIMEOUT if status == 504 else _FAILED


@frozen
class Refuse:
    """Answers a request that never gets to the handler, and tells of it as the handler would."""

    listener: ListenerName
    new_request_id: NewRequestId
    clock: Clock
    observe: Observe

    def unread(self, transport: asyncio.Transport, refusal: Refusal) -> None:
        """Send the refusal on a connection of which no request was read, and close that."""
        request_id = self.new_request_id()
        peer = transport.get_extra_info("peername")
        self.observe(RequestStarted(self.listener))
        self.limited(refusal)
        message = refusal.message_bytes(request_id)
        transport.write(message)
        transport.close()
        self.observe(
            RequestEnded(
                listener=self.listener,
                route="none",
                method="UNKNOWN",
                status=refusal.status,
                source="error",
                seconds=0.0,
                request_id=request_id,
                target="",
                client=peer[0] if peer else "",
                bytes_sent=len(message.partition(b"\r\n\r\n")[2]),
            )
        )

    def limited(self, refusal: Refusal) -> None:
        """Tell of the limit that the refusal is for, if it is for one."""
        if refusal.limit is not None:
            self.observe(Limited(refusal.limit))

    async def __call__(self, request: web.BaseRequest, refusal: Refusal, target: str) -> web.StreamResponse:
        """Send the refusal. `target` is for the access line alone."""
        start = self.clock.monotonic()
        request_id = self.new_request_id()
        response = refusal.response(request_id)
        status, sent = CLIENT_LEFT, 0
        self.observe(RequestStarted(self.listener))
        self.limited(refusal)
        try:
            await response.prepare(request)
            await response.write_eof()
            status, sent = refusal.status, response.content_length or 0
        finally:
            self.observe(
                RequestEnded(
                    listener=self.listener,
                    route="none",
                    method=request.method,
                    status=status,
                    source="error",
                    seconds=self.clock.monotonic() - start,
                    request_id=request_id,
                    target=target,
                    client=request.remote or "",
                    bytes_sent=sent,
                )
            )
        return response
