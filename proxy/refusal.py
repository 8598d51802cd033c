"""What the HTTP server answers without its handler, and what is told of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from proxy.clock import Clock
from proxy.errors import MalformedBody, error_body
from proxy.events import Observe, RequestEnded, RequestStarted

NewRequestId = Callable[[], str]
ListenerName = Literal["public", "admin"]
CLIENT_LEFT = 499


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error that the server itself answers: `error` and `message` for people, `code` for programs."""

    status: int
    error: str
    message: str
    code: str

    def response(self, request_id: str) -> web.Response:
        """Return the refusal as an answer that ends the connection."""
        response = web.Response(
            status=self.status,
            body=error_body(self.error, self.message, self.code, request_id),
            content_type="application/json",
            charset="utf-8",
            headers={"X-Request-Id": request_id, "Cache-Control": "no-store"},
        )
        response.force_close()
        return response


_MALFORMED = Refusal(400, "Bad request", "The request is not valid HTTP.", "bad_request")
_TOO_LONG = Refusal(431, "Request header too large", "A line is too long.", "header_too_large")
CODING = Refusal(501, "Not implemented", "Only chunked is known as Transfer-Encoding.", "transfer_coding")
VERSION = Refusal(505, "HTTP version not supported", "Use HTTP/1.1.", "http_version")
_TIMEOUT = Refusal(504, "Timeout", "The answer took too long.", "timeout")
_FAILED = Refusal(500, "Internal error", "The request could not be answered.", "internal")


def refusal_for(status: int, exc: BaseException | None) -> Refusal:
    """Return what is answered to an error of the parser, or of a handler."""
    if isinstance(exc, LineTooLong):
        return _TOO_LONG
    if status == 400 or isinstance(exc, MalformedBody):
        return _MALFORMED
    return _TIMEOUT if status == 504 else _FAILED


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answers a request that never gets to the handler, and tells of it as the handler would."""

    listener: ListenerName
    new_request_id: NewRequestId
    clock: Clock
    observe: Observe

    async def __call__(self, request: web.BaseRequest, refusal: Refusal, target: str) -> web.StreamResponse:
        """Send the refusal. `target` is for the access line alone."""
        start = self.clock.monotonic()
        request_id = self.new_request_id()
        response = refusal.response(request_id)
        status, sent = CLIENT_LEFT, 0
        self.observe(RequestStarted(self.listener))
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
