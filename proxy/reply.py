"""An answer of the sidecar's own on the wire: head and body leave in one piece."""

from collections.abc import Iterable
from email.utils import formatdate
from functools import lru_cache

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.web_response import REASON_PHRASES
from multidict import CIMultiDict

BODILESS = frozenset({204, 304})
"""Statuses whose answers have no body, and no length either (RFC 9110 sections 15.3.5 and 15.4.5)."""


MARK = "\x00"
"""Stands in a field of `pieces` for what is put there later."""


def head(
    status: int,
    fields: Iterable[tuple[str, str]],
    length: int,
    *,
    date: str | None = None,
    connection: str = "",
) -> bytes:
    """Return an answer's head, `Content-Length` and `Date` added (RFC 9112 section 4).

    Nothing in it tells what software made it. `date` is now, unless given; `connection` is what `Connection`
    says, if anything. Raises ValueError for a field that holds a line break.
    """
    lines = [f"HTTP/1.1 {status} {REASON_PHRASES.get(status, '')}"]
    lines += [f"{name}: {value}" for name, value in fields]
    if status not in BODILESS:
        lines.append(f"Content-Length: {length}")
    lines.append(f"Date: {date or rfc822_formatted_time()}")
    if connection:
        lines.append(f"Connection: {connection}")
    text = "\r\n".join(lines)
    if text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1:
        raise ValueError("a header field holds a line break")
    return text.encode(errors="surrogateescape") + b"\r\n\r\n"


def pieces(fields: Iterable[tuple[str, str]], length: int) -> list[bytes]:
    """Return the head of a 200, cut where its fields hold a `MARK`, and last where the date goes."""
    return head(200, fields, length, date=MARK).split(MARK.encode())


def date(now: float) -> bytes:
    """Return what `Date` says at that time (epoch seconds)."""
    return _date(int(now))


@lru_cache(4)
def _date(now: int) -> bytes:
    return formatdate(now, usegmt=True).encode()


class Reply(web.StreamResponse):
    """A whole answer: its status, its fields, its body; a length and a date are added."""

    def __init__(self, status: int, fields: CIMultiDict[str], body: bytes) -> None:
        super().__init__(status=status, headers=fields)
        self._whole = body

    async def _start(self, request: web.BaseRequest) -> AbstractStreamWriter:
        self._req = request
        writer = self._payload_writer = request.writer
        if self._keep_alive is None:
            self._keep_alive = request.keep_alive
        connection = "" if self._keep_alive else "close"
        if self._keep_alive and request.version < HttpVersion11:
            connection = "keep-alive"
        start = head(self.status, self.headers.items(), len(self._whole), connection=connection)
        bodiless = request.method == hdrs.METH_HEAD or self.status in BODILESS
        await writer.write(start if bodiless else start + self._whole)
        return writer
