"""TLS towards the gateway, the Activity server, Discord and Kaltura, on real sockets."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from proxy.configuration import Configuration, load
from proxy.probe import probe
from proxy.tls import TlsFiles, server_context
from tests.certificates import Authority
from tests.origins import Origin, Reader, Writer, client, raw_origin, read_head
from tests.running import watched
from tests.tunnels import ASK, SWITCH

VIDEO = "/api/kaltura/video/1_abc"
BODIES = {
    b"/api/videos/1_abc": b'{"video": {"id": "1_abc", "title": "Cats", "duration": 1}}',
    b"/discord/users/@me": b'{"id": "80351110224678912", "username": "nelly"}',
    b"/api_v3/service/session/action/start": b'"ks"',
}


@dataclass
class Servers:
    """A server that speaks TLS and stands for all three, and what clients showed it."""

    origin: Origin
    authority: Authority
    shown: list[object] = field(default_factory=list)
    asked: list[bytes] = field(default_factory=list)


@asynccontextmanager
async def secured(folder: Path, name: str = "127.0.0.1", *, asking: bool = False) -> AsyncIterator[Servers]:
    """Run the server with a certificate for that name; `asking` for one of its clients' too."""
    authority = Authority(folder)
    certificate, key = authority.issue(name)
    context = server_context(TlsFiles(authority.file if asking else None, certificate, key).read())

    async def serve(reader: Reader, writer: Writer) -> None:
        servers.shown.append(writer.get_extra_info("peercert"))
        while True:
            asked = await read_head(reader)
            if asked.one("Upgrade"):
                writer.write(SWITCH)
                while data := await reader.read(65536):
                    writer.write(data)
                return
            servers.asked.append(asked.target)
            length = int(asked.one("Content-Length") or 0)
            await reader.readexactly(length)
            body = BODIES.get(asked.target, b'{"access_token":"t"}')
            head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            writer.write(head % len(body) + body)

    async with raw_origin(serve, context) as origin:
        servers = Servers(origin, authority)
        yield servers


def configured(folder: Path, servers: Servers, tls: str, *, host: str = "127.0.0.1") -> Configuration:
    """A configuration whose servers are all that one, with `tls` in each section."""
    base = f"https://{host}:{servers.origin.url.port}"
    (folder / "proxy.yaml").write_text(
        f"mode: live\n"
        f"gateway:\n"
        f"  {{url: '{base}/api', dialect: plan, token: fixed, retry: {{attempts: 1}}, tls: {{{tls}}}}}\n"
        f"identity: {{discord_url: '{base}/discord', tls: {{{tls}}}}}\n"
        f"activity: {{url: '{base}', tls: {{{tls}}}}}\n"
    )
    return load(folder / "proxy.yaml", {}, listen="127.0.0.1:0", admin="127.0.0.1:0")


async def test_a_private_authority_is_believed(tmp_path: Path) -> None:
    """By calls of the gateway and of Discord, what passes through, and the Activity server's own calls."""
    async with secured(tmp_path) as servers:
        configuration = configured(tmp_path, servers, f"ca: {servers.authority.file.name}")
        async with watched(configuration) as (_, viewer):
            video = await viewer.ask("GET", VIDEO)
            passed = await viewer.ask("GET", "/anything")
            token = await viewer.ask("POST", "/api/token", {"code": "c"})
    assert (video.status, video.source, video.json["title"]) == (200, "gateway", "Cats")
    assert (passed.status, token.status) == (200, 200)
    assert passed.json["access_token"] == token.json["access_token"] == "t"
    assert servers.asked[:4] == [b"/api/videos/1_abc", b"/anything", b"/api/token", b"/discord/users/@me"]


