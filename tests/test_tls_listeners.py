"""TLS on the listeners, and their certificates' renewal under way."""

import asyncio
import errno
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from aiohttp import ClientSession, TCPConnector
from trustme import KeyType

from proxy.certificates import PERIOD, Certificates
from proxy.endpoints import HostPort
from proxy.events import CertificateChanged, Event
from proxy.health import ask
from proxy.run import ready_line
from proxy.sidecar import Sidecar
from proxy.tls import TlsFiles
from tests.certificates import Authority
from tests.clocks import FakeClock
from tests.origins import OK, PATIENCE, answering, client, read_message, request, until
from tests.running import NOWHERE, configured

LISTEN = "listen_tls: {certificate: server.pem, key: server.key}\n"
ADMIN = "admin_tls: {certificate: server.pem, key: server.key}\n"
VIDEO = "/api/kaltura/video/1_abc"
EC, RSA = KeyType.ECDSA, KeyType.RSA


def believing(authority: Authority, own: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    """A client's context, with a certificate of its own or without."""
    context = ssl.create_default_context(cafile=str(authority.file))
    if own is not None:
        context.load_cert_chain(*own)
    return context


@asynccontextmanager
async def serving(
    folder: Path, text: str, *, activity: str = NOWHERE
) -> AsyncIterator[tuple[Sidecar, FakeClock, Authority]]:
    """Run a sidecar with a certificate of a private authority, by a clock of the test's own."""
    authority = Authority(folder)
    authority.ca.cert_pem.write_to_path(folder / "ca.pem")
    authority.issue("127.0.0.1")
    clock = FakeClock()
    configuration = configured(folder, f"mode: offline\n{text}", activity=activity)
    async with Sidecar(configuration, clock=clock, drain=0.0, grace=1.0) as sidecar:
        yield sidecar, clock, authority


@asynccontextmanager
async def asking(context: ssl.SSLContext) -> AsyncIterator[ClientSession]:
    """A client that makes a connection for each request."""
    async with ClientSession(connector=TCPConnector(ssl=context, force_close=True)) as session:
        yield session


async def test_both_listeners_speak_tls(tmp_path: Path) -> None:
    """HTTP/1.1 over TLS 1.2 or newer, each with its own section; the ready line says so."""
    async with (
        serving(tmp_path, LISTEN + ADMIN) as (sidecar, _, authority),
        asking(believing(authority)) as session,
    ):
        async with session.get(f"https://{sidecar.listen}{VIDEO}") as answer:
            assert answer.status == 200
        async with session.get(f"https://{sidecar.admin}/livez") as answer:
            assert answer.status == 200
        assert f"is ready: https://{sidecar.listen} in front" in ready_line(sidecar)
        assert f"admin https://{sidecar.admin}" in ready_line(sidecar)


async def test_one_listener_may_speak_tls_alone(tmp_path: Path) -> None:
    """The other is as it was."""
    async with serving(tmp_path, LISTEN) as (sidecar, _, authority), asking(believing(authority)) as session:
        async with session.get(f"http://{sidecar.admin}/livez") as answer:
            assert answer.status == 200
        with pytest.raises(aiohttp.ClientError):
            await session.get(f"http://{sidecar.listen}{VIDEO}")


@pytest.mark.parametrize(
    ("offered", "spoken", "chosen"),
    [
        (["h2", "http/1.1"], "TLSv1.3", "http/1.1"),
        (["http/1.1"], "TLSv1.2", "http/1.1"),
        ([], "TLSv1.2", None),
    ],
)
async def test_http_1_is_what_is_chosen(
    tmp_path: Path, offered: list[str], spoken: str, chosen: str | None
) -> None:
    """ALPN (RFC 7301): nobody is led to believe in HTTP/2."""
    async with serving(tmp_path, LISTEN) as (sidecar, _, authority):
        context = believing(authority)
        if offered:
            context.set_alpn_protocols(offered)
        if spoken == "TLSv1.2":
            context.maximum_version = ssl.TLSVersion.TLSv1_2
        reader, writer = await asyncio.open_connection("127.0.0.1", sidecar.listen.port, ssl=context)
        tls = writer.get_extra_info("ssl_object")
        assert (tls.version(), tls.selected_alpn_protocol()) == (spoken, chosen)
        writer.write(request(b"GET " + VIDEO.encode()))
        assert (await read_message(reader)).status == 200
        writer.close()


async def test_only_clients_of_an_authority_get_in(tmp_path: Path) -> None:
    """With `client_ca`; the admin listener is not its business."""
    text = LISTEN.replace("}", ", client_ca: ca.pem}")
    async with serving(tmp_path, text) as (sidecar, _, authority):
        url = f"https://{sidecar.listen}{VIDEO}"
        own = authority.issue("edge.example", stem="edge")
        async with asking(believing(authority, own)) as session, session.get(url) as answer:
            assert answer.status == 200
        (tmp_path / "else").mkdir()
        foreign = Authority(tmp_path / "else").issue("edge.example")
        for context in (believing(authority), believing(authority, foreign)):
            async with asking(context) as session:
                with pytest.raises(aiohttp.ClientError):
                    await session.get(url)
        async with (
            asking(believing(authority)) as session,
            session.get(f"http://{sidecar.admin}/livez") as it,
        ):
            assert it.status == 200


async def test_the_activity_server_hears_of_https(tmp_path: Path) -> None:
    """As what the viewer's side spoke, since that is what it makes its own links from, relayed or not."""
    async with (
        answering(OK) as origin,
        serving(tmp_path, LISTEN, activity=str(origin.url)) as (sidecar, _, authority),
        asking(believing(authority)) as session,
    ):
        for _ in range(3):
            async with session.get(f"https://{sidecar.listen}/page") as answer:
                assert (answer.status, await answer.read()) == (200, b"ok")
        assert [message.one("X-Forwarded-Proto") for message in origin.received] == [b"https"] * 3


def serial(context: ssl.SSLContext, port: int) -> bytes | None:
    """The certificate that a new handshake shows."""
    with (
        socket.create_connection(("127.0.0.1", port)) as tcp,
        context.wrap_socket(tcp, server_hostname="127.0.0.1") as tls,
    ):
        return tls.getpeercert(binary_form=True)


async def test_a_new_certificate_is_taken_over_without_a_lost_request(tmp_path: Path) -> None:
    """New handshakes have it, connections that stand go on, and nobody under way notices."""
    async with serving(tmp_path, LISTEN) as (sidecar, clock, authority):
        context, url = believing(authority), f"https://{sidecar.listen}{VIDEO}"
        port = sidecar.listen.port
        before = await asyncio.to_thread(serial, context, port)
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        writer.write(request(b"GET " + VIDEO.encode()))
        assert (await read_message(reader)).status == 200
        statuses: list[int] = []
        over = asyncio.Event()

        async def load(session: ClientSession) -> None:
            while not over.is_set():
                async with session.get(url) as answer:
                    statuses.append(answer.status)

        async with asking(context) as anew, ClientSession(connector=TCPConnector(ssl=context)) as kept:
            loads = [asyncio.create_task(load(session)) for session in (anew, anew, kept, kept)]
            await until(lambda: len(statuses) > 20)
            for _ in range(3):
                authority.issue("127.0.0.1")
                served = await asyncio.to_thread(serial, context, port)
                await clock.advance(PERIOD)
                while (
                    await asyncio.to_thread(serial, context, port) == served
                ):  # the files are read in a thread
                    await clock.advance(PERIOD)
                enough = len(statuses) + 20
                await until(lambda: len(statuses) > enough)  # noqa: B023  (called at once)
            over.set()
            await asyncio.gather(*loads)
        assert set(statuses) == {200}
        assert await asyncio.to_thread(serial, context, port) != before
        writer.write(request(b"GET " + VIDEO.encode()))
        assert (await read_message(reader)).status == 200
        writer.close()


@dataclass
class Kept:
    """Certificates over files in a folder, and what they told."""

    certificates: Certificates
    events: list[Event]
    authority: Authority
    files: TlsFiles

    @property
    def told(self) -> list[CertificateChanged]:
        """All changes, once read."""
        changes = [event for event in self.events if isinstance(event, CertificateChanged)]
        self.events.clear()
        return changes


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    """A listener's certificate in a folder as Kubernetes makes it: links into a directory that is a link."""
    authority = Authority(tmp_path)
    publish(authority, "first")
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).symlink_to(Path("..data") / name)
    events: list[Event] = []
    certificates = Certificates(FakeClock(), events.append)
    files = TlsFiles.within(tmp_path, certificate="tls.crt", key="tls.key")
    certificates.server("listen", files)
    return Kept(certificates, events, authority, files)


