"""The public listener's HTTP server: aiohttp's low-level one, without its manners.

Malformed requests get a short JSON error that echoes nothing of them, and one log line without a byte of
them; no answer says what software made it.
"""

import logging
from asyncio import Task
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import HttpVersion10, HttpVersion11, StreamReader, http_parser, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import SERVER_SOFTWARE, RawRequestMessage
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong

from proxy.errors import MalformedBody, error_body

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
NewRequestId = Callable[[], str]

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_OF_THE_CLIENT = (HttpProcessingError, web.RequestPayloadError, ConnectionError, MalformedBody)


@dataclass(frozen=True, slots=True)
class _Refusal:
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


_MALFORMED = _Refusal(400, "Bad request", "The request is not valid HTTP.", "bad_request")
_TOO_LONG = _Refusal(431, "Request header too large", "A line is too long.", "header_too_large")
_CODING = _Refusal(501, "Not implemented", "Only chunked is known as Transfer-Encoding.", "transfer_coding")
_VERSION = _Refusal(505, "HTTP version not supported", "Use HTTP/1.1.", "http_version")
_TIMEOUT = _Refusal(504, "Timeout", "The answer took too long.", "timeout")
_FAILED = _Refusal(500, "Internal error", "The request could not be answered.", "internal")


def public_server(
    handler: Handler,
    *,
    header_limit: int,
    new_request_id: NewRequestId,
    logger: logging.Logger,
    keepalive_timeout: float = 75.0,
) -> web.Server:
    """Return the server for `loop.create_server`; it answers what is HTTP/1.x with `handler`.

    A handler is cancelled when its client leaves. `Expect: 100-continue` is answered before it is called.

    Args:
        handler: Answers requests; its exceptions become a 500 and are logged.
        header_limit: Bytes that the request line, or one header field, may have.
        new_request_id: Makes the id of an error that is answered without the handler.
        logger: Gets one line for each malformed request.
        keepalive_timeout: Seconds that an idle connection is kept, longer than those before us keep it.
    """
    return _Server(handler, header_limit, new_request_id, logger, keepalive_timeout)


def c_parser_in_use() -> bool:
    """Tell whether aiohttp parses HTTP in C; its parser in Python is not to face a network."""
    return (
        http_parser.HttpRequestParser is not http_parser.HttpRequestParserPy
        and http_parser.HttpResponseParser is not http_parser.HttpResponseParserPy
    )


def origin_form(raw_path: str, host: str | None = None) -> str | None:
    """Return the path and query of a request target (RFC 9112 section 3.2), or None to refuse it.

    An absolute form is reduced to its path; when `host` is given, it must name that very host. Refused are
    the authority form, `*`, other schemes, and targets with a fragment.
    """
    if "#" in raw_path:
        return None
    if raw_path.startswith("/"):
        return raw_path
    scheme, separator, rest = raw_path.partition("://")
    if not separator or scheme.lower() not in ("http", "https"):
        return None
    end = min((at for at in (rest.find("/"), rest.find("?")) if at >= 0), default=len(rest))
    authority, path = rest[:end], rest[end:]
    if not authority or (host is not None and authority.lower() != host.lower()):
        return None
    return path if path.startswith("/") else "/" + path


@dataclass(frozen=True, slots=True)
class _Admission:
    """Turns away what the proxy could not pass on faithfully, and answers `Expect`."""

    handler: Handler
    new_request_id: NewRequestId

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        if not HttpVersion10 <= request.version <= HttpVersion11:
            return _VERSION.response(self.new_request_id())
        headers = request.headers
        if headers.get("Transfer-Encoding", "chunked").lower() != "chunked":
            return _CODING.response(self.new_request_id())
        if headers.get("Expect", "").lower() == "100-continue" and request.version >= HttpVersion11:
            await request.writer.write(_CONTINUE)
            request.writer.output_size = 0  # the answer proper has not begun
        return await self.handler(request)


class _Request(web.BaseRequest):
    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        if response.headers.get("Server") == SERVER_SOFTWARE:
            del response.headers["Server"]


class _Connection(web.RequestHandler):
    __slots__ = ("new_request_id",)

    new_request_id: NewRequestId

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        request = self._current_request
        if request is not None and self._messages and not request.content.is_eof():
            # What is queued behind an unfinished body is the parser's complaint about it. aiohttp would
            # leave the handler waiting for the rest.
            request.content.set_exception(MalformedBody("the body's framing is broken"))

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002  (it quotes the request)
    ) -> web.StreamResponse:
        self.log_exception("request from %s failed", request.remote, exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun, so that no other can be given")
        return _refusal(status, exc).response(self.new_request_id())

    def log_exception(self, *args: object, **kw: object) -> None:
        error = kw.get("exc_info")
        if isinstance(error, _OF_THE_CLIENT):
            # One line, and not the error's text: that quotes the request.
            self.logger.info("malformed or broken request: %s", type(error).__name__)
        else:
            super().log_exception(*args, **kw)


def _refusal(status: int, exc: BaseException | None) -> _Refusal:
    if isinstance(exc, LineTooLong):
        return _TOO_LONG
    if status == 400 or isinstance(exc, MalformedBody):
        return _MALFORMED
    return _TIMEOUT if status == 504 else _FAILED


class _Server(web.Server):
    def __init__(
        self,
        handler: Handler,
        header_limit: int,
        new_request_id: NewRequestId,
        logger: logging.Logger,
        keepalive_timeout: float,
    ) -> None:
        super().__init__(
            _Admission(handler, new_request_id), request_factory=self._request, handler_cancellation=True
        )
        self._header_limit = header_limit
        self._new_request_id = new_request_id
        self._logger = logger
        self._keepalive_timeout = keepalive_timeout

    def __call__(self) -> web.RequestHandler:
        # Unlike aiohttp's own, this does not fall back to defaults when a setting is wrong.
        connection = _Connection(
            self,
            loop=self._loop,
            auto_decompress=False,
            access_log=None,  # type: ignore[arg-type]  # it tests for None, but does not say so
            logger=self._logger,
            keepalive_timeout=self._keepalive_timeout,
            max_line_size=self._header_limit,
            max_field_size=self._header_limit,
            read_bufsize=65536,
        )
        connection.new_request_id = self._new_request_id
        return connection

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: Task[None],
    ) -> web.BaseRequest:
        return _Request(message, payload, protocol, writer, task, self._loop)