async def test_a_websocket_passes_through_tls(tmp_path: Path) -> None:
    """To the byte, both ways, and its end with it."""
    async with secured(tmp_path) as servers:
        configuration = configured(tmp_path, servers, f"ca: {servers.authority.file.name}")
        async with watched(configuration) as (sidecar, _), client(sidecar.listen.port) as (reader, writer):
            writer.write(ASK)
            assert (await read_head(reader)).status == 101
            sent = b"\x82\x7e\xff\xff" + bytes(range(256)) * 255 + bytes(255)
            writer.write(sent)
            assert await reader.readexactly(len(sent)) == sent


@pytest.mark.parametrize("mistake", ["unknown", "system", "name"])
async def test_who_cannot_be_verified_is_not_called(
    tmp_path: Path, mistake: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Another authority's certificate, a private one's by default, or another name's: an honest error."""
    async with secured(tmp_path, "other.example" if mistake == "name" else "127.0.0.1") as servers:
        ca = Authority(tmp_path) if mistake == "unknown" else servers.authority
        tls = "" if mistake == "system" else f"ca: {ca.file.name}"
        async with watched(configured(tmp_path, servers, tls)) as (_, viewer):
            video = await viewer.ask("GET", VIDEO)
            passed = await viewer.ask("GET", "/anything")
            token = await viewer.ask("POST", "/api/token", {"code": "c"})
    assert (video.status, video.json["code"]) == (503, "gateway_unreachable")
    assert (passed.status, passed.json["code"]) == (502, "activity_unreachable")
    assert token.status in (502, 503)
    told = {str(getattr(record, "fields", "")) for record in caplog.records}
    words = "IP address mismatch" if mistake == "name" else "unable to get local issuer certificate"
    assert any(f"no TLS connection: certificate verify failed: {words}" in text for text in told)
    assert any("(tls)" in text for text in told)
    assert servers.origin.received == []


async def test_a_server_that_asks_gets_the_clients_certificate(tmp_path: Path) -> None:
    """And one that has none to show gets nowhere."""
    async with secured(tmp_path, asking=True) as servers:
        servers.authority.issue("sidecar.example", stem="ours")
        ca = f"ca: {servers.authority.file.name}"
        with_ours = configured(tmp_path, servers, f"{ca}, certificate: ours.pem, key: ours.key")
        async with watched(with_ours) as (_, viewer):
            assert (await viewer.ask("GET", VIDEO)).status == 200
            assert (await viewer.ask("GET", "/anything")).status == 200
        assert len(servers.shown) == 2
        assert all("sidecar.example" in str(shown) for shown in servers.shown)
        async with watched(configured(tmp_path, servers, ca)) as (_, viewer):
            assert (await viewer.ask("GET", VIDEO)).status == 503
            assert (await viewer.ask("GET", "/anything")).status == 502


async def test_a_probe_verifies_as_the_sidecar_does(tmp_path: Path) -> None:
    """With the authority that is configured it asks, without it it cannot."""
    async with secured(tmp_path) as servers:
        for tls, found in ((f"ca: {servers.authority.file.name}", True), ("", False)):
            said: list[str] = []
            await probe(configured(tmp_path, servers, tls), said.append)
            assert ("health     well, says /api/health" in said) is found


async def test_kaltura_is_verified_too(tmp_path: Path) -> None:
    """Its admin secret goes to nobody else."""
    for believed in (True, False):
        async with secured(tmp_path) as servers:
            ca = servers.authority if believed else Authority(tmp_path)
            (tmp_path / "proxy.yaml").write_text(
                f"gateway: {{url: 'http://127.0.0.1:1/api', dialect: plan, token: fixed}}\n"
                f"kaltura: {{enabled: true, partner_id: 1, admin_secret: secret, "
                f"url: '{servers.origin.url}/api_v3', tls: {{ca: {ca.file.name}}}}}\n"
            )
            configuration = load(tmp_path / "proxy.yaml", {}, listen="127.0.0.1:0", admin="127.0.0.1:0")
            async with watched(configuration) as (_, viewer):
                await viewer.ask("GET", VIDEO)
            assert bool(servers.shown) is believed
