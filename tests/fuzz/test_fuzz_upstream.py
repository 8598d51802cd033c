"""Whatever a server behind the sidecar answers: the client gets an answer, and it is none of our failures."""

import asyncio
import gzip
import json
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.events import Crashed, Event
from tests.hostile import Stage, attacked
from tests.tables import JSON_VALUES

LIVE = """
mode: live
gateway: {dialect: plan, token: tok-fixed-9f3c, retry: {attempts: 1}, breaker: {minimum_calls: 1000000}}
"""
Do = Callable[[Coroutine[Any, Any, None]], None]

NAMES = st.sampled_from(
    [
        *(b"Content-Type", b"Content-Encoding", b"Transfer-Encoding", b"Content-Length", b"Connection"),
        *(b"Set-Cookie", b"Location", b"Retry-After", b"ETag", b"Cache-Control", b"Activity-Proxy-Source"),
        *(b"Date", b"X-A", b"X A", b"", b"Upgrade", b"Trailer", b"Vary", b"Via"),
    ]
) | st.binary(max_size=6)
VALUES = st.sampled_from(
    [
        *(b"application/json", b"text/html", b"gzip", b"deflate", b"br", b"chunked", b"gzip, chunked", b"0"),
        *(b"5", b"-1", b"close", b"a=1; HttpOnly", b"http://evil.example/", b"99999999999999999999", b";;="),
        *(
            b"Sun, 99 Nov 2026 99:99:99 GMT",
            b"a\rb",
            b"a\nSet-Cookie: b",
            b"\0",
            b"\x01",
            b"\xff\xfe",
            b"websocket",
        ),
    ]
) | st.binary(max_size=12)
STATUSES = st.sampled_from(
    [200, 200, 200, 404, 400, 401, 429, 500, 503, 304, 204, 206, 302, 100, 101, 0, 600, 999]
)
FIELDS = st.sampled_from(["id", "title", "duration", "views", "playUrl", "ks", "error"])
SHAPED = st.fixed_dictionaries(
    {},
    optional={
        "video": st.dictionaries(FIELDS, JSON_VALUES) | JSON_VALUES,
        "videos": st.lists(st.dictionaries(FIELDS, JSON_VALUES), max_size=3) | JSON_VALUES,
        "ks": JSON_VALUES,
        "playUrl": JSON_VALUES,
        "error": JSON_VALUES,
    },
)
JSON = (SHAPED | JSON_VALUES).map(lambda value: json.dumps(value).encode())
BODIES = JSON | st.binary(max_size=60) | JSON.map(gzip.compress) | JSON.map(lambda body: body[:-1])


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """An answer: HTTP with fields and framing of all kinds, or bytes that are none."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=60))
    body = draw(BODIES)
    framing = draw(st.sampled_from(["length", "length", "chunked", "close", "short"]))
    fields = draw(st.lists(st.tuples(NAMES, VALUES), max_size=3))
    if framing == "chunked":
        fields.append((b"Transfer-Encoding", b"chunked"))
        body = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + draw(
            st.sampled_from([b"0\r\n\r\n", b"0\r\nX: y\r\n\r\n", b"zz", b""])
        )
    elif framing != "close":
        fields.append((b"Content-Length", b"%d" % (len(body) + (framing == "short"))))
    version = draw(st.sampled_from([b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"http/1.1"]))
    reason = draw(st.sampled_from([b"OK", b"", b"a\rb", b"\xff"]))
    start = b"%b %03d %b\r\n" % (version, draw(STATUSES), reason)
    return start + b"".join(name + b": " + value + b"\r\n" for name, value in fields) + b"\r\n" + body


@contextmanager
def staged(folder: Path) -> Iterator[tuple[Stage, list[Event], Do]]:
    """Run a sidecar for many examples, with a way to do something in its loop."""
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()

        async def start() -> Stage:
            stage = await stack.enter_async_context(attacked(folder, LIVE))
            stage.closing = True
            listeners: list[Callable[[Event], None]] = stage.sidecar.parts.observe.listeners  # type: ignore[attr-defined]  # the fan-out itself
            listeners.append(lambda event: crashed.append(event) if isinstance(event, Crashed) else None)
            return stage

        crashed: list[Event] = []
        stage = runner.run(start())
        try:
            yield stage, crashed, runner.run
        finally:
            runner.run(stack.aclose())


CALLS = st.sampled_from(
    [
        (b"GET /api/kaltura/video/1_cats", b""),
        (b"GET /api/kaltura/video/1_cats/details", b""),
        (b"GET /api/kaltura/videos?pageSize=1", b""),
        (b"GET /api/kaltura/videos/search?query=a", b""),
        (b"POST /api/kaltura/session", b'{"videoId": "1_cats"}'),
        (b"POST /api/kaltura/video/1_cats/play", b"{}"),
    ]
)


def test_any_answer_of_the_gateway_makes_an_answer(tmp_path: Path) -> None:
    """It is mapped, or told as an error in the error's shape: never a 500, never a byte that is no JSON."""

    async def ask(stage: Stage, crashed: list[Event], call: tuple[bytes, bytes], says: bytes) -> None:
        stage.gateway_says = says
        start, body = call
        fields = [b"Content-Type: application/json", b"Content-Length: %d" % len(body)] if body else []
        got = await stage.ask(start, *fields, body=body)
        content = json.loads(got.body)
        assert crashed == []
        assert got.status in {200, 400, 404, 413, 502, 503, 504}
        assert got.one("Set-Cookie") is None
        if got.status == 200:
            assert isinstance(content, dict)
            assert content
        else:
            assert set(content) == {"error", "message", "code", "requestId"}

    with staged(tmp_path) as (stage, crashed, do):

        @settings(max_examples=150)
        @given(call=CALLS, says=answers())
        def holds(call: tuple[bytes, bytes], says: bytes) -> None:
            do(ask(stage, crashed, call, says))

        holds()


@pytest.mark.parametrize("start", [b"GET /x", b"HEAD /x", b"POST /api/token"])
def test_any_answer_of_the_activity_server_passes_or_is_a_502(start: bytes, tmp_path: Path) -> None:
    """What is HTTP passes; what is none is a 502, or breaks off where an answer has begun."""

    async def ask(stage: Stage, crashed: list[Event], says: bytes) -> None:
        stage.activity_says = says
        statuses, got = await stage.answers(
            start + b" HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
        assert crashed == []
        assert statuses, got
        assert b'"code":"internal' not in got
        head = got.partition(b"\r\n\r\n")[0]
        assert not {b"\0", b"\r"} & {bytes([c]) for c in head.replace(b"\r\n", b"")}

    with staged(tmp_path) as (stage, crashed, do):

        @settings(max_examples=100)
        @given(says=answers())
        def holds(says: bytes) -> None:
            do(ask(stage, crashed, says))

        holds()
