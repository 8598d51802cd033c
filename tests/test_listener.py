"""Which way a request goes, what the sources are told of it, and what the client reads."""

from collections.abc import Sequence

import pytest
from aiohttp import web

from proxy.call import Answer, Failure, FailureKind, Subject
from proxy.headers import Field
from proxy.provenance import open_to_all, provenance
from tests.listener_fakes import SUBJECT, Recorded, listening
from tests.tables import routes

VIDEO = "/api/kaltura/video/1_cats"
FIELDS = {True: open_to_all, False: provenance}
AWAY = Failure("gateway", FailureKind.UNREACHABLE, "no connection")


@pytest.mark.parametrize(
    ("method", "target", "name", "values"),
    [
        ("GET", VIDEO, "video", {"videoId": "1_cats"}),
        ("GET", f"/.proxy{VIDEO}", "video", {"videoId": "1_cats"}),
        ("GET", f"{VIDEO}/", "video", {"videoId": "1_cats"}),
        ("GET", "/API/kaltura/Video/1_cats", "video", {"videoId": "1_cats"}),
        ("GET", "/api/kaltura/video/1%5Fcats", "video", {"videoId": "1_cats"}),
        ("GET", f"{VIDEO}/details", "details", {"videoId": "1_cats"}),
        ("GET", "/api/kaltura/videos", "videos", {"page": 1, "pageSize": 30}),
        ("GET", "/api/kaltura/videos?page=2&pageSize=3", "videos", {"page": 2, "pageSize": 3}),
        (
            "GET",
            "/.proxy/api/kaltura/videos/search?query=a%20b+c",
            "search",
            {"query": "a b c", "page": 1, "pageSize": 30},
        ),
        ("POST", f"{VIDEO}/play", "play", {"videoId": "1_cats"}),
        ("POST", "/api/token", "token", {}),
    ],
)
async def test_a_rewritten_call_finds_its_route(
    method: str, target: str, name: str, values: dict[str, object]
) -> None:
    """Each of the seven calls, with Discord's prefix or without, becomes a call of its route."""
    async with listening() as it:
        got = await it.send(method, target)
        ended = await it.ended()
    assert got.status == 200
    assert (it.source.call.route.name, it.source.call.values) == (name, values)
    assert not it.passed.targets
    assert (ended.route, ended.source, ended.target) == (name, "gateway", target)


@pytest.mark.parametrize(
    ("method", "target", "passed"),
    [
        ("GET", "/", "/"),
        ("GET", "/.proxy/", "/"),
        ("GET", "/.proxy", "/"),
        ("GET", "/.proxy?a=b", "/?a=b"),
        ("GET", "/.proxy/assets/x%2Fy.js?v=%41", "/assets/x%2Fy.js?v=%41"),
        ("GET", "/.proxyX", "/.proxyX"),
        ("GET", "//a/../b", "//a/../b"),
        ("OPTIONS", VIDEO, VIDEO),
        ("DELETE", VIDEO, VIDEO),
        ("GET", "/api/token", "/api/token"),
        ("GET", "/api/health", "/api/health"),
        ("QUERY", VIDEO, VIDEO),
    ],
)
async def test_anything_else_passes_through(method: str, target: str, passed: str) -> None:
    """What is no rewritten call goes on with its raw target, less Discord's prefix."""
    async with listening() as it:
        got = await it.send(method, target)
        ended = await it.ended()
    assert got.status == 204
    assert it.passed.targets == [passed]
    assert not it.source.calls
    assert (ended.route, ended.source, ended.status, ended.method) == ("pass", "activity", 204, method)


@pytest.mark.parametrize(
    "target",
    [
        "/api/kaltura//videos",
        "/api/kaltura/video/1_cats%2Fplay",
        "/api/x/../kaltura/videos",
        "/api/%2e%2e/api/kaltura/videos",
        "/api\\kaltura\\videos",
        "/.proxy//api/kaltura/videos",
    ],
)
async def test_an_ambiguous_path_is_refused(target: str) -> None:
    """A path that is a rewritten call in one reading and not in another goes nowhere."""
    async with listening() as it:
        assert await it.refused("GET", target) == (400, "ambiguous_path")
        ended = await it.ended()
    assert not it.passed.targets
    assert not it.source.calls
    assert (ended.route, ended.source, ended.status) == ("none", "error", 400)


