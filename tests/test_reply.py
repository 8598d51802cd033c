"""The sidecar's own answers on the wire."""

import re

import pytest
from aiohttp import web
from multidict import CIMultiDict

from proxy.reply import Reply, date, head
from tests.origins import client, exchange, read_message, request, serving

FIELDS = CIMultiDict([("Content-Type", "text/plain"), ("X-A", "1"), ("X-A", "2"), ("X-U", "\udce9")])


async def reply(_: web.BaseRequest) -> web.StreamResponse:
    """Answer with a short text."""
    return Reply(200, FIELDS, b"hello")


async def test_an_answer_is_its_fields_and_its_body() -> None:
    """Repeated fields and odd bytes go as they are; length and date are added, and nothing else."""
    async with serving(reply) as (port, _):
        got = await exchange(port, request(b"GET /"))
    assert (got.start, got.body) == (b"HTTP/1.1 200 OK", b"hello")
    *fields, (date, value) = got.fields
    assert fields == [
        (b"Content-Type", b"text/plain"),
        (b"X-A", b"1"),
        (b"X-A", b"2"),
        (b"X-U", b"\xe9"),
        (b"Content-Length", b"5"),
    ]
    assert date == b"Date"
    assert re.fullmatch(rb"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", value)


@pytest.mark.parametrize(
    ("start", "status", "body", "length"),
    [
        (b"HEAD / HTTP/1.1", 200, b"", b"5"),
        (b"GET / HTTP/1.1", 304, b"", None),
        (b"GET / HTTP/1.1", 204, b"", None),
        (b"GET / HTTP/1.1", 404, b"hello", b"5"),
    ],
)
async def test_what_has_no_body_sends_none(
    start: bytes, status: int, body: bytes, length: bytes | None
) -> None:
    """The connection goes on with the next answer right behind the head."""

    async def handler(_: web.BaseRequest) -> web.StreamResponse:
        return Reply(status, CIMultiDict(), b"hello")

    async with serving(handler) as (port, _), client(port) as (reader, writer):
        for _ in range(2):
            writer.write(start + b"\r\nHost: a\r\n\r\n")
            got = await read_message(reader, bodiless=not body)
            assert (got.status, got.body, got.one("Content-Length")) == (status, body, length)


@pytest.mark.parametrize(
    ("start", "said", "connection"),
    [
        (b"GET / HTTP/1.0", b"", None),
        (b"GET / HTTP/1.0", b"Connection: keep-alive\r\n", b"keep-alive"),
        (b"GET / HTTP/1.1", b"Connection: close\r\n", b"close"),
        (b"GET / HTTP/1.1", b"", None),
    ],
)
async def test_the_answer_says_whether_the_connection_stays(
    start: bytes, said: bytes, connection: bytes | None
) -> None:
    """As the request's version and its wish want it (RFC 9112 section 9.3)."""
    async with serving(reply) as (port, _):
        got = await exchange(port, start + b"\r\nHost: a\r\n" + said + b"\r\n")
    expected = b"close" if start.endswith(b"0") and not said else connection
    assert got.one("Connection") == expected


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "a\r\nSet-Cookie: b"])
def test_a_field_cannot_hold_another(value: str) -> None:
    """A line break in a value is a defect, and never sent."""
    with pytest.raises(ValueError, match="line break"):
        head(200, [("X-A", value)], 0)


def test_a_date_is_of_its_second() -> None:
    """As in HTTP's own example (RFC 9110 section 5.6.7)."""
    assert date(784111777.99) == b"Sun, 06 Nov 1994 08:49:37 GMT"
    assert date(784111778.0) == b"Sun, 06 Nov 1994 08:49:38 GMT"
