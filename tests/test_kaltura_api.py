"""One exchange with Kaltura: how it fails, what the breaker hears of it, and what is said of it."""

import asyncio
import gzip
from dataclasses import replace

import pytest
from pydantic import SecretStr

from proxy.breaker import Breaker
from proxy.bulkhead import Bulkhead
from proxy.call import Failure, FailureKind, SourceFailed
from proxy.events import KalturaAsked
from proxy.grant import TokenEndpointFailed, TokenRefused
from proxy.kaltura_api import Complained
from proxy.kaltura_calls import reading
from proxy.kaltura_session import KalturaSessions
from proxy.wire import MAX_ANSWER
from tests.breakers import Settings
from tests.clocks import FakeClock
from tests.gateway_fakes import Hang, Part, Step, http, nowhere, reset
from tests.kaltura_bench import ENTRY, SECRET, complains, scripted_bench

FOUND = http(200, ENTRY)
CUT = http(200, ENTRY)[:-5]
SAID = 'Invalid KS "token-1" for secret an-admin-secret'


@pytest.mark.parametrize(
    ("step", "kind", "status", "word"),
    [
        (http(500, {"error": SECRET}), FailureKind.STATUS, 500, "failure"),
        (http(503, b"<html>"), FailureKind.STATUS, 503, "failure"),
        (http(404, b"<html>"), FailureKind.STATUS, 404, "success"),
        (http(302, b"", Location="http://127.0.0.1:1/"), FailureKind.STATUS, 302, "success"),
        (http(429, b"", Retry_After="7"), FailureKind.STATUS, 429, "hold_open"),
        (http(429, b"", Retry_After="0"), FailureKind.STATUS, 429, "success"),
        (reset, FailureKind.UNREACHABLE, None, "failure"),
        (Part(CUT), FailureKind.CONTRACT, None, "failure"),
        (Part(b"no HTTP\r\n\r\n"), FailureKind.CONTRACT, None, "failure"),
        (Part(http(200, b" " * (MAX_ANSWER + 1))), FailureKind.CONTRACT, None, "failure"),
        (complains("INTERNAL_SERVERL_ERROR", SAID), FailureKind.STATUS, 200, "failure"),
        (complains("SERVICE_FORBIDDEN", SAID), FailureKind.UNAUTHORIZED, 200, "success"),
        (complains("SEARCH_ENGINE_QUERY_FAILED", SAID), FailureKind.STATUS, 200, "success"),
        (complains(SECRET, SAID), FailureKind.STATUS, 200, "success"),
    ],
)
async def test_how_an_exchange_fails(step: Step, kind: FailureKind, status: int | None, word: str) -> None:
    """Each failure has its kind; the breaker hears of Kaltura's own; nothing is made a second time.

    No word of what Kaltura said is in the failure: its messages quote what they were sent.
    """
    async with scripted_bench(step) as (bench, origin):
        failure = await bench.fail()
        assert (failure.source, failure.kind, failure.status) == ("kaltura", kind, status)
        assert SECRET not in failure.detail
        assert "token-1" not in failure.detail
        assert bench.api.breaker.told == [word]  # type: ignore[attr-defined]  # of the fake
        assert bench.events.of(KalturaAsked) == [KalturaAsked(kind)]
        assert len(origin.received) == 1


async def test_what_is_found_and_what_is_not_are_told_as_such() -> None:
    """An entry that Kaltura does not have is no failure of its."""
    async with scripted_bench(FOUND, complains("ENTRY_ID_NOT_FOUND")) as (bench, _):
        assert [(await bench.ask()).status for _ in range(2)] == [200, 404]
        assert bench.events.of(KalturaAsked) == [KalturaAsked("ok"), KalturaAsked("missing")]


async def test_a_pause_that_kaltura_asks_for_is_told() -> None:
    """The seconds of `Retry-After` are the failure's."""
    async with scripted_bench(http(429, b"", Retry_After="7")) as (bench, _):
        assert (await bench.fail()).retry_after == 7.0


async def test_a_compressed_answer_is_not_unfolded() -> None:
    """None is asked for, so that no small answer becomes a large one; what comes all the same is no JSON."""
    packed = http(200, gzip.compress(b'{"id": "1_e0000003", "name": "Cats"}'), Content_Encoding="gzip")
    async with scripted_bench(packed) as (bench, origin):
        assert (await bench.fail()).kind is FailureKind.CONTRACT
        assert origin.received[0].one("Accept-Encoding") == b"identity"


async def test_nobody_there_is_unreachable() -> None:
    """A refused connection is Kaltura's failure."""
    async with scripted_bench(FOUND) as (bench, _):
        with nowhere() as base:
            bench.api = replace(bench.api, base=base)
            failure = await bench.fail()
    assert (failure.source, failure.kind) == ("kaltura", FailureKind.UNREACHABLE)


