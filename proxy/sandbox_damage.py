"""Does to one request what a fault says: delays it, breaks it off, or spoils its answer."""

import asyncio
import json
import socket
import struct
from collections.abc import Callable
from email.utils import formatdate

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from proxy.clock import Clock
from proxy.sandbox_express import answer
from proxy.sandbox_faults import Fault

_HTML = "text/html; charset=utf-8"
_CDN_PAGE = """<!DOCTYPE html>
<html>
<head><title>{title}</title></head>
<body><center><h1>{title}</h1></center><hr><center>cdn</center></body>
</html>
"""
_AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 s: closing sends a reset


async def inflict(
    fault: Fault, request: web.Request, handler: Handler, clock: Clock, shell: dict[str, object]
) -> web.StreamResponse:
    """Answer the request through `handler`, as far as the fault lets it.

    `shell` is what a video turns into under the fault `shell`.
    """
    if fault.latency:
        await clock.sleep(fault.latency)
    if fault.answer == "hang":
        await asyncio.Event().wait()
    if fault.answer == "reset":
        return _reset(request)
    if fault.status is None:
        response = await handler(request)
    else:
        response = _error(fault, fault.status, clock)
    match fault.answer:
        case "truncated":
            response = await _truncate(request, response)
        case "html":
            response = _page(response.status, "Just a moment...")
        case "shell":
            response = _rewrite(response, lambda value: _emptied(value, shell))
        case "wrong_types":
            response = _rewrite(response, _swapped)
    return response


def _reset(request: web.Request) -> web.Response:
    transport = request.transport
    if transport is not None:
        connection: socket.socket = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        transport.abort()
    return web.Response()


def _error(fault: Fault, status: int, clock: Clock) -> web.Response:
    if status == 429 or status > 500:
        response = _page(status, f"{status} error")
    else:
        response = answer({"error": "Internal server error" if status == 500 else "Refused"}, status)
    if fault.retry_after is not None:
        until = formatdate(clock.time() + fault.retry_after, usegmt=True)
        in_seconds = fault.retry_after_form == "seconds"
        response.headers[hdrs.RETRY_AFTER] = str(fault.retry_after) if in_seconds else until
    return response


def _page(status: int, title: str) -> web.Response:
    page = _CDN_PAGE.format(title=title)
    return web.Response(status=status, body=page.encode(), headers={hdrs.CONTENT_TYPE: _HTML})


async def _truncate(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    whole = _body(response)
    cut = web.StreamResponse(status=response.status, headers=response.headers)
    cut.content_length = max(len(whole), 2)
    cut.force_close()
    await cut.prepare(request)
    await cut.write(whole[: len(whole) // 2])
    return cut


def _rewrite(response: web.StreamResponse, change: Callable[[object], object]) -> web.StreamResponse:
    if response.content_type != "application/json":
        return response
    return answer(change(json.loads(_body(response))), response.status)


def _body(response: web.StreamResponse) -> bytes:
    body = response.body if isinstance(response, web.Response) else None
    return body if isinstance(body, bytes) else b""


def _emptied(value: object, shell: dict[str, object]) -> object:
    if isinstance(value, list):
        return [_emptied(item, shell) for item in value]
    if not isinstance(value, dict):
        return value
    if "thumbnailUrl" in value:
        return shell
    return {key: _emptied(item, shell) for key, item in value.items()}


def _swapped(value: object) -> object:
    if isinstance(value, list):
        return [_swapped(item) for item in value]
    if isinstance(value, dict):
        return {key: _swapped(item) for key, item in value.items()}
    return len(value) if isinstance(value, str) else str(value)
