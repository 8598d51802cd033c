"""What a gateway is told of a client, what a hostile one can do, and what is kept of it."""

import gzip
import json
import resource
import socket
import zlib
from pathlib import Path
from typing import Any

import pytest

from proxy.addresses import BELIEVED
from proxy.origin import KEEP
from proxy.wire import MAX_ANSWER
from tests.gateway_fakes import http
from tests.hostile import OK, TOKEN, VIDEO, Stage, attacked
from tests.origins import answering

VIDEO_PATH = b"/api/kaltura/video/1_cats"
CLIENTS_OWN = [
    b"Authorization: Bearer of-the-client",
    b"Cookie: session=of-the-client",
    b"Proxy-Authorization: Basic of-the-client",
    b"Activity-Proxy-Source: of-the-client",
    b"X-Forwarded-For: of-the-client",
    b"X-Own: of-the-client",
    b"User-Agent: of-the-client",
    b"Referer: of-the-client",
    b"Accept-Language: of-the-client",
]
SESSION = json.dumps({"videoId": "1_cats", "userId": "u"}).encode()


def posting(body: bytes) -> list[bytes]:
    """Return the fields of a JSON body."""
    return [b"Content-Type: application/json", b"Content-Length: %d" % len(body)]


async def code(stage: Stage, *, path: bytes = VIDEO_PATH) -> tuple[int, str | None]:
    """Ask for a video and return the status, and the code of an error."""
    got = await stage.ask(b"GET " + path)
    return got.status, json.loads(got.body).get("code")


@pytest.mark.parametrize(
    ("start", "body"),
    [
        (b"GET " + VIDEO_PATH, b""),
        (b"GET /api/kaltura/videos?page=2", b""),
        (b"POST /api/kaltura/session", SESSION),
    ],
)
async def test_the_gateway_is_told_nothing_of_the_client(start: bytes, body: bytes, tmp_path: Path) -> None:
    """Whatever fields a client sends, the gateway gets the sidecar's own: its token and an id."""
    async with attacked(tmp_path) as stage:
        await stage.ask(start, *CLIENTS_OWN, *posting(body), body=body)
        (message,) = stage.gateway.received
    names = {name.lower() for name, _ in message.fields}
    assert names - {b"content-length", b"content-type", b"accept-encoding"} == {
        b"accept",
        b"authorization",
        b"host",
        b"user-agent",
        b"x-request-id",
    }
    assert message.one("Authorization") == b"Bearer " + TOKEN.encode()
    assert not any(b"of-the-client" in value for _, value in message.fields)


async def test_an_id_of_a_request_cannot_carry_fields(tmp_path: Path) -> None:
    """A request id that is no plain word is replaced, towards the gateway and back."""
    async with attacked(tmp_path) as stage:
        got = await stage.ask(b"GET " + VIDEO_PATH, b"X-Request-Id: a\tb; c=%0d%0aX: y")
        (message,) = stage.gateway.received
    assert got.one("X-Request-Id") == message.one("X-Request-Id")
    assert (got.one("X-Request-Id") or b"").isalnum()


@pytest.mark.parametrize(
    "query", [b"%0d%0aX-Evil:%201", b"a%00b", b"%0d%0a%0d%0aGET%20/evil%20HTTP/1.1", b"a&b=c#d"]
)
async def test_line_ends_in_values_stay_values(query: bytes, tmp_path: Path) -> None:
    """What a client searches for reaches the gateway as one escaped value of one request."""
    async with attacked(tmp_path) as stage:
        stage.gateway_says = http(200, {"videos": []})
        await stage.ask(
            b"GET /api/kaltura/videos/search?query=" + query.replace(b"#", b"%23").replace(b"&", b"%26")
        )
        (message,) = stage.gateway.received
    path, _, rest = message.target.partition(b"?")
    assert (path, [pair.partition(b"=")[0] for pair in rest.split(b"&")]) == (
        b"/api/videos/search",
        [b"q", b"limit", b"page"],
    )
    assert message.one("X-Evil") is None


async def test_a_gateways_cookie_and_fields_reach_nobody(tmp_path: Path) -> None:
    """Neither the client whose call it was, nor the one who gets the kept answer."""
    said = {"Set_Cookie": "gateway-session=1", "X_Internal": "10.0.0.1", "Location": "http://evil.example/"}
    async with attacked(tmp_path) as stage:
        stage.gateway_says = http(200, json.loads(VIDEO.partition(b"\r\n\r\n")[2]), **said)
        first = await stage.ask(b"GET " + VIDEO_PATH)
        second = await stage.ask(b"GET " + VIDEO_PATH)
        assert len(stage.gateway.received) == 1
    assert [got.one("Activity-Proxy-Source") for got in (first, second)] == [b"gateway", b"cache"]
    for got in (first, second):
        assert [got.one(name) for name in ("Set-Cookie", "X-Internal", "Location")] == [None] * 3


