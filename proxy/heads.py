"""The heads of what passes through: a request's for the Activity server, an answer's for the client."""

from collections.abc import Iterable, Sequence
from enum import Enum, auto

from aiohttp import HttpVersion, HttpVersion11
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http import RawResponseMessage

from proxy.errors import ActivityAway
from proxy.headers import Field, Hop, Network, end_to_end, forwarded_headers


class Framing(Enum):
    """How the client learns where an answer's body ends (RFC 9112 section 6.3)."""

    LENGTH = auto()  # by Content-Length, or because there can be no body
    CHUNKED = auto()
    CLOSE = auto()  # by the end of the connection: all that HTTP/1.0 has for an unknown length


def request_line(method: str, target: str) -> bytes:
    """Return the line that a request begins with."""
    return f"{method} {target} HTTP/1.1".encode(errors="surrogateescape")


def request_fields(
    fields: Sequence[Field], hop: Hop, trusted: Sequence[Network], authority: str
) -> list[bytes]:
    """Return the field lines of a request's head, those that are about this connection left to be added.

    `authority` is what `Host` says if the request had none.
    """
    lines = [b": ".join(field) for field in forwarded_headers(end_to_end(fields), hop, trusted)]
    if hop.host is None:
        lines.append(b"Host: " + authority.encode())
    return lines


def answer_fields(
    message: RawResponseMessage, method: str, version: HttpVersion
) -> tuple[list[Field], Framing]:
    """Return the fields of an answer to a request of that method and version, and how it is framed.

    Raises `ActivityAway` for one whose end cannot be told.
    """
    headers = message.headers
    if "Transfer-Encoding" in headers and not _only_chunked(headers.getall("Transfer-Encoding")):
        raise ActivityAway("malformed")
    fields = end_to_end(message.raw_headers)
    if "Date" not in headers:
        fields.append((b"Date", rfc822_formatted_time().encode()))  # RFC 9110 section 6.6.1
    framing = Framing.LENGTH
    if message.code == 204:
        fields = [field for field in fields if field[0].lower() != b"content-length"]
    elif message.code != 304 and method != "HEAD" and "Content-Length" not in headers:
        framing = Framing.CHUNKED if version >= HttpVersion11 else Framing.CLOSE
    return fields, framing


def answer_head(
    status: int, reason: str, fields: Iterable[Field], framing: Framing, connection: bytes = b""
) -> bytes:
    """Return an answer's head. `connection` is what `Connection` says, if anything."""
    lines = [b"HTTP/1.1 %d %b" % (status, reason.encode(errors="surrogateescape"))]
    lines += [b": ".join(field) for field in fields]
    if framing is Framing.CHUNKED:
        lines.append(b"Transfer-Encoding: chunked")
    if connection:
        lines.append(b"Connection: " + connection)
    return b"\r\n".join([*lines, b"", b""])


def as_chunks(body: bytes) -> bytes:
    """Return a whole body in chunked coding (RFC 9112 section 7.1)."""
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"


def _only_chunked(codings: Iterable[str]) -> bool:
    return ",".join(codings).lower() == "chunked"
