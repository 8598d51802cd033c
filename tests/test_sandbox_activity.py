"""The Activity server's stand-in beyond the recordings: tokens, sockets, streams, the page."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession, WSMsgType

from proxy.sandbox import Sandbox
from tests.clocks import FakeClock
from tests.sandbox_client import Client, until


async def test_a_code_becomes_a_discord_token() -> None:
    """A code is exchanged for an answer of Discord's form, another one each time."""
    async with Sandbox() as sandbox:
        client = Client(sandbox.activity_url)
        got = [(await client("POST", "/api/token", json={"code": "abc"})).json() for _ in "12"]
        assert set(got[0]) == {"access_token", "token_type", "expires_in", "scope"}
        assert got[0]["token_type"] == "Bearer"
        assert got[0]["expires_in"] == 604_800
        assert got[0]["access_token"] != got[1]["access_token"]


@pytest.mark.parametrize(
    ("body", "status", "keys"),
    [
        ({}, 400, {"error"}),
        ({"code": ""}, 400, {"error"}),
        ([], 400, {"error"}),
        ({"code": "invalid"}, 500, {"error", "message"}),
        ("text", 500, {"error", "message"}),
    ],
)
async def test_a_bad_code_is_refused(body: object, status: int, keys: set[str]) -> None:
    """A missing code is the caller's fault; one that Discord refuses, and broken JSON, are 500."""
    async with Sandbox() as sandbox:
        got = await Client(sandbox.activity_url)("POST", "/api/token", json=body)
        assert (got.status, set(got.json())) == (status, keys)


@pytest.mark.parametrize(
    ("query", "page", "size"),
    [
        ("page=2abc&pageSize=3.9", 2, 3),
        ("page=0&pageSize=0", 1, 30),
        ("page=%207&pageSize=%2B5", 7, 5),
        ("page=-2&pageSize=", -2, 30),
        ("page=4&page=5", 4, 30),
    ],
)
async def test_numbers_are_read_as_javascript_does(query: str, page: int, size: int) -> None:
    """Leading digits count, and what comes to nothing or zero is the default."""
    async with Sandbox() as sandbox:
        for path in ("videos?", "videos/search?query=a&"):
            got = (await Client(sandbox.activity_url)("GET", f"/api/kaltura/{path}{query}")).json()
            assert (got["page"], got["pageSize"]) == (page, size)


@pytest.mark.parametrize(
    ("sent", "kind", "status", "said"),
    [
        (b"", "application/json", 400, "videoId is required"),
        (b"[1]", "application/json", 400, "videoId is required"),
        (b'{"videoId":"x"}', "text/plain", 400, "videoId is required"),
        (b'"x"', "application/json", 500, "Unexpected token in JSON at position 0"),
        (b'{"a":', "application/json", 500, "Unexpected end of JSON input"),
        (b'{"a" 1}', "application/json", 500, "Unexpected token in JSON at position 5"),
        (b"[" * 50_000, "application/json", 500, "Maximum call stack size exceeded"),
        (b'"' + b"x" * 102_400, "application/json", 500, "request entity too large"),
    ],
)
async def test_bodies_are_read_as_express_does(sent: bytes, kind: str, status: int, said: str) -> None:
    """What is no JSON object is empty if it is none at all, and an error of the server if broken."""
    async with (
        Sandbox() as sandbox,
        ClientSession(headers={"Content-Type": kind}) as session,
        session.post(f"{sandbox.activity_url}/api/kaltura/session", data=sent) as got,
    ):
        answer = await got.json()
        assert (got.status, answer.get("message") or answer["error"]) == (status, said)