@pytest.mark.parametrize("target", [b"GET ftp://x/api", b"OPTIONS *", b"GET /a#b", b"GET x:1"])
async def test_a_target_that_is_no_path_is_refused(target: bytes) -> None:
    """Targets in another form than a path are answered with an error, not passed on."""
    async with listening() as it:
        got = await it.raw(target)
    assert got.status == 400
    assert not it.passed.targets
    assert not it.source.calls


async def test_an_absolute_target_counts_by_its_path() -> None:
    """A proxy's way of writing a target is read as the path in it."""
    async with listening() as it:
        got = await it.raw(b"GET http://activity.example/api/kaltura/video/1_cats")
    assert got.status == 200
    assert it.source.call.values == {"videoId": "1_cats"}


async def test_a_source_is_told_all_of_the_request() -> None:
    """A call carries the subject, the deadline, and the client's own request for who passes it on."""
    async with listening() as it:
        body = b'{"videoId":"1_cats","x":1}'
        headers = {"Content-Type": "application/json", "X-Odd": "caf\xe9", "X-Request-Id": "abc"}
        await it.send("POST", "/.proxy/api/kaltura/session?a=%41", data=body, headers=headers)
    call = it.source.call
    assert call.values == {"videoId": "1_cats", "userId": "anonymous"}
    assert (call.subject, call.deadline, call.request_id) == (SUBJECT, 8.0, "abc")
    request = call.request
    assert (request.method, request.target) == ("POST", "/api/kaltura/session?a=%41")
    assert request.body == body
    assert (b"X-Odd", "caf\xe9".encode()) in request.fields
    assert (request.hop.peer, request.hop.scheme, request.hop.version) == ("127.0.0.1", "http", "1.1")
    assert request.hop.host == f"127.0.0.1:{it.port}"


@pytest.mark.parametrize("given", ["a", "0d4f-1_B.c:d", "x" * 128])
async def test_a_well_formed_request_id_is_taken_over(given: str) -> None:
    """The client's own id goes to the sources, to the log, and back."""
    async with listening() as it:
        got = await it.send("GET", VIDEO, headers={"X-Request-Id": given})
        ended = await it.ended()
    assert got.headers["X-Request-Id"] == it.source.call.request_id == ended.request_id == given


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, 'a"b', "ä", "<script>", "a,b"])
async def test_any_other_request_id_is_replaced(given: str) -> None:
    """An id that could upset a log or a header is not taken over."""
    async with listening() as it:
        got = await it.send("GET", VIDEO, headers={"X-Request-Id": given})
    assert got.headers["X-Request-Id"] == it.source.call.request_id == "0" * 32


async def test_made_ids_differ() -> None:
    """Two requests without an id have two."""
    async with listening() as it:
        first, second = [await it.send("GET", VIDEO) for _ in range(2)]
    assert first.headers["X-Request-Id"] != second.headers["X-Request-Id"]


async def test_the_answer_says_where_it_is_from() -> None:
    """A stand-in's headers name it and what failed before, and it is not to be kept."""
    source = Recorded(Answer(200, b"{}", "canned", failures=(AWAY,)))
    async with listening(source) as it:
        got = await it.send("GET", VIDEO)
        ended = await it.ended()
    assert got.headers["Activity-Proxy-Source"] == "canned"
    assert got.headers["Cache-Status"] == "activity-proxy; fwd=bypass"
    assert got.headers["Cache-Control"] == "no-store"
    assert got.headers["Proxy-Status"] == (
        'activity-proxy; next-hop=gateway; error=destination_unavailable; details="no connection"'
    )
    assert "Access-Control-Allow-Origin" not in got.headers
    assert "Server" not in got.headers
    assert (ended.source, ended.failures, ended.bytes_sent) == ("canned", (AWAY,), 2)


async def test_an_honest_error_says_what_failed() -> None:
    """An answer of nobody's counts as an error of our own, with what failed before."""
    source = Recorded(Answer(503, b'{"error":"x"}', None, headers=(("Retry-After", "5"),), failures=(AWAY,)))
    async with listening(source) as it:
        got = await it.send("GET", VIDEO)
        ended = await it.ended()
    assert (got.status, got.headers["Retry-After"]) == (503, "5")
    assert "next-hop=gateway" in got.headers["Proxy-Status"]
    assert "Activity-Proxy-Source" not in got.headers
    assert (ended.status, ended.source, ended.failures) == (503, "error", (AWAY,))