def publish(authority: Authority, version: str) -> None:
    """Swap the directory for a new one in one step, as the kubelet does."""
    folder = authority.folder
    certificate, key = authority.issue("127.0.0.1")
    (folder / version).mkdir()
    certificate.rename(folder / version / "tls.crt")
    key.rename(folder / version / "tls.key")
    (folder / "..new").symlink_to(version)
    (folder / "..new").replace(folder / "..data")


async def test_a_swapped_link_is_seen(kept: Kept) -> None:
    """Twice in a row, for a watch of the file would miss the second."""
    await kept.certificates.look()
    assert kept.told == []
    for version in ("second", "third"):
        publish(kept.authority, version)
        await kept.certificates.look()
        await kept.certificates.look()
        assert kept.told == [CertificateChanged("listen", "loaded")]


async def test_what_does_not_hold_together_is_told_once_and_changes_nothing(kept: Kept) -> None:
    """Half written, of another pair, or gone: the old one stays; when it is whole it is taken."""
    folder = kept.authority.folder
    certificate, key = kept.authority.issue("127.0.0.1", stem="other")
    (folder / "first" / "tls.crt").write_bytes(certificate.read_bytes())
    for _ in range(3):
        await kept.certificates.look()
    assert kept.told == [CertificateChanged("listen", "kept", "key does not fit the certificate")]
    (folder / "first" / "tls.key").write_bytes(b"-----BEGIN")
    await kept.certificates.look()
    assert kept.told == [CertificateChanged("listen", "kept", "key holds no private key in PEM")]
    (folder / "first" / "tls.key").unlink()
    for _ in range(3):
        await kept.certificates.look()
    assert kept.told == [
        CertificateChanged("listen", "kept", "key cannot be read: No such file or directory")
    ]
    (folder / "first" / "tls.key").write_bytes(key.read_bytes())
    await kept.certificates.look()
    assert kept.told == [CertificateChanged("listen", "loaded")]