async def test_a_body_may_come_in_pieces() -> None:
    """A chunked body is read to its end."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b'{"videoId":'
        yield b'"1_e0000003"}'

    async with (
        Sandbox() as sandbox,
        ClientSession(headers={"Content-Type": "application/json"}) as session,
        session.post(f"{sandbox.activity_url}/api/kaltura/session", data=pieces()) as got,
    ):
        assert (await got.json())["ks"].startswith("mock_ks_1_e0000003_anonymous_")


async def test_the_socket_echoes() -> None:
    """Text and bytes come back as what they were, under the subprotocol and to the close code."""
    async with (
        Sandbox() as sandbox,
        ClientSession() as session,
        session.ws_connect(
            f"{sandbox.activity_url}/ws", protocols=["other", "echo"], max_msg_size=0
        ) as socket,
    ):
        assert socket.protocol == "echo"
        await socket.send_str("hello")
        assert (await socket.receive())[:2] == (WSMsgType.TEXT, "hello")
        await socket.send_bytes(b"\x00" * 5_000_000)
        assert (await socket.receive())[:2] == (WSMsgType.BINARY, b"\x00" * 5_000_000)
        await socket.close(code=4001, message=b"enough")
        assert socket.close_code == 4001


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        (b"\x88\x82abcd\x62\x8a", b"\x88\x02\x03\xe8"),
        (b"\x88\x80abcd", b"\x88\x02\x03\xe8"),
        (b"\x83\x80abcd", b"\x88\x02\x03\xea"),
        (b"", b""),
    ],
    ids=["code", "no code", "no such frame", "gone"],
)
async def test_the_socket_ends_when_its_client_does(sent: bytes, answered: bytes) -> None:
    """A close is answered with one, a broken frame with 1002; a client that goes is let go."""
    async with Sandbox() as sandbox:
        host, port = sandbox.activity_url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(
            b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        writer.write(sent)
        writer.write_eof()
        assert (await reader.read())[:4] == answered
        writer.close()
        await writer.wait_closed()


async def test_events_come_one_by_one_and_end() -> None:
    """The stream sends each event when its time has come, and ends after as many as asked."""
    clock = FakeClock()
    async with (
        Sandbox(clock=clock, event_interval=2) as sandbox,
        ClientSession() as session,
        session.get(f"{sandbox.activity_url}/events?count=2") as got,
    ):
        assert got.content_type == "text/event-stream"
        assert await got.content.readuntil(b"\n\n") == b'id: 1\nevent: tick\ndata: {"n":1}\n\n'
        rest = asyncio.create_task(got.content.read())
        await until(lambda: clock.slept)
        assert not rest.done()
        await clock.advance(2)
        assert await rest == b'id: 2\nevent: tick\ndata: {"n":2}\n\n'
        assert clock.slept == [2]


async def test_a_stream_of_events_is_bounded() -> None:
    """However many are asked for, a thousand is the most and one the least."""
    async with Sandbox(event_interval=0) as sandbox:
        client = Client(sandbox.activity_url)
        for count, events in (("99999999", 1000), ("-5", 1), ("x", 5)):
            got = await client("GET", f"/events?count={count}")
            assert got.body.count(b"event: tick") == events


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html"),
        ("/index.html", "text/html"),
        ("/app.js", "text/javascript"),
        ("/style.css", "text/css"),
    ],
)
async def test_the_page_is_served(path: str, kind: str) -> None:
    """The page and its files have their types, a policy that allows no other source, and tags."""
    async with Sandbox() as sandbox:
        client = Client(sandbox.activity_url)
        got = await client("GET", path)
        assert got.status == 200
        assert got.headers["Content-Type"].startswith(kind)
        assert "default-src 'none'" in got.headers["Content-Security-Policy"]
        known = {"If-None-Match": got.headers["ETag"]}
        assert (await client("GET", path, headers=known)).status == 304
        part = await client("GET", path, headers={"Range": "bytes=0-9"})
        assert (part.status, part.body) == (206, got.body[:10])


async def test_an_answer_that_the_client_has_is_not_sent_again() -> None:
    """A tag that fits is answered with 304 and no body, and so is a HEAD's."""
    async with Sandbox(clock=FakeClock()) as sandbox:
        client = Client(sandbox.activity_url)
        first = await client("GET", "/api/kaltura/videos")
        known = {"If-None-Match": first.headers["ETag"]}
        for method in ("GET", "HEAD"):
            again = await client(method, "/api/kaltura/videos", headers=known)
            assert (again.status, again.body) == (304, b"")
            assert again.headers["ETag"] == first.headers["ETag"]
        refused = await client("GET", "/api/kaltura/videos/search")
        assert refused.status == 400
        known = {"If-None-Match": refused.headers["ETag"]}
        assert (await client("GET", "/api/kaltura/videos/search", headers=known)).status == 400


async def test_any_path_has_options() -> None:
    """OPTIONS is answered with 200 whatever the path, open to every origin."""
    async with Sandbox() as sandbox:
        got = await Client(sandbox.activity_url)("OPTIONS", "/no/such/path")
        assert (got.status, got.body) == (200, b"OK")
        assert got.headers["Access-Control-Allow-Origin"] == "*"


async def test_the_activity_server_can_go_and_come_back() -> None:
    """Off, it refuses connections; on again it is at its old address."""
    async with Sandbox() as sandbox:
        client = Client(sandbox.activity_url)
        await sandbox.activity.offline()
        with pytest.raises(OSError, match="Connect call failed"):
            await client("GET", "/api/health")
        await sandbox.activity.online()
        await sandbox.activity.online()
        assert (await client("GET", "/api/health")).status == 200
