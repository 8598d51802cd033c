"""The admin listener."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from pytest_aiohttp.plugin import AiohttpClient, AiohttpRawServer

from proxy.admin import Admin, is_loopback
from proxy.events import Crashed, Event, RequestEnded, RequestStarted
from proxy.metrics import Metrics
from tests.clocks import FakeClock

TOKEN = "correct-horse"
PAGES = ("/livez", "/readyz", "/metrics", "/status")
Client = TestClient[web.BaseRequest, None]


@dataclass
class World:
    """What the admin listener asks, set by the test, and what it tells."""

    aiohttp_client: AiohttpClient
    aiohttp_raw_server: AiohttpRawServer
    ready: bool = True
    status: Mapping[str, object] = field(default_factory=lambda: {"mode": "auto"})
    clock: FakeClock = field(default_factory=FakeClock)
    events: list[Event] = field(default_factory=list)
    accepts: list[str] = field(default_factory=list)

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """Give metrics that took a while to gather."""
        self.accepts.append(accept)
        self.clock.shift(0.25)
        return b"some_metric 1\n", "text/plain; version=0.0.4"

    def admin(self, *, loopback: bool = True, token: str = "") -> Admin:
        """Make the listener."""
        return Admin(
            ready=lambda: self.ready,
            exposition=self.exposition,
            status=lambda: self.status,
            loopback=loopback,
            clock=self.clock,
            observe=self.events.append,
            admin_token=token,
        )

    async def client(self, *, loopback: bool = True, token: str = "") -> Client:
        """Serve the listener and connect to it."""
        server = await self.aiohttp_raw_server(self.admin(loopback=loopback, token=token))
        return await self.aiohttp_client(server)

    def ended(self) -> RequestEnded:
        """The last request's end."""
        last = self.events[-1]
        assert isinstance(last, RequestEnded)
        return last


@pytest.fixture
def world(aiohttp_client: AiohttpClient, aiohttp_raw_server: AiohttpRawServer) -> World:
    """A listener's surroundings."""
    return World(aiohttp_client, aiohttp_raw_server)


async def code(response: ClientResponse, status: int) -> str:
    """The code of an error in the error shape."""
    assert response.status == status
    body = await response.json()
    assert body.keys() == {"error", "message", "code", "requestId"}
    assert body["requestId"] == response.headers["X-Request-Id"]
    assert isinstance(body["code"], str)
    return body["code"]


async def test_livez(world: World) -> None:
    """The loop turns, so it is alive, ready or not."""
    client = await world.client()
    world.ready = False
    response = await client.get("/livez")
    assert (response.status, await response.text()) == (200, "ok")


async def test_readyz(world: World) -> None:
    """Ready is 200; starting or stopping is 503."""
    client = await world.client()
    assert (await client.get("/readyz")).status == 200
    world.ready = False
    assert (await client.get("/readyz")).status == 503


async def test_metrics_in_the_format_that_is_asked_for(world: World) -> None:
    """The exposition gets all Accept headers, and its content type goes to the client untouched."""
    client = await world.client()
    response = await client.get("/metrics", headers=[("Accept", "a/b"), ("Accept", "c/d")])
    assert await response.read() == b"some_metric 1\n"
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4"
    assert world.accepts == ["a/b,c/d"]


async def test_metrics_of_the_observer(world: World) -> None:
    """The listener's own requests show in the metrics that it serves."""
    metrics = Metrics(CollectorRegistry(), mode="auto", version="1")
    admin = Admin(lambda: True, metrics.exposition, dict, True, world.clock, metrics)
    client: Client = await world.aiohttp_client(await world.aiohttp_raw_server(admin))
    await client.get("/livez")
    text = await (await client.get("/metrics")).text()
    labels = 'method="GET",route="livez",source="admin",status="200"'
    assert f"activity_proxy_requests_total{{{labels}}} 1.0" in text
    assert 'activity_proxy_in_flight{listener="admin"} 1.0' in text


