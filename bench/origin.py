"""The origin behind everything that is measured: Activity server and gateway in one, as fast as can be.

    python -m bench.origin PORT

Complete answers lie ready by request target; nothing is parsed but what tells them apart. It knows no more of
HTTP than the proxies measured here send.
"""

import asyncio
import base64
import hashlib
import struct
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, cast

import orjson

from bench.loads.telling import looped, many_files
from bench.payloads import CACHED_BODY, MIB, VIDEO_ID, gateway_video, gateway_videos

EVENT_PERIOD: Final = 0.2
"""Seconds between two server-sent events, each of which goes to all streams."""
LARGE: Final = 16 * MIB
_HEAD_END: Final = b"\r\n\r\n"
_GATEWAY_VIDEO: Final = b"/api/videos/"
_ACTIVITY_VIDEO: Final = b"/api/kaltura/video/"
_WEBSOCKET_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def _answer(body: bytes, content_type: bytes = b"application/json; charset=utf-8") -> bytes:
    return (
        b"HTTP/1.1 200 OK\r\nX-Powered-By: Express\r\nAccess-Control-Allow-Origin: *\r\n"
        b'Content-Type: %b\r\nContent-Length: %d\r\nETag: W/"400-bench"\r\n'
        b"Date: Tue, 03 Feb 2026 10:20:30 GMT\r\nConnection: keep-alive\r\nKeep-Alive: timeout=60\r\n\r\n%b"
        % (content_type, len(body), body)
    )


def _token() -> bytes:
    ends = int(time.time()) + 86_400
    claims = base64.urlsafe_b64encode(orjson.dumps({"discordId": "bench", "exp": ends})).rstrip(b"=")
    token = b".".join([base64.urlsafe_b64encode(b'{"alg":"HS256"}').rstrip(b"="), claims, b"c2lnbmF0dXJl"])
    expires = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(ends))
    return orjson.dumps({"token": token.decode(), "expiresAt": expires})


class Streams:
    """The open event streams. Every period each gets an event that holds the time it was made."""

    def __init__(self) -> None:
        self.open: set[asyncio.Transport] = set()

    async def feed(self) -> None:
        """Send events until cancelled."""
        while True:
            await asyncio.sleep(EVENT_PERIOD)
            event = b'data: {"made": %d, "room": "bench", "kind": "state"}\n\n' % time.monotonic_ns()
            chunk = b"%x\r\n%b\r\n" % (len(event), event)
            for transport in self.open:
                transport.write(chunk)


class Origin(asyncio.Protocol):
    """One connection."""

    answers: Final[dict[bytes, bytes]] = {
        b"/json": _answer(CACHED_BODY),
        b"/large": _answer(b"\xa5" * LARGE, b"application/octet-stream"),
        _ACTIVITY_VIDEO + VIDEO_ID.encode(): _answer(CACHED_BODY),
        _GATEWAY_VIDEO + VIDEO_ID.encode(): _answer(gateway_video()),
    }
    accepted: Final = _answer(b'{"ok":true}')
    stream_head: Final = (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
        b"Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n"
    )

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._buffer = b""
        self._missing = 0
        self._receive: Callable[[bytes], None] = self._request
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  (the protocol's signature)
        """Forget the stream, if it was one."""
        self._streams.open.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        """Take what came, by what is expected now."""
        self._receive(data)

    def _request(self, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
        end = data.find(_HEAD_END)
        if end < 0:
            self._buffer = data
            return
        self._buffer = b""
        target = data[data.index(b" ") + 1 : data.index(b" HTTP/1.1\r\n")]
        if not data.startswith(b"GET"):
            self._with_body(data[:end].lower(), target, data[end + 4 :])
        elif (answer := self.answers.get(target)) is not None:
            self._transport.write(answer)
        else:
            self._less_common(target, data)

    def _less_common(self, target: bytes, data: bytes) -> None:
        if target.startswith(b"/api/videos/search?"):
            size = target.partition(b"limit=")[2].partition(b"&")[0] or b"30"
            if size not in self.answers:
                self.answers[size] = _answer(gateway_videos(int(size)))
            self._transport.write(self.answers[size])
        elif target.startswith(_GATEWAY_VIDEO):
            video_id = target.removeprefix(_GATEWAY_VIDEO)
            known = self.answers[_GATEWAY_VIDEO + VIDEO_ID.encode()]
            # Ids have one length here, so that the answer's stays right.
            self._transport.write(known.replace(VIDEO_ID.encode(), video_id[: len(VIDEO_ID)], 1))
        elif target.startswith(_ACTIVITY_VIDEO):
            self._transport.write(self.answers[b"/json"])
        elif target == b"/events":
            self._transport.write(self.stream_head)
            self._streams.open.add(self._transport)
        elif target == b"/echo":
            self._upgrade(data)
        else:
            self._transport.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    def _with_body(self, head: bytes, target: bytes, begun: bytes) -> None:
        answer = _answer(_token()) if target.startswith(b"/api/auth/") else self.accepted
        _, named, after = head.partition(b"\r\ncontent-length:")
        if not named:
            self._receive = lambda data: self._chunked(data, answer)
        else:
            self._missing = int(after.partition(b"\r\n")[0])
            self._receive = lambda data: self._counted(data, answer)
        self._receive(begun)

    def _counted(self, data: bytes, answer: bytes) -> None:
        self._missing -= len(data)
        if self._missing <= 0:
            self._receive = self._request
            self._transport.write(answer)

    def _chunked(self, data: bytes, answer: bytes) -> None:
        self._buffer = (self._buffer + data)[-5:]
        if self._buffer == b"0" + _HEAD_END:
            self._buffer = b""
            self._receive = self._request
            self._transport.write(answer)

    def _upgrade(self, data: bytes) -> None:
        head = data.lower()
        begin = head.index(b"\r\nsec-websocket-key:") + len(b"\r\nsec-websocket-key:")
        key = data[begin : data.index(b"\r\n", begin)].strip()
        accept = base64.b64encode(hashlib.sha1(key + _WEBSOCKET_GUID, usedforsecurity=False).digest())
        self._transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept
        )
        self._receive = self._frames

    def _frames(self, data: bytes) -> None:
        """Echo frames of up to 125 bytes (RFC 6455, section 5.2)."""
        data = self._buffer + data
        at = 0
        echoes = []
        while len(data) - at >= 6:
            size = data[at + 1] & 0x7F
            end = at + 6 + size
            if size > 125 or end > len(data):
                break
            mask = data[at + 2 : at + 6] * (size // 4 + 1)
            plain = int.from_bytes(data[at + 6 : end]) ^ int.from_bytes(mask[:size])
            echoes.append(struct.pack("BB", data[at], size) + plain.to_bytes(size))
            if data[at] & 0x0F == 8:
                self._transport.write(b"".join(echoes))
                self._transport.close()
                return
            at = end
        self._buffer = data[at:]
        self._transport.write(b"".join(echoes))


async def serve(port: int) -> None:
    """Serve until cancelled."""
    streams = Streams()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Origin(streams), "127.0.0.1", port, backlog=4096)
    async with server, asyncio.TaskGroup() as group:
        group.create_task(streams.feed())
        group.create_task(server.serve_forever())


def main() -> None:
    """Serve until stopped."""
    many_files()
    with suppress(KeyboardInterrupt):
        looped()(serve(int(sys.argv[1])))


if __name__ == "__main__":
    main()
