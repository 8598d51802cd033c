"""An attempt: the token, then the breaker, then the wire, and what each hears of how it went."""

import asyncio

import pytest

from proxy.call import FailureKind
from proxy.events import AttemptEnded, ContractViolated, RetryScheduled, RetrySuppressed
from proxy.grant import TokenEndpointFailed
from tests.clocks import FakeClock
from tests.gateway_fakes import (
    BROKEN,
    CATS,
    FOUND,
    HTML,
    FakeBreaker,
    FakeTokens,
    Retry,
    bench,
    content,
    http,
    nowhere,
)
from tests.origins import until

ONCE = Retry(attempts=1)
SHORT = 0.05
REFUSED = http(401, {"error": "Invalid or expired token"})
AWAY = TokenEndpointFailed(FailureKind.UNREACHABLE, "the token endpoint cannot be reached", 3.0)


async def test_without_a_token_nothing_is_asked() -> None:
    """Token trouble ends the call at once: no permit, no attempt, no retry, and its pause is passed on."""
    async with bench(FOUND, tokens=FakeTokens(error=AWAY)) as (it, origin):
        failure = await it.fail()
    assert failure.kind is FailureKind.TOKEN
    assert failure.detail == "no token: the token endpoint cannot be reached"
    assert failure.retry_after == 3.0
    assert not origin.received
    assert not it.breaker.permits
    assert not it.events


async def test_each_attempt_has_a_permit_of_its_own() -> None:
    """Every attempt asks for a token and a permit."""
    async with bench(BROKEN, BROKEN, FOUND) as (it, _):
        await it.ask()
    assert it.breaker.told == ["failure", "failure", "success"]
    assert it.tokens.asked == 3


async def test_an_open_breaker_keeps_the_call_back() -> None:
    """Without a permit nothing is sent, and no attempt is told."""
    async with bench(FOUND, breaker=FakeBreaker(left=0)) as (it, origin):
        failure = await it.fail()
    assert (failure.kind, failure.retry_after) == (FailureKind.BREAKER_OPEN, 7.0)
    assert not origin.received
    assert not it.events


async def test_a_breaker_that_opens_ends_the_retries() -> None:
    """A retry that the breaker keeps back is told as suppressed, whatever the failure before it was."""
    async with bench(BROKEN, breaker=FakeBreaker(left=1)) as (it, origin):
        failure = await it.fail()
    assert failure.kind is FailureKind.BREAKER_OPEN
    assert len(origin.received) == 1
    assert it.events == [
        AttemptEnded("video", "status", 0.0),
        RetryScheduled("video", "status", 0.0),
        RetrySuppressed("video", "breaker_open"),
    ]


async def test_a_breaker_that_opens_on_broken_connections_is_told_too() -> None:
    """The same holds where no attempt had an answer."""
    with nowhere() as base:
        async with bench(FOUND, breaker=FakeBreaker(left=1)) as (it, _):
            it.base = base
            await it.fail()
    assert it.events.of(RetrySuppressed) == [RetrySuppressed("video", "breaker_open")]


@pytest.mark.parametrize(
    ("answer", "kind", "field"),
    [
        (http(500, {"error": "Internal Server Error"}), FailureKind.STATUS, None),
        (http(502, HTML), FailureKind.STATUS, None),
        (http(501, HTML), FailureKind.STATUS, None),
        (http(200, HTML), FailureKind.CONTRACT, "body"),
        (http(204, b""), FailureKind.CONTRACT, "body"),
        (http(200, [1]), FailureKind.CONTRACT, "body"),
        (http(200, {"video": {"id": "1_cats"}}), FailureKind.CONTRACT, "title"),
        (http(200, {"video": {**CATS, "duration": "long"}}), FailureKind.CONTRACT, "duration"),
    ],
)
async def test_what_counts_against_the_gateway(answer: bytes, kind: FailureKind, field: str | None) -> None:
    """A 5xx, and a 200 that the route cannot use, are failures to the breaker; the latter name the field."""
    async with bench(answer, retry=ONCE) as (it, _):
        failure = await it.fail()
    assert failure.kind is kind
    assert it.breaker.told == ["failure"]
    assert it.events.of(ContractViolated) == ([] if field is None else [ContractViolated("video", field)])
    assert it.events.of(AttemptEnded) == [AttemptEnded("video", kind.value, 0.0)]


@pytest.mark.parametrize("status", [400, 403, 404, 408, 413, 418, 429])
async def test_what_does_not(status: int) -> None:
    """A 4xx is no failure to the breaker: the gateway did its part."""
    async with bench(http(status, {"error": "no"}), retry=ONCE) as (it, _):
        call = it.ask() if status in {400, 404, 413} else it.fail()
        await call
    assert it.breaker.told == ["success"]