async def test_status_is_json(world: World) -> None:
    """What the status callable gives comes out as JSON, a stage's own mappings and sets included."""
    world.status = MappingProxyType(
        {"breakers": MappingProxyType({"gateway": "open"}), "routes": {"b", "a"}, "who": FakeClock}
    )
    response = await (await world.client()).get("/status")
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    body = await response.json()
    assert body["breakers"] == {"gateway": "open"}
    assert body["routes"] == ["a", "b"]
    assert "FakeClock" in body["who"]


@pytest.mark.parametrize("page", [*PAGES, "/nowhere"])
async def test_every_answer_is_private_and_plain(world: World, page: str) -> None:
    """No answer is kept, sniffed, shared across origins, or tells what software this is."""
    response = await (await world.client()).get(page, headers={"Origin": "http://evil.example"})
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Server"] == "activity-proxy"
    assert not [name for name in response.headers if name.startswith("Access-Control")]


@pytest.mark.parametrize("page", PAGES)
async def test_head_is_get_without_a_body(world: World, page: str) -> None:
    """HEAD says what GET says, its length included, and sends nothing after the headers."""
    client = await world.client()
    got = await client.get(page)
    length = len(await got.read())
    assert world.ended().bytes_sent == length > 0
    head = await client.head(page)
    assert (head.status, await head.read()) == (got.status, b"")
    assert head.headers["Content-Length"] == str(length)
    assert world.ended().bytes_sent == 0


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_other_methods_are_refused(world: World, method: str, page: str) -> None:
    """A page is read, not written: 405 that says what is allowed."""
    response = await (await world.client()).request(method, page, data=b"x")
    assert await code(response, 405) == "method_not_allowed"
    assert response.headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", ["/", "/Status", "/status/", "/livez/x", "/livez//"])
async def test_other_paths_are_not_found(world: World, path: str) -> None:
    """An unknown path is an honest 404 in the error shape."""
    assert await code(await (await world.client()).get(path), 404) == "not_found"


async def test_a_query_changes_nothing(world: World) -> None:
    """A probe may add a query."""
    assert (await (await world.client()).get("/livez?verbose")).status == 200


@pytest.mark.parametrize("token", ["", TOKEN])
@pytest.mark.parametrize("page", ["/livez", "/readyz", "/metrics"])
async def test_probes_and_metrics_are_open_everywhere(world: World, page: str, token: str) -> None:
    """Bound elsewhere, kubelet and Prometheus need no token, whatever name they call."""
    client = await world.client(loopback=False, token=token)
    assert (await client.get(page, headers={"Host": "10.0.0.7:9464"})).status == 200


@pytest.mark.parametrize("path", ["/status", "/nowhere"])
async def test_elsewhere_without_a_token_the_rest_is_off(world: World, path: str) -> None:
    """Bound elsewhere without a token, the rest is off, and the answer says how to switch it on."""
    client = await world.client(loopback=False)
    for headers in ({}, {"Authorization": "Bearer "}, {"Authorization": "Bearer x"}):
        response = await client.get(path, headers=headers)
        assert "admin_token" in (await response.json())["message"]
        assert await code(response, 403) == "admin_off"


@pytest.mark.parametrize(
    "authorization",
    [
        [],
        [""],
        ["Bearer"],
        ["Bearer "],
        ["Bearer wrong"],
        [f"Bearer {TOKEN}x"],
        [f"Bearer {TOKEN[:-1]}"],
        [f"Basic {TOKEN}"],
        [TOKEN],
        ["Bearer ÿ☃"],
        [f"Bearer {TOKEN}", f"Bearer {TOKEN}"],
    ],
)
async def test_elsewhere_a_wrong_token_is_refused(world: World, authorization: list[str]) -> None:
    """Nothing but the one right bearer token opens the rest."""
    client = await world.client(loopback=False, token=TOKEN)
    for path in ("/status", "/nowhere"):
        response = await client.get(path, headers=[("Authorization", a) for a in authorization])
        assert await code(response, 401) == "admin_unauthorized"
        assert response.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER "])
