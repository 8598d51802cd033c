"""How often one client may ask."""

from pathlib import Path

import http_sf
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from proxy.credentials import COOKIE
from proxy.events import Limited
from proxy.rate import Buckets, RateLimit, address_key
from tests.clocks import FakeClock
from tests.configurations import Folder
from tests.listener_fakes import listening
from tests.running import configured, watched, watching
from tests.viewers import asked, sign_in

rates = st.sampled_from([0.1, 1 / 3, 1.0, 7.0, 50.0, 999.0])
bursts = st.integers(1, 50)
pauses = st.lists(st.one_of(st.just(0.0), st.floats(0, 20)), max_size=200)


@given(rates, bursts, pauses)
def test_a_bucket_lets_through_what_it_holds_and_gains(rate: float, burst: int, waits: list[float]) -> None:
    """In any stretch of time no more than the burst and what was gained in it, and no less when asked."""
    clock = FakeClock()
    buckets = Buckets(rate, burst, clock.monotonic)
    tokens, let_in = float(burst), []
    for wait in waits:
        clock.shift(wait)
        tokens = min(tokens + wait * rate, burst)
        told = buckets.take("a")
        if tokens >= 1 + 1e-6:
            assert told == 0
        if tokens <= 1 - 1e-6:
            assert told == pytest.approx((1 - tokens) / rate, rel=1e-3, abs=1e-6)
        if told == 0:
            tokens = max(tokens - 1, 0.0)
            let_in.append(clock.monotonic())
    for first, begin in enumerate(let_in):
        for last in range(first, len(let_in)):
            assert last - first + 1 <= burst + (let_in[last] - begin) * rate + 1e-6


@given(rates, bursts, st.lists(st.floats(0, 5), min_size=1, max_size=60))
def test_who_waits_as_told_is_let_in(rate: float, burst: int, waits: list[float]) -> None:
    """The time that a refused client hears is enough, and asking in vain costs nothing."""
    clock = FakeClock()
    buckets = Buckets(rate, burst, clock.monotonic)
    for wait in waits:
        clock.shift(wait)
        told = buckets.take("a")
        assert 0 <= told <= 1 / rate + 1e-9
        if told:
            assert buckets.take("a") == told
            clock.shift(told)
            assert buckets.take("a") == 0


def test_clients_have_buckets_of_their_own() -> None:
    """One that is empty is nobody else's."""
    buckets = Buckets(1.0, 1, FakeClock().monotonic)
    assert [buckets.take(key) for key in "aba"] == [0, 0, 1]


def test_the_table_is_bounded_and_forgets_the_one_unused_for_longest() -> None:
    """Many addresses take no more memory than some; who is asking now, even in vain, is not forgotten."""
    clock = FakeClock()
    buckets = Buckets(0.001, 1, clock.monotonic, size=10)
    assert [buckets.take("attacker"), buckets.take("quiet")] == [0, 0]
    for number in range(1000):
        buckets.take(f"other {number}")
        assert buckets.take("attacker") > 0
        assert len(buckets) <= 10
    assert buckets.take("quiet") == 0


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::1", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("unknown", "unknown"),
        ("no:address", "no:address"),
    ],
)
def test_an_ipv6_client_is_its_network(address: str, key: str) -> None:
    """Whoever has one address of a /64 has them all."""
    assert address_key(address) == key


@pytest.mark.parametrize(("rate", "burst", "window"), [(50.0, 100, 2), (100 / 60, 100, 60), (50.0, 1, 1)])
def test_a_refusal_says_when_to_come_again(rate: float, burst: int, window: int) -> None:
    """Whole seconds, in the structured form of the draft: an item of strings and integers each."""
    limit = RateLimit(Buckets(rate, burst, FakeClock().monotonic))
    assert [limit("a") for _ in range(burst)] == [None] * burst
    fields = limit("a")
    assert fields is not None
    told = [http_sf.parse(fields[name].encode(), tltype="list") for name in ("RateLimit-Policy", "RateLimit")]
    assert told == [[("client", {"q": burst, "w": window})], [("client", {"r": 0, "t": 1})]]
    assert fields["Retry-After"] == "1"