@pytest.mark.parametrize(("first", "second"), [(EC, RSA), (RSA, EC)])
@pytest.mark.parametrize("pkcs8", [False, True])
async def test_a_key_of_another_kind_is_told_and_not_taken(
    tmp_path: Path, first: KeyType, second: KeyType, pkcs8: bool
) -> None:
    """OpenSSL would keep both pairs and may go on showing the old one, so nobody is told that it is gone."""
    authority, events = Authority(tmp_path), list[Event]()
    certificates = Certificates(FakeClock(), events.append)
    files = TlsFiles(None, *authority.issue("127.0.0.1", kind=first, pkcs8=pkcs8))
    certificates.server("listen", files)
    authority.issue("127.0.0.1", kind=first, pkcs8=not pkcs8)
    await certificates.look()
    authority.issue("127.0.0.1", kind=second, pkcs8=pkcs8)
    await certificates.look()
    why = "key is a key of another kind than the one in use, which wants a restart"
    assert events == [CertificateChanged("listen", "loaded"), CertificateChanged("listen", "kept", why)]


async def test_what_could_not_be_loaded_for_want_of_a_file_is_tried_again(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crowd of clients that leaves no file descriptor costs the renewal a while, and not all that come."""
    made, tries = os.memfd_create, iter([True, False])

    def memfd_create(name: str) -> int:
        if next(tries, False):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return made(name)

    publish(kept.authority, "second")
    monkeypatch.setattr(os, "memfd_create", memfd_create)
    await kept.certificates.look()
    assert kept.told == [
        CertificateChanged("listen", "kept", "certificate cannot be loaded: Too many open files")
    ]
    await kept.certificates.look()
    assert kept.told == [CertificateChanged("listen", "loaded")]


async def test_a_context_made_during_a_look_is_no_harm(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second listener comes about while files are read, and the looks go on."""

    async def to_thread(read: Callable[..., object], *args: object) -> object:
        monkeypatch.undo()
        kept.certificates.server("admin", kept.files)
        return read(*args)

    monkeypatch.setattr(asyncio, "to_thread", to_thread)
    await kept.certificates.look()
    publish(kept.authority, "second")
    await kept.certificates.look()
    assert [change.name for change in kept.told] == ["listen", "admin"]


async def test_files_are_looked_at_every_few_seconds(kept: Kept) -> None:
    """By the clock that is given."""
    clock = kept.certificates.clock
    assert isinstance(clock, FakeClock)
    running = asyncio.create_task(kept.certificates.run())
    publish(kept.authority, "second")
    await clock.advance(PERIOD - 0.1)
    assert kept.events == []
    await clock.advance(0.1)
    await until(lambda: bool(kept.events))
    running.cancel()
    await asyncio.wait({running})


async def test_a_client_certificate_towards_a_server_is_renewed_too(tmp_path: Path) -> None:
    """Those of workloads live for hours; an authority that is new is believed beside the old."""
    authority, other = Authority(tmp_path), Authority(tmp_path)
    certificate, key = authority.issue("sidecar.example")
    ca = tmp_path / "bundle.pem"
    ca.write_bytes(authority.ca.cert_pem.bytes())
    events: list[Event] = []
    certificates = Certificates(FakeClock(), events.append)
    context = certificates.client("gateway", TlsFiles(ca, certificate, key))
    ca.write_bytes(authority.ca.cert_pem.bytes() + other.ca.cert_pem.bytes())
    authority.issue("sidecar.example")
    await certificates.look()
    assert events == [CertificateChanged("gateway", "loaded")]
    assert len(context.get_ca_certs()) == 2


async def test_a_handshake_has_the_time_of_a_head(tmp_path: Path) -> None:
    """Who connects and says nothing holds no place for long, and is counted."""
    text = LISTEN + "limits: {header_timeout: 50ms}\n"
    async with serving(tmp_path, text) as (sidecar, _, _), client(sidecar.listen.port) as (reader, _):
        async with asyncio.timeout(PATIENCE):
            assert await reader.read() == b""
        assert 'limited_total{limit="header_time"} 1.0' in sidecar.parts.metrics.exposition("")[0].decode()


async def test_a_handshake_under_way_counts_as_a_connection(tmp_path: Path) -> None:
    """Who connects and says nothing takes a place, as without TLS; it is free again when they leave."""
    text = LISTEN + "limits: {connections: 1}\n"
    async with serving(tmp_path, text) as (sidecar, _, authority), asking(believing(authority)) as session:
        url = f"https://{sidecar.listen}{VIDEO}"
        async with client(sidecar.listen.port):
            await until(lambda: len(sidecar._servers[0][0].handshakes) == 1)
            async with session.get(url) as answer:
                assert (answer.status, (await answer.json())["code"]) == (503, "too_many_connections")
        await until(lambda: not sidecar._servers[0][0].handshakes)
        async with session.get(url) as answer:
            assert answer.status == 200


async def test_handshakes_far_beyond_the_limit_are_cut_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some may hear why they are turned away; further ones get no handshake, and are counted."""
    monkeypatch.setattr("proxy.server.TURNED_AWAY", 0)
    text = LISTEN + "limits: {connections: 1}\n"
    async with serving(tmp_path, text) as (sidecar, _, _), client(sidecar.listen.port):
        await until(lambda: len(sidecar._servers[0][0].handshakes) == 1)
        async with client(sidecar.listen.port) as (reader, _), asyncio.timeout(PATIENCE):
            with suppress(ConnectionResetError):
                assert await reader.read() == b""
        assert 'limited_total{limit="connections"} 1.0' in sidecar.parts.metrics.exposition("")[0].decode()


async def test_stopping_waits_for_no_handshake(tmp_path: Path) -> None:
    """Nothing has been asked on such a connection, so nothing is owed."""
    async with serving(tmp_path, LISTEN) as (sidecar, _, _), client(sidecar.listen.port) as (reader, _):
        server = sidecar._servers[0][0]
        await until(lambda: len(server.handshakes) == 1)
        await sidecar.stop()
        async with asyncio.timeout(PATIENCE):
            with suppress(ConnectionResetError):
                assert await reader.read() == b""
        assert server.handshakes == {}


async def test_health_asks_over_tls(tmp_path: Path) -> None:
    """Whatever name the certificate bears, for it asks itself."""
    async with serving(tmp_path, ADMIN) as (sidecar, _, authority):
        authority.issue("admin.example")
        assert await asyncio.to_thread(ask, sidecar.admin, tls=True) is None
        assert await asyncio.to_thread(ask, sidecar.admin) is not None
    assert await asyncio.to_thread(ask, HostPort("127.0.0.1", 1), tls=True) is not None


async def test_the_health_command_knows_of_tls(tmp_path: Path) -> None:
    """From the configuration that the sidecar runs with."""
    async with serving(tmp_path, ADMIN) as (sidecar, _, _):
        command = [sys.executable, "-m", "proxy", "health", "-c", "proxy.yaml", "--admin", str(sidecar.admin)]
        root = Path(__file__).parent.parent
        done = await asyncio.to_thread(
            subprocess.run,
            command,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(root)},
            capture_output=True,
        )
    assert (done.returncode, done.stderr) == (0, b"")