async def test_elsewhere_the_token_opens_the_rest(world: World, scheme: str) -> None:
    """The right token opens the status page, and unknown pages are then unknown."""
    client = await world.client(loopback=False, token=TOKEN)
    headers = {"Authorization": f"{scheme} {TOKEN}", "Host": "sidecar.example"}
    assert (await client.get("/status", headers=headers)).status == 200
    assert await code(await client.get("/nowhere", headers=headers), 404) == "not_found"


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:9464", "localhost.evil.example", "10.0.0.7", "[::1", ""]
)
async def test_on_loopback_a_foreign_host_is_refused(world: World, host: str) -> None:
    """A web page whose name was pointed at this machine reads no status (DNS rebinding)."""
    client = await world.client(token=TOKEN)
    response = await client.get("/status", headers={"Host": host})
    assert await code(response, 403) == "foreign_host"
    assert (await client.get("/livez", headers={"Host": host})).status == 200


@pytest.mark.parametrize(
    "host", ["localhost", "LocalHost:9464", "127.0.0.1:9464", "127.8.0.1", "[::1]:9464", "[::1]"]
)
async def test_on_loopback_everything_is_open(world: World, host: str) -> None:
    """Called by a loopback name or address, the status page wants no token."""
    client = await world.client(token=TOKEN)
    assert (await client.get("/status", headers={"Host": host})).status == 200


async def test_each_request_is_told(world: World) -> None:
    """A request starts and ends once, with its page, time and size."""
    client = await world.client()
    await client.get("/metrics?x=1")
    assert world.events[0] == RequestStarted("admin")
    ended = world.ended()
    assert len(world.events) == 2
    assert (ended.listener, ended.route, ended.source) == ("admin", "metrics", "admin")
    assert (ended.method, ended.status, ended.target) == ("GET", 200, "/metrics?x=1")
    assert (ended.seconds, ended.bytes_sent, ended.client) == (0.25, 14, "127.0.0.1")


@pytest.mark.parametrize("path", ["/nowhere", "/status/1_abc", "/"])
async def test_the_route_is_of_a_closed_set(world: World, path: str) -> None:
    """An unknown path is told as `other`, so that paths make no series."""
    await (await world.client()).get(path)
    assert (world.ended().route, world.ended().status) == ("other", 404)


async def test_a_defect_is_told_and_answered(world: World) -> None:
    """A status that cannot be made is an error in the error shape, without its text, and an event."""
    world.status = {"mode": 2**70}
    response = await (await world.client()).get("/status")
    assert await code(response, 500) == "internal_error"
    assert "Integer" not in await response.text()
    _, crashed, ended = world.events
    assert isinstance(crashed, Crashed)
    assert isinstance(ended, RequestEnded)
    assert (crashed.request_id, ended.status) == (ended.request_id, 500)


async def test_a_client_that_leaves_is_no_error(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A client gone before the answer ends as 499, in flight no more, with nothing in the log."""
    admin = world.admin()
    done = asyncio.Event()

    async def leave(request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        try:
            return await admin(request)
        finally:
            done.set()

    server = await world.aiohttp_raw_server(leave)
    with caplog.at_level(logging.WARNING):
        _, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await done.wait()
        writer.close()
        await server.close()
    assert world.events[0] == RequestStarted("admin")
    assert (world.ended().status, world.ended().bytes_sent) == (499, 0)
    assert not [record for record in caplog.records if record.name.startswith("aiohttp")]


def test_the_token_shows_in_no_repr(world: World) -> None:
    """The listener's repr can be logged."""
    assert TOKEN not in repr(world.admin(token=TOKEN))


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("LOCALHOST.", True),
        ("demo.localhost", True),
        ("127.0.0.1", True),
        ("127.255.0.9", True),
        ("::1", True),
        ("[::1]", True),
        ("::ffff:127.0.0.1", True),
        ("::ffff:10.0.0.1", False),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("10.0.0.7", False),
        ("localhost.example", False),
        ("notlocalhost", False),
        ("127.0.0.1.example", False),
    ],
)
def test_is_loopback(host: str, loopback: bool) -> None:
    """Only what is this machine whatever a name server says is loopback."""
    assert is_loopback(host) is loopback


@given(st.ip_addresses(v=4))
def test_is_loopback_of_any_ipv4_address(address: object) -> None:
    """Every address is judged by its net, with and without brackets."""
    expected = str(address).startswith("127.")
    assert is_loopback(str(address)) is is_loopback(f"[{address}]") is expected
