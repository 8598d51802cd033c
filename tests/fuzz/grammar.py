"""Requests that are nearly HTTP: sound ones, changed at random where servers have gone wrong before.

All is drawn from one `Random`, so that a seed makes the same bytes again.
"""

import json
from collections.abc import Callable
from random import Random

from tests.recordings import load
from tests.running import SEVEN

HOST = b"Host: activity.example"
UPGRADE = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
)
HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"
METHODS = (
    b"GET",
    b"POST",
    b"HEAD",
    b"PUT",
    b"DELETE",
    b"OPTIONS",
    b"PATCH",
    b"CONNECT",
    b"TRACE",
    b"get",
    b"G\0T",
    b"",
)
VERSIONS = (b"HTTP/1.1", b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/1.2", b"http/1.1", b"HTTP/11", b"")
TARGETS = (
    b"/api/kaltura/video/1_e0000003",
    b"/api/kaltura/video/..%2fsearch",
    b"/api//kaltura/videos",
    b"/.proxy/x",
    b"*",
    b"http://activity.example/x",
    b"http://[::1",
    b"//evil/x",
    b"/%",
    b"/%zz%00",
    b"/x#y",
    b"/\xff",
    b"x:1",
    b"/api/kaltura/videos/search?query=" + b"%f0%9f%92%a9" * 100,
    b"/" + b"a" * 9000,
    b"/events",
    b"",
)
FIELDS = (
    b"Content-Length: 0",
    b"Content-Length: 5",
    b"Content-Length: +5",
    b"Content-Length: 5, 5",
    b"Content-Length:",
    b"Content-Length: 99999999999999999999",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: chunked, identity",
    b"Transfer-Encoding:\x0bchunked",
    b"transfer-encoding: CHUNKED",
    b"Expect: 100-continue",
    b"Expect: x",
    b"Connection: close",
    b"Connection: keep-alive, Host, Cookie",
    UPGRADE,
    b"Upgrade: h2c",
    b"Host: b",
    b"Host:",
    b"Host: a b",
    b"Host: a/b@c",
    b"X : y",
    b" folded",
    b"\tfolded: x",
    b"X",
    b": y",
    b"X: \0",
    b"X: \x7f",
    b"X: a\rb",
    b"X: a\nY: b",
    b"X: \xff\xfe",
    b"\xffX: y",
    b"X: " + b"y" * 17000,
    b"X-Forwarded-For: 1.2.3.4, [::1]:5, x",
    b"Forwarded: for=1",
    b"Via: 1.1 activity-proxy",
    b"Via: ,,x y z",
    b"X-Request-Id: a\tb",
    b'If-None-Match: *, W/"x", "',
    b"Range: bytes=0-0,9-",
    b"Content-Encoding: gzip",
    b"Content-Encoding: br",
    b"Content-Type: ;;=",
    b"Content-Type: application/json",
    b"Cookie: \xff=; __Host-activity-proxy=x",
    b"Authorization: Bearer x\xff",
    b"Authorization:",
    b"Trailer: X",
    b"TE: trailers, x",
)
BODIES = (
    b"",
    b"{}",
    b"hello",
    b"5\r\nhello\r\n0\r\n\r\n",
    b"5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
    b"0\r\n\r\n" + HIDDEN,
    b"zz\r\n",
    b"fffffffffffffffff\r\n",
    b"5\nhello\n0\n\n",
    b'{"videoId":"a"}',
    b'{"videoId":' + b"[" * 2000,
    b'{"videoId":1e999}',
    b'{"videoId":"\\ud800"}',
    b'{"code":"invalid"}',
    b"\xff\xfe",
    b"\x1f\x8b\x08\x00",
    bytes(70_000),
    HIDDEN,
)


def sound() -> list[bytes]:
    """Return the recorded requests of clients, and the seven calls, as they are on the wire."""
    requests = [
        (exchange.method, exchange.path, dict(exchange.headers), exchange.sent or b"")
        for exchange in load("activity-server")
    ]
    for method, path, body in SEVEN:
        sent = b"" if body is None else json.dumps(body).encode()
        requests.append((method, path, {"Content-Type": "application/json"}, sent))
    return [_written(*request) for request in requests]


def _written(method: str, path: str, headers: dict[str, str], body: bytes) -> bytes:
    left_out = {"host", "content-length", "transfer-encoding", "connection"}
    fields = [f"{name}: {value}".encode() for name, value in headers.items() if name.lower() not in left_out]
    fields += [b"Content-Length: %d" % len(body)] if body else []
    return b"\r\n".join([f"{method} {path} HTTP/1.1".encode(), HOST, *fields, b"", body])


class Requests:
    """Makes what is sent on one connection after the other."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self._sound = sound()
        self._changes: tuple[Callable[[bytes], bytes], ...] = (
            self._start,
            self._start,
            self._field,
            self._field,
            self._field,
            self._body,
            self._lines,
            self._bytes,
            self._cut,
            self._twice,
        )

    def request(self) -> bytes:
        """Return a request: sound now and then, else with some changes."""
        made = self.random.choice(self._sound)
        for _ in range(self.random.choice((0, 0, 1, 1, 1, 2, 2, 4))):
            made = self.random.choice(self._changes)(made)
        return made

    def connection(self) -> list[bytes]:
        """Return what is sent on a connection: requests behind one another, in pieces."""
        whole = b"".join(self.request() for _ in range(self.random.choice((1, 1, 1, 2, 3, 6))))
        cuts = sorted(
            self.random.randrange(len(whole) + 1) for _ in range(self.random.choice((0, 0, 1, 3, 8)))
        )
        return [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True) if a < b]

    def _start(self, made: bytes) -> bytes:
        line, end, rest = made.partition(b"\r\n")
        parts = [*line.split(b" "), b"", b"", b""][:3]
        which = self.random.randrange(3)
        parts[which] = self.random.choice((METHODS, TARGETS, VERSIONS)[which])
        return self.random.choice((b" ", b" ", b" ", b"  ", b"\t")).join(parts) + end + rest

    def _field(self, made: bytes) -> bytes:
        head, end, body = made.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        field = self.random.choice(FIELDS)
        times = 200 if self.random.random() < 0.02 else 1
        at = self.random.randrange(1, len(lines) + 1)
        lines[at:at] = [field] * times
        if self.random.random() < 0.2:
            del lines[self.random.randrange(len(lines))]
        return b"\r\n".join(lines) + end + body

    def _body(self, made: bytes) -> bytes:
        head, end, _ = made.partition(b"\r\n\r\n")
        body = self.random.choice(BODIES)
        framing = self.random.choice(
            (b"", b"\r\nContent-Length: %d" % len(body), b"\r\nTransfer-Encoding: chunked")
        )
        return head + framing + end + body

    def _lines(self, made: bytes) -> bytes:
        other = self.random.choice((b"\n", b"\r", b"\r\r\n", b"\r\n ", b"\r\n\0"))
        return made.replace(b"\r\n", other, self.random.choice((1, 2, -1)))

    def _bytes(self, made: bytes) -> bytes:
        changed = bytearray(made)
        for _ in range(self.random.choice((1, 1, 2, 8))):
            at = self.random.randrange(len(changed) + 1)
            match self.random.randrange(3):
                case 0:
                    changed[at : at + 1] = bytes([self.random.randrange(256)])
                case 1:
                    changed[at:at] = self.random.randbytes(self.random.choice((1, 1, 4)))
                case _:
                    del changed[at : at + self.random.choice((1, 1, 16))]
        return bytes(changed)

    def _cut(self, made: bytes) -> bytes:
        return made[: self.random.randrange(len(made) + 1)]

    def _twice(self, made: bytes) -> bytes:
        at = self.random.randrange(len(made) + 1)
        return made[:at] + made[self.random.randrange(at + 1) :]