@pytest.mark.parametrize("mode", [True, False])
async def test_only_development_is_open_to_all_origins(mode: bool) -> None:
    """In development every answer may be read by any page, errors too; in production none says so."""
    async with listening(fields=FIELDS[mode]) as it:
        for target in (VIDEO, "/api/kaltura/videos/search", "/api//kaltura/videos"):
            got = await it.raw(b"GET " + target.encode())
            assert got.one("Access-Control-Allow-Origin") == (b"*" if mode else None)


async def test_the_activity_servers_own_openness_is_said_once() -> None:
    """A relayed answer that is open already says so once; in production it stays as it came."""
    source = Recorded(Answer(200, b"{}", "activity", headers=(("access-control-allow-origin", "https://x"),)))
    for mode, said in ((True, b"*"), (False, b"https://x")):
        async with listening(source, fields=FIELDS[mode]) as it:
            assert (await it.raw(b"POST /api/token")).one("Access-Control-Allow-Origin") == said


async def test_a_head_has_no_body() -> None:
    """HEAD on a GET route is the same answer without its body."""
    async with listening() as it:
        got = await it.raw(b"HEAD " + VIDEO.encode(), b"Connection: close")
        ended = await it.ended()
    assert got.status == 200
    assert got.one("Content-Length") == b"15"
    assert got.one("Activity-Proxy-Source") == b"gateway"
    assert got.body == b""
    assert (ended.method, ended.route, ended.bytes_sent) == ("HEAD", "video", 0)
    assert it.source.call.request.method == "HEAD"


@pytest.mark.parametrize(
    ("method", "target", "error"),
    [
        ("GET", "/api/kaltura/videos/search", "query parameter is required"),
        ("GET", "/api/kaltura/video/a.b", "videoId is not valid"),
        ("POST", "/api/kaltura/session", "videoId is required"),
    ],
)
async def test_input_is_checked_before_anyone_is_asked(method: str, target: str, error: str) -> None:
    """A request that is not valid is answered at once, in the words of the Activity server."""
    async with listening() as it:
        got = await it.send(method, target)
        ended = await it.ended()
    assert (got.status, got.json()["error"], got.json()["code"]) == (400, error, "invalid_request")
    assert not it.source.calls
    assert (ended.status, ended.source, ended.bytes_sent) == (400, "error", len(got.body))
    assert ended.route in {"search", "video", "session"}


async def test_the_route_in_force_is_used() -> None:
    """The route is looked up for each request anew, since `auto` may have settled on another one."""
    tables = [routes("plan"), routes("newer")]
    async with listening(route=lambda name: tables.pop(0)[name]) as it:
        for _ in range(2):
            await it.send("POST", "/api/kaltura/session", json={"videoId": "1_cats"})
    assert [call.route for call in it.source.calls] == [
        routes("plan")["session"],
        routes("newer")["session"],
    ]


async def test_the_clients_address_is_the_believed_one() -> None:
    """The access line has the address that is given for the request."""

    def address(request: web.BaseRequest) -> str:
        return request.headers["X-Forwarded-For"]

    async with listening(client_address=address) as it:
        await it.send("GET", VIDEO, headers={"X-Forwarded-For": "1.2.3.4"})
        ended = await it.ended()
    assert ended.client == "1.2.3.4"


async def test_who_calls_is_found_out_for_users_routes_only() -> None:
    """By the fields as they came; a call of the service's does not wait for it."""
    asked: list[Sequence[Field]] = []
    alice = Subject("user", "80351110224678912", "Alice")

    async def recognise(fields: Sequence[Field]) -> Subject:
        asked.append(fields)
        return alice

    async with listening(recognise=recognise) as it:
        shown = {"Authorization": "Bearer t0ken"}
        await it.send("GET", VIDEO, headers=shown)
        assert asked == []
        assert it.source.call.subject == SUBJECT
        it.source.calls.clear()
        await it.send("POST", "/api/kaltura/video/1_cats/play", headers=shown)
        assert it.source.call.subject == alice
        ((name, value),) = [field for field in asked[0] if field[0] == b"Authorization"]
        assert (name, value) == (b"Authorization", b"Bearer t0ken")


async def test_an_answer_without_a_body_has_no_type() -> None:
    """A 204 is nobody's answer and no error, and says nothing of a body that it does not have."""
    async with listening(Recorded(Answer(204, b"", None))) as it:
        got = await it.send("POST", "/api/token")
        ended = await it.ended()
    assert (got.status, got.body) == (204, b"")
    assert "Content-Type" not in got.headers
    assert (ended.status, ended.source) == (204, "none")