async def test_line_ends_in_an_answer_make_no_field(tmp_path: Path) -> None:
    """A gateway's texts are JSON in the body; no field of an answer is made of them."""
    evil = "a\r\nSet-Cookie: evil=1\r\n\r\nHTTP/1.1 200 OK\r\n\r\n<script>"
    async with attacked(tmp_path) as stage:
        stage.gateway_says = http(200, {"video": {"id": "1_cats", "title": evil}})
        good = await stage.ask(b"GET " + VIDEO_PATH)
        stage.gateway_says = http(400, {"error": evil})
        bad = await stage.ask(b"GET /api/kaltura/video/1_dogs")
        stage.gateway_says = http(503, {"error": evil}, Retry_After="9")
        away = await stage.ask(b"POST /api/kaltura/session", *posting(SESSION), body=SESSION)
    assert (json.loads(good.body)["title"], json.loads(bad.body)["error"]) == (evil, evil[:200])
    for got in (good, bad, away):
        assert got.one("Set-Cookie") is None
        assert (got.one("Content-Type") or b"").startswith(b"application/json")


@pytest.mark.parametrize("upstream", ["activity", "gateway"])
async def test_a_second_answer_is_nobodys(upstream: str, tmp_path: Path) -> None:
    """What an upstream sends behind its answer is not taken for the answer to the next request."""
    asked = b"GET /x" if upstream == "activity" else b"POST " + VIDEO_PATH + b"/play"
    good = OK if upstream == "activity" else http(200, {"playUrl": "http://play.example/"})
    async with attacked(tmp_path) as stage:
        setattr(stage, f"{upstream}_says", good + http(200, {"playUrl": "http://evil.example/", "x": "evil"}))
        answers = [await stage.ask(asked) for _ in range(3)]
    assert {got.status for got in answers} <= {200, 502}
    assert not any(b"evil" in got.body for got in answers)


@pytest.mark.parametrize(
    "field",
    [
        b"X-Forwarded-Host: evil.example",
        b"X-Original-URL: /api/kaltura/video/1_dogs",
        b"X-HTTP-Method-Override: POST",
        b"Accept-Language: tlh",
        b"Accept: text/html",
        b"Origin: https://evil.example",
        b"Cookie: a=b",
        b"Range: bytes=0-1",
        b"Cache-Control: max-age=0",
    ],
)
async def test_what_is_no_part_of_the_key_changes_no_answer(field: bytes, tmp_path: Path) -> None:
    """Nobody can have an answer kept for others that differs from what they would have got."""
    async with attacked(tmp_path) as stage:
        odd = await stage.ask(b"GET " + VIDEO_PATH + b"?callback=evil&videoId=1_dogs", field)
        plain = await stage.ask(b"GET " + VIDEO_PATH)
        (message,) = stage.gateway.received
    assert (odd.status, odd.body) == (plain.status, plain.body)
    assert plain.one("Activity-Proxy-Source") == b"cache"
    assert message.target == b"/api/videos/1_cats"


@pytest.mark.parametrize("wbits", [31, 15, -15])
async def test_a_bomb_is_not_unfolded(wbits: int, tmp_path: Path) -> None:
    """A compressed answer is read up to the limit of what it unfolds to, and no further."""
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    nothing = bytes(1_000_000)
    bomb = b"".join(packer.compress(nothing) for _ in range(200)) + packer.flush()
    assert len(bomb) < MAX_ANSWER
    coding = "gzip" if wbits == 31 else "deflate"
    async with attacked(tmp_path) as stage:
        stage.gateway_says = http(200, bomb, Content_Encoding=coding)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert await code(stage, path=VIDEO_PATH + b"x/details") == (502, "gateway_unusable_answer")
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 10 * MAX_ANSWER // 1024


async def test_a_bomb_in_a_bomb_is_not_unfolded(tmp_path: Path) -> None:
    """Codings on codings are no answer."""
    bomb = gzip.compress(gzip.compress(bytes(1_000_000)))
    async with attacked(tmp_path) as stage:
        stage.gateway_says = http(200, bomb, Content_Encoding="gzip, gzip")
        assert await code(stage, path=VIDEO_PATH + b"/details") == (502, "gateway_unusable_answer")


