"""The manners of Express, with which both services are written: answers, pages, bodies, tags."""

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

BODY_LIMIT = 100 * 1024  # bytes; the default of Express's JSON reader

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Error</title>
</head>
<body>
<pre>{message}</pre>
</body>
</html>
"""


class BodyError(Exception):
    """A request body that Express's JSON reader gives up on; the text is the one it gives."""


def answer(value: object, status: int = 200) -> web.Response:
    """Return `value` as JSON, tagged as Express tags it."""
    written = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    body = written.encode(errors="replace")
    headers = {hdrs.CONTENT_TYPE: "application/json; charset=utf-8", hdrs.ETAG: weak_tag(body)}
    return web.Response(status=status, body=body, headers=headers)


def text(words: str) -> web.Response:
    """Return plain text, tagged as Express tags it."""
    body = words.encode()
    headers = {hdrs.CONTENT_TYPE: "text/plain; charset=utf-8", hdrs.ETAG: weak_tag(body)}
    return web.Response(body=body, headers=headers)


def no_such_route(request: web.Request) -> web.Response:
    """Return the 404 page of a route that does not exist."""
    path = request.raw_path.partition("?")[0]
    page = _PAGE.format(message=html.escape(f"Cannot {request.method} {path}"))
    return web.Response(
        status=404,
        body=page.encode(),
        headers={
            hdrs.CONTENT_TYPE: "text/html; charset=utf-8",
            "Content-Security-Policy": "default-src 'none'",
            "X-Content-Type-Options": "nosniff",
        },
    )


def weak_tag(body: bytes) -> str:
    """Return the entity tag that Express gives a body: its length and the start of its SHA-1."""
    digest = base64.b64encode(hashlib.sha1(body, usedforsecurity=False).digest()).decode()
    return f'W/"{len(body):x}-{digest[:27]}"'


async def read_object(request: web.Request) -> Mapping[str, object]:
    """Return the request's JSON object; anything that Express would not read counts as empty.

    Raises:
        BodyError: the body claims to be JSON and is not, or it is too long.
    """
    if request.content_type != "application/json":
        return {}
    try:
        raw = await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise BodyError("request entity too large") from None
    if not raw:
        return {}
    try:
        value: object = json.loads(raw.decode(errors="replace"))
    except json.JSONDecodeError as error:
        raise BodyError(_as_v8_says(error)) from None
    except RecursionError:
        raise BodyError("Maximum call stack size exceeded") from None
    if isinstance(value, dict):
        return value
    if isinstance(value, list):
        return {}
    raise BodyError("Unexpected token in JSON at position 0")


def _as_v8_says(error: json.JSONDecodeError) -> str:
    if error.msg.startswith("Expecting property name"):
        return f"Expected property name or '}}' in JSON at position {error.pos}"
    if error.pos >= len(error.doc):
        return "Unexpected end of JSON input"
    return f"Unexpected token in JSON at position {error.pos}"


def number(text: str | None, default: int) -> int:
    """Return what JavaScript makes of `parseInt(text) || default`: leading digits, but no zero."""
    match = re.match(r"\s*([+-]?[0-9]{1,15})", text or "")
    return (int(match[1]) if match else 0) or default


def iso(seconds: float) -> str:
    """Return a moment (seconds since the epoch) as JavaScript writes it: UTC, milliseconds, `Z`."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


@web.middleware
async def open_to_all(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Allow every origin, give unknown routes a page, and spare a client what it already has."""
    try:
        response = await handler(request)
    except (web.HTTPNotFound, web.HTTPMethodNotAllowed):
        response = no_such_route(request)
    if response.prepared:
        return response
    tag = response.headers.get(hdrs.ETAG)
    if (
        tag is not None
        and response.status == 200
        and request.method in (hdrs.METH_GET, hdrs.METH_HEAD)
        and request.headers.get(hdrs.IF_NONE_MATCH) == tag
    ):
        response = web.Response(status=304, headers={hdrs.ETAG: tag})
    response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = "*"
    return response