@pytest.mark.parametrize(("total", "word"), [(8.0, "failure"), (0.01, "cancel")])
async def test_a_kaltura_that_hangs_is_a_timeout(total: float, word: str) -> None:
    """One that takes longer than an attempt may is failing; of one that had no time nothing is known."""
    async with scripted_bench(Hang(), patience=0.05) as (bench, _):
        failure = await bench.fail(total=total)
        assert (failure.source, failure.kind) == ("kaltura", FailureKind.TIMEOUT)
        assert bench.api.breaker.told == [word]  # type: ignore[attr-defined]  # of the fake


async def test_past_the_deadline_kaltura_is_not_asked() -> None:
    """Where the gateway took all the time there is no exchange."""
    async with scripted_bench(FOUND) as (bench, origin):
        with pytest.raises(SourceFailed) as caught:
            await bench.sessions.start(reading(), deadline=0.0)
        assert caught.value.failure.kind is FailureKind.TIMEOUT
        assert not origin.received


async def test_a_client_that_leaves_says_nothing_of_kaltura() -> None:
    """A cancelled call frees its place in the breaker and counts neither way."""
    hang = Hang()
    async with scripted_bench(hang) as (bench, _):
        asking = asyncio.create_task(bench.ask())
        await hang.reached.wait()
        asking.cancel()
        await asyncio.wait([asking])
        assert bench.api.breaker.told == ["cancel"]  # type: ignore[attr-defined]  # of the fake
        assert bench.events.of(KalturaAsked) == [KalturaAsked("cancelled")]
        await hang.left.wait()


async def test_an_open_breaker_keeps_calls_back() -> None:
    """The failure is named after Kaltura, and Kaltura is not asked."""
    breaker = Breaker("kaltura", Settings(), clock=FakeClock(), random=lambda: 0.0, observe=lambda _: None)
    breaker.force_open()
    async with scripted_bench(FOUND, breaker=breaker) as (bench, origin):
        failure = await bench.fail()
        assert failure == Failure(
            "kaltura", FailureKind.BREAKER_OPEN, "the circuit breaker kaltura is forced open"
        )
        assert not origin.received


async def test_the_bulkhead_before_kaltura_names_it() -> None:
    """A call for which there is no place fails as Kaltura's, not as the gateway's."""
    async with scripted_bench(Hang()) as (bench, _):
        guarded = Bulkhead.of(bench.source, 0, bench.clock, patience=0.0, name="kaltura")
        with pytest.raises(SourceFailed) as caught:
            await guarded(bench.call("video"))
    failure = caught.value.failure
    assert (failure.source, failure.kind) == ("kaltura", FailureKind.OVERLOADED)
    assert failure.detail == "as many calls as Kaltura may have are under way"


@pytest.mark.parametrize(
    ("step", "error", "kind"),
    [
        (complains("START_SESSION_ERROR", SAID), TokenRefused, FailureKind.UNAUTHORIZED),
        (complains("INTERNAL_SERVERL_ERROR", SAID), TokenEndpointFailed, FailureKind.STATUS),
        (http(503, b""), TokenEndpointFailed, FailureKind.STATUS),
        (http(200, {"ks": "x"}), TokenEndpointFailed, FailureKind.CONTRACT),
        (reset, TokenEndpointFailed, FailureKind.UNREACHABLE),
    ],
)
async def test_no_session_for_reading(step: Step, error: type[Exception], kind: FailureKind) -> None:
    """A refusal of the secret and a failure are told apart, and neither tells what was sent or received."""
    async with scripted_bench(step) as (bench, _):
        with pytest.raises(error) as caught:
            await bench.sessions.for_reading()
    assert type(caught.value) is error
    assert caught.value.kind is kind  # type: ignore[attr-defined]
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_a_session_for_reading_ends_by_our_own_clock() -> None:
    """Kaltura tells no end, so it is reckoned from the moment of asking."""
    async with scripted_bench(http(200, "a-ks")) as (bench, _):
        grant = await bench.sessions.for_reading()
    assert (grant.token, grant.expires_at) == ("a-ks", "2026-11-23T01:03:09.000Z")


def test_secrets_are_in_no_repr() -> None:
    """Neither the secret nor a code of Kaltura's that is not known is shown."""
    sessions = KalturaSessions(None, "1", SecretStr(SECRET), FakeClock())  # type: ignore[arg-type]  # not asked
    assert SECRET not in repr(sessions)
    assert Complained("").failure.detail == "Kaltura refused the call: a code unknown here"