DEEP = b"[" * 100_000 + b"]" * 100_000
ODD: dict[str, bytes] = {
    "deep": DEEP,
    "deep video": b'{"video":{"id":"a","title":"b","userId":' + DEEP + b"}}",
    "deep within limits": b'{"video":{"id":"a","title":"b","partnerId":' + b"[" * 1000 + b"]" * 1000 + b"}}",
    "huge integer": b'{"video":{"id":"a","title":"b","duration":' + b"9" * 5000 + b"}}",
    "huge float": b'{"video":{"id":"a","title":"b","duration":1e999}}',
    "huge": b'{"video":{"id":"a","title":"' + b"x" * MAX_ANSWER + b'"}}',
    "not a number": b'{"video":{"id":"a","title":"b","duration":NaN}}',
    "lone surrogate": b'{"video":{"id":"a","title":"\\ud800"}}',
    "not UTF-8": b'{"video":{"id":"a","title":"\xff"}}',
    "cut short": VIDEO.partition(b"\r\n\r\n")[2][:-1],
    "twice": VIDEO.partition(b"\r\n\r\n")[2] * 2,
}


@pytest.mark.parametrize("content", ODD.values(), ids=ODD.keys())
async def test_monstrous_json_is_the_gateways_failure(content: bytes, tmp_path: Path) -> None:
    """Depth, size and numbers beyond what can be read or written are an unusable answer, not a crash."""
    async with attacked(tmp_path) as stage:
        stage.gateway_says = http(200, content)
        assert await code(stage, path=VIDEO_PATH + b"/details") == (502, "gateway_unusable_answer")


@pytest.mark.parametrize("number", [b"18446744073709551616", b"1e308", b"-0.0", b"1e-400"])
async def test_large_numbers_are_numbers(number: bytes, tmp_path: Path) -> None:
    """What JSON can say comes through as a number, as near as a double is."""
    async with attacked(tmp_path) as stage:
        stage.gateway_says = http(200, b'{"video":{"id":"a","title":"b","views":' + number + b"}}")
        got = await stage.ask(b"GET " + VIDEO_PATH + b"/details")
    assert json.loads(got.body)["views"] == float(number)


@pytest.mark.parametrize(
    "body",
    [
        DEEP,
        b'{"videoId":' + DEEP + b"}",
        b'{"videoId":' + b"9" * 5000 + b"}",
        b'{"videoId":1e999}',
        b'{"videoId":"\\ud800"}',
    ],
)
async def test_monstrous_json_is_the_clients_mistake(body: bytes, tmp_path: Path) -> None:
    """A client's body that cannot be read is a 400, and reaches nobody."""
    async with attacked(tmp_path) as stage:
        await stage.refused(
            b"POST /api/kaltura/session HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
            + b"".join(field + b"\r\n" for field in posting(body))
            + b"\r\n"
            + body
        )


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_gateways_redirect_is_not_followed(status: int, tmp_path: Path) -> None:
    """It would carry the token elsewhere, and make the sidecar ask whom the gateway names."""
    async with answering(OK) as elsewhere, attacked(tmp_path) as stage:
        stage.gateway_says = http(status, b"", Location=str(elsewhere.url))
        got = await stage.ask(b"GET " + VIDEO_PATH + b"/details")
        assert (got.status, got.one("Location"), elsewhere.received) == (502, None, [])


async def test_an_address_in_an_answer_is_not_fetched(tmp_path: Path) -> None:
    """A play URL is handed on as the text that it is."""
    async with answering(OK) as elsewhere, attacked(tmp_path) as stage:
        stage.gateway_says = http(200, {"playUrl": str(elsewhere.url), "video": {}})
        got = await stage.ask(b"POST " + VIDEO_PATH + b"/play")
        assert json.loads(got.body) == {"playUrl": str(elsewhere.url)}
        assert elsewhere.connections == 0


async def test_a_name_that_resolves_anew_is_followed_and_no_client_chooses_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each new connection asks for the configured name, and for no other, whatever Host and target say."""
    asked: list[object] = []
    original = socket.getaddrinfo

    def looking_up(host: Any, *args: Any, **kw: Any) -> Any:
        asked.append(host)
        return original("127.0.0.1" if host == "gateway.test" else host, *args, **kw)

    monkeypatch.setattr(socket, "getaddrinfo", looking_up)
    async with answering(VIDEO) as there:
        text = (
            f"gateway: {{url: 'http://gateway.test:{there.url.port}/api', dialect: plan, token: {TOKEN},"
            " retry: {attempts: 1}}"
        )
        async with attacked(tmp_path, text) as stage:
            host = b"GET http://evil.example" + VIDEO_PATH
            sent = host + b" HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
            statuses, _ = await stage.answers(sent)
            assert (statuses, [message.one("Host") for message in there.received]) == (
                [200],
                [b"gateway.test:%d" % (there.url.port or 0)],
            )
    assert "gateway.test" in asked
    assert "evil.example" not in asked


async def test_a_name_is_looked_up_again_soon() -> None:
    """An address is believed for 10 seconds and a connection is kept for 4: a moved service is found."""
    assert BELIEVED <= 10
    assert KEEP <= 4