@pytest.mark.parametrize(
    ("retry_after", "told"),
    [("30", ["hold_open"]), ("1", ["hold_open"]), ("0", ["success"]), ("x", ["success"])],
)
async def test_a_long_pause_is_the_breakers(retry_after: str, told: list[str]) -> None:
    """A 429 whose `Retry-After` is a second or more holds the breaker open for that long, as no failure."""
    async with bench(http(429, HTML, Retry_After=retry_after), retry=ONCE) as (it, _):
        failure = await it.fail()
    assert it.breaker.told == told
    if told == ["hold_open"]:
        assert it.breaker.permits[0].seconds == failure.retry_after == float(retry_after)


async def test_a_503_with_a_pause_is_a_failure_still() -> None:
    """A `Retry-After` makes no difference to a 5xx."""
    async with bench(http(503, HTML, Retry_After="30"), retry=ONCE) as (it, _):
        failure = await it.fail()
    assert failure.retry_after == 30.0
    assert it.breaker.told == ["failure"]


async def test_a_refused_token_is_replaced_once() -> None:
    """After a 401 that token's generation is void, and the call is made again with the next one."""
    async with bench(REFUSED, FOUND) as (it, origin):
        answer = await it.ask()
    assert content(answer)["id"] == "1_cats"
    assert it.tokens.voided == [1]
    sent = [message.one("Authorization") for message in origin.received]
    assert sent == [b"Bearer token-1", b"Bearer token-2"]
    assert it.breaker.told == ["success", "success"]
    assert [event.outcome for event in it.events.of(AttemptEnded)] == ["unauthorized", "ok"]
    assert not it.events.of(RetryScheduled)


async def test_a_body_goes_with_the_second_token_too() -> None:
    """A POST that was refused is sent again whole, since the gateway did nothing with it."""
    async with bench(REFUSED, http(200, {"ks": "djJ8"})) as (it, origin):
        await it.ask("session", {"videoId": "1_cats", "userId": "nelly"})
    first, second = origin.received
    assert first.body == second.body
    assert b"sview:1_cats" in second.body


async def test_a_second_refusal_is_final() -> None:
    """A token refused like the one before it ends the call: no third one, no retry, no breaker failure."""
    async with bench(REFUSED) as (it, origin):
        failure = await it.fail()
    assert (failure.kind, failure.status) == (FailureKind.UNAUTHORIZED, 401)
    assert len(origin.received) == 2
    assert it.breaker.told == ["success", "success"]
    assert not it.events.of(RetryScheduled)
    assert not it.events.of(RetrySuppressed)


async def test_no_successor_ends_the_call() -> None:
    """Where no new token is to be had after a 401, the call ends as token trouble."""
    async with bench(REFUSED, tokens=FakeTokens(error=AWAY, error_from=2)) as (it, origin):
        failure = await it.fail()
    assert failure.kind is FailureKind.TOKEN
    assert len(origin.received) == 1
    assert it.tokens.voided == [1]


async def test_token_trouble_in_between_ends_the_retries() -> None:
    """A retry for which there is no token is not made, and the failure before it suppresses nothing."""
    clock, retry = FakeClock(), Retry(3, SHORT, SHORT)
    tokens = FakeTokens(error=AWAY, error_from=2)
    async with bench(BROKEN, clock=clock, tokens=tokens, retry=retry, dice=0.9, attempt_timeout=1.0) as (
        it,
        origin,
    ):
        asking = asyncio.create_task(it.fail(total=1.0))
        await until(lambda: bool(it.events.of(RetryScheduled)))
        tokens.void(1)
        clock.shift(0.98)
        failure = await asking
    assert failure.kind is FailureKind.TOKEN
    assert len(origin.received) == 1
    assert not it.events.of(RetrySuppressed)


async def test_concurrent_refusals_void_one_generation() -> None:
    """Calls that were refused with the same token void that one only, and share its successor."""
    async with bench(REFUSED, REFUSED, FOUND) as (it, origin):
        await asyncio.gather(it.ask(), it.ask())
    assert it.tokens.generation == 2
    assert it.tokens.voided == [1, 1]
    assert len(origin.received) == 4


async def test_a_refusal_after_a_failure_is_mended_as_well() -> None:
    """Each attempt of its own may replace a refused token once."""
    async with bench(BROKEN, REFUSED, FOUND) as (it, origin):
        await it.ask()
    assert len(origin.received) == 3
    assert [event.outcome for event in it.events.of(AttemptEnded)] == ["status", "unauthorized", "ok"]


async def test_a_failure_after_a_refusal_is_retried() -> None:
    """What fails with the second token is retried like any failure, and the repeat is no retry of its own."""
    async with bench(REFUSED, BROKEN, FOUND) as (it, origin):
        await it.ask()
    assert len(origin.received) == 3
    assert it.events.of(RetryScheduled) == [RetryScheduled("video", "status", 0.0)]


async def test_no_failure_holds_a_secret() -> None:
    """Neither token, address nor anything the gateway said shows in a failure."""
    said = http(500, {"error": "djJ8-secret at postgres://root:pw@db"})
    async with bench(said, clock=FakeClock()) as (it, _):
        failure = await it.fail()
    assert repr(failure).count("secret") == 0
    assert "token-" not in repr(failure)
    assert it.base not in repr(failure)
    assert "Traceback" not in failure.detail