async def test_a_client_over_its_rate_gets_a_429() -> None:
    """In the error shape, with what `admit` says, counted; nothing is called, rewritten or passed through."""

    async def admit(asked: web.BaseRequest) -> dict[str, str] | None:
        return {"Retry-After": "7", "RateLimit": "x"} if asked.headers["X-Who"] == "busy" else None

    async with listening(admit=admit) as bench:
        for target in ("/api/kaltura/video/1_a", "/anything"):
            assert await bench.refused("GET", target, headers={"X-Who": "busy"}) == (429, "rate_limited")
            got = await bench.send("GET", target, headers={"X-Who": "busy"})
            assert (got.headers["Retry-After"], got.headers["RateLimit"]) == ("7", "x")
            assert (bench.source.calls, bench.passed.targets) == ([], [])
        assert (await bench.send("GET", "/anything", headers={"X-Who": "else"})).status == 204
        assert [event.limit for event in bench.events.of(Limited)] == ["rate"] * 4


async def test_the_sidecar_limits_by_the_address_behind_trusted_proxies(tmp_path: Path) -> None:
    """Each viewer behind the edge has a rate; what a viewer writes itself makes no new one."""
    text = "mode: offline\ntrusted_proxies: [127.0.0.1]\nlimits: {rate: 1/h, burst: 2}"
    async with watched(configured(tmp_path, text)) as (sidecar, viewer):

        async def ask(forwarded: str) -> int:
            headers = {"X-Forwarded-For": forwarded}
            url = f"{viewer.base}/api/kaltura/video/1_a"
            async with viewer.session.get(url, headers=headers) as response:
                return response.status

        assert [await ask("203.0.113.1") for _ in range(3)] == [200, 200, 429]
        assert await ask("203.0.113.2") == 200
        assert await ask("198.51.100.7, 203.0.113.1") == 429
        assert [await ask(f"2001:db8::{n}") for n in range(1, 4)] == [200, 200, 429]
        async with viewer.session.get(f"http://{sidecar.admin}/metrics") as response:
            text = await response.text()
    assert 'activity_proxy_limited_total{limit="rate"} 3.0' in text
    assert 'status="429"' in text


async def test_without_trusted_proxies_the_connection_counts(tmp_path: Path) -> None:
    """What anyone writes into X-Forwarded-For is no way out."""
    async with watched(configured(tmp_path, "mode: offline\nlimits: {rate: 1/h, burst: 1}")) as (_, viewer):
        statuses = []
        for number in range(3):
            headers = {"X-Forwarded-For": f"203.0.113.{number}"}
            async with viewer.session.get(f"{viewer.base}/api/kaltura/videos", headers=headers) as response:
                statuses.append(response.status)
    assert statuses == [200, 429, 429]


async def test_off_means_any_number(tmp_path: Path) -> None:
    """By default nobody asks too often."""
    async with watched(configured(tmp_path, "mode: offline\nlimits: {burst: 1}")) as (_, viewer):
        assert {(await viewer.ask("GET", "/api/kaltura/videos")).status for _ in range(20)} == {200}


def test_a_rate_shared_by_all_is_warned_of(tmp_path: Path) -> None:
    """Behind an edge that is not named all clients have one address."""
    folder = Folder(tmp_path)
    (warning,) = folder.load("limits:\n  rate: 50/s\n").warnings
    assert str(warning).endswith(
        "proxy.yaml:2:3: limits.rate: without trusted_proxies, "
        "all clients behind an edge have its address and share one rate"
    )
    assert folder.load("limits: {rate: 50/s}\ntrusted_proxies: [10.0.0.0/8]").warnings == ()
    assert folder.load("limits: {rate: off}").warnings == ()


async def test_viewers_who_are_signed_in_have_rates_of_their_own(tmp_path: Path) -> None:
    """Behind one address, each theirs by cookie and token alike; a credential of nobody's is no way out."""
    async with watching(tmp_path, "limits: {rate: 1/h, burst: 2}") as (_, _, viewer):
        alice, bob = await sign_in(viewer, "alice"), await sign_in(viewer, "bob")
        for person in (alice, bob):
            statuses = [
                (await asked(viewer, "GET", target, None, headers)).status
                for target, headers in (
                    ("/api/kaltura/video/1_e0000003", person.by_cookie),
                    ("/anything", person.by_token),
                    ("/api/kaltura/video/1_e0000003", person.by_cookie),
                    ("/api/kaltura/video/1_e0000003", person.by_token),
                )
            ]
            assert statuses[2:] == [429, 429]
            assert 429 not in statuses[:2]
        # The two sign-ins were the address's.
        for headers in ({}, {"Authorization": "Bearer guess"}, {"Cookie": f"{COOKIE}=guess"}):
            assert (await asked(viewer, "GET", "/anything", None, headers)).status == 429
