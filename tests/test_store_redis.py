"""The cache in a real Redis that is well."""

import asyncio
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.redis_link import CONNECTIONS
from proxy.redis_store import PURGE_LIMIT
from proxy.store import FORMAT, encode
from proxy.tls import TlsFiles, client_context
from tests.certificates import Authority
from tests.clocks import FakeClock
from tests.redis_server import PASSWORD, RedisServer, free_port, program, running
from tests.stores import KEY, entry, opened

OURS = f"activity-proxy:{KEY}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis for all tests in here."""
    with running(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(autouse=True)
def _empty(server: RedisServer) -> None:
    """Every test begins with nothing kept."""
    with server.client() as client:
        client.flushall()


async def test_entry_is_found_by_another_process(server: RedisServer) -> None:
    """What one sidecar keeps another finds, bytes and all, and there was no trouble."""
    kept = entry(b'{"title":"\xc3\xa4"}\x00\xff')
    async with opened(server.url) as one, opened(server.url) as two:
        assert await two.store.get(KEY) is None
        assert await one.store.set(KEY, kept, 60.0)
        assert await two.store.get(KEY) == kept
        assert one.troubles == two.troubles == []


async def test_entry_lives_as_long_as_it_is_of_use(server: RedisServer) -> None:
    """Redis itself drops the entry after the seconds that it was to be kept, to the millisecond."""
    async with opened(server.url) as one:
        await one.store.set(KEY, entry(), 86_400.75)
        with server.client() as client:
            assert 86_390_000 < int(str(client.pttl(OURS))) <= 86_400_750


@pytest.mark.parametrize(("size", "keep"), [(2_000, 60.0), (10, 0.0), (10, -5.0), (10, 0.0004)])
async def test_entry_that_is_not_to_be_kept_leaves_none(server: RedisServer, size: int, keep: float) -> None:
    """An entry that is too large, or of no use, is not kept, and the one before is gone."""
    async with opened(server.url, largest=1_000) as one:
        await one.store.set(KEY, entry(), 60.0)
        assert not await one.store.set(KEY, entry(b"x" * size), keep)
        assert await one.store.get(KEY) is None
        assert one.troubles == []


@pytest.mark.parametrize(
    "value", [b"", b"hello", encode(entry())[:-1], bytes([FORMAT + 1]) + encode(entry())[1:]]
)
async def test_foreign_value_is_a_miss(server: RedisServer, value: bytes) -> None:
    """A value that is none of ours, or damaged, is a miss that is told, and the next entry replaces it."""
    with server.client() as client:
        client.set(OURS, value)
    async with opened(server.url) as one:
        assert await one.store.get(KEY) is None
        assert one.troubles == ["foreign"]
        await one.store.set(KEY, entry(), 60.0)
        assert await one.store.get(KEY) == entry()


async def test_value_of_another_type_is_a_miss(server: RedisServer) -> None:
    """A list under our key is a miss that is told, and the next entry replaces it."""
    with server.client() as client:
        client.rpush(OURS, "a")
    async with opened(server.url) as one:
        assert await one.store.get(KEY) is None
        assert one.troubles == ["refused"]
        await one.store.set(KEY, entry(), 60.0)
        assert await one.store.get(KEY) == entry()


async def test_purge_drops_ours_and_nothing_else(server: RedisServer) -> None:
    """A purge drops each of our keys, however many, and no key of anyone else's, nor another database."""
    theirs = ["activity-proxy", "activity-proxyx:1", "xactivity-proxy:1", "sessions:1"]
    with server.client() as client, server.client(db=1) as other:
        client.mset(dict.fromkeys([*theirs, *(f"activity-proxy:{n}" for n in range(3_000))], "x"))
        other.set(OURS, "x")
        async with opened(server.url) as one:
            assert await one.store.purge()
        assert sorted(str(key, "ascii") for key in client.scan_iter()) == sorted(theirs)
        assert other.get(OURS) == b"x"


async def test_a_write_that_began_before_a_purge_does_not_come_after_it(server: RedisServer) -> None:
    """However slowly Redis takes a write, a purge drops what it wrote."""
    async with opened(server.url) as one:
        with server.client() as client:
            client.client_pause(300, all=False)  # writes only
        writing = asyncio.create_task(one.store.set(KEY, entry(), 60.0))
        await asyncio.sleep(0.05)
        assert await one.store.purge()
        await writing
        assert await one.store.get(KEY) is None


async def test_purge_is_bounded_in_time(server: RedisServer) -> None:
    """A Redis with too many keys ends the purge half way, and that is told."""
    with server.client() as client:
        client.mset({f"sessions:{number}": "x" for number in range(3_000)})

    class Hurrying(FakeClock):
        def monotonic(self) -> float:
            self.shift(PURGE_LIMIT / 2 + 1)
            return super().monotonic()

    async with opened(server.url, clock=Hurrying()) as one:
        assert not await one.store.purge()


async def test_many_ask_for_the_same_at_once(server: RedisServer) -> None:
    """A thousand who want the same entry at the same time cost Redis one question."""
    async with opened(server.url) as one:
        await one.store.set(KEY, entry(), 60.0)
        with server.client() as client:
            client.config_resetstat()
            found = await asyncio.gather(*(one.store.get(KEY) for _ in range(1_000)))
            assert client.info("commandstats")["cmdstat_get"]["calls"] == 1
        assert found == [entry()] * 1_000


async def test_many_ask_for_many_things_at_once(server: RedisServer) -> None:
    """More who want different entries than there are connections all get theirs, over those connections."""
    async with opened(server.url) as one:
        for number in range(200):
            await one.store.set(str(number), entry(str(number).encode()), 60.0)
        found = await asyncio.gather(*(one.store.get(str(number)) for number in range(200)))
        assert found == [entry(str(number).encode()) for number in range(200)]
        with server.client() as client:
            assert len(client.client_list()) <= CONNECTIONS + 1
        assert one.troubles == []


async def test_nothing_is_left_open(server: RedisServer) -> None:
    """After the end no connection stays, nothing is found, kept or purged, and nothing is asked."""
    async with opened(server.url) as one:
        await asyncio.gather(*(one.store.set(str(number), entry(), 60.0) for number in range(9)))
        await one.store.aclose()
        await one.store.set(KEY, entry(), 60.0)
        assert await one.store.get("1") is None
        assert not await one.store.purge()
    with server.client() as client:
        assert client.exists("activity-proxy:1")
        assert not client.exists(OURS)
        while len(client.client_list()) > 1:  # the server learns of closed sockets in its own time
            client.ping()


async def test_wrong_password_is_a_miss_and_not_shown(
    server: RedisServer, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """A Redis that wants another password is a miss that is told, and no password gets anywhere."""
    caplog.set_level("DEBUG")
    async with opened(server.url.replace(PASSWORD, "geheim")) as one:
        assert await one.store.get(KEY) is None
        assert not await one.store.purge()
        assert one.troubles == ["refused", "refused"]
        assert "geheim" not in repr(one.store)
    assert "geheim" not in "".join(capfd.readouterr()) + caplog.text


async def test_user_and_database_of_the_url_are_used(server: RedisServer) -> None:
    """The store logs in as the URL's user and uses the URL's database."""
    with server.client() as client, server.client(db=3) as third:
        client.acl_setuser("sidecar", enabled=True, passwords=["+pw"], keys=["*"], commands=["+@all"])
        async with opened(f"redis://sidecar:pw@127.0.0.1:{server.port}/3") as one:
            await one.store.set(KEY, entry(), 60.0)
            assert {"sidecar"} <= {known["user"] for known in client.client_list()}
        assert third.exists(OURS)
        assert not client.exists(OURS)


@pytest.mark.parametrize(
    ("name", "trusted", "found"),
    [("127.0.0.1", True, True), ("cache.example", True, False), ("127.0.0.1", False, False)],
)
async def test_tls_wants_the_right_certificate(tmp_path: Path, name: str, trusted: bool, found: bool) -> None:
    """With `rediss` only a server whose certificate is trusted and bears its name gets the password.

    The server asks for a certificate too, and gets the one that is configured.
    """
    program()
    authority = Authority(tmp_path)
    believed = authority if trusted else Authority(tmp_path)
    certificate, key = authority.issue(name)
    ours, our_key = authority.issue("sidecar.example", stem="client")
    port = free_port()
    options = ["--tls-port", port, "--tls-cert-file", certificate, "--tls-key-file", key]
    options += ["--tls-auth-clients", "yes", "--tls-ca-cert-file", authority.file]
    context = client_context(TlsFiles(believed.file, ours, our_key).read(), ())
    with running(tmp_path, *map(str, options)):
        async with opened(f"rediss://:{PASSWORD}@127.0.0.1:{port}/0", tls=context) as one:
            await one.store.set(KEY, entry(), 60.0)
            assert await one.store.get(KEY) == (entry() if found else None)
            assert one.troubles == ([] if found else ["unreachable"] * 2)


async def test_the_systems_authorities_vouch_where_none_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for a Redis that somebody else runs."""
    program()
    authority = Authority(tmp_path)
    certificate, key = authority.issue("127.0.0.1")
    monkeypatch.setenv(ssl.get_default_verify_paths().openssl_cafile_env, str(authority.file))
    port = free_port()
    options = ["--tls-port", port, "--tls-cert-file", certificate, "--tls-key-file", key]
    options += ["--tls-auth-clients", "no", "--tls-ca-cert-file", authority.file]
    with running(tmp_path, *map(str, options)):
        async with opened(f"rediss://:{PASSWORD}@127.0.0.1:{port}/0") as one:
            await one.store.set(KEY, entry(), 60.0)
            assert await one.store.get(KEY) == entry()
