"""Which failed calls the gateway is asked again, and how."""

import pytest

from proxy.call import FailureKind
from proxy.events import AttemptEnded, RetryScheduled, RetrySuppressed
from tests.gateway_fakes import (
    BROKEN,
    FOUND,
    HTML,
    Part,
    Retry,
    Step,
    bench,
    content,
    http,
    nowhere,
)

PLAY = {"videoId": "1_cats"}
CUT = Part(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{")


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_passing_trouble_is_tried_again(status: int) -> None:
    """A GET is made again after a status that may pass, and the client sees nothing of it."""
    async with bench(http(status, HTML), FOUND) as (it, origin):
        answer = await it.ask()
    assert content(answer)["id"] == "1_cats"
    assert len(origin.received) == 2
    assert it.events.of(RetryScheduled) == [RetryScheduled("video", "status", 0.0)]


@pytest.mark.parametrize("status", [520, 521, 522, 523, 524])
async def test_the_cdns_own_statuses_are_tried_again(status: int) -> None:
    """The statuses that a CDN makes up for an origin in trouble are among them."""
    page = b"HTTP/1.1 %d \r\nContent-Length: 0\r\n\r\n" % status
    async with bench(page, FOUND) as (it, origin):
        await it.ask()
    assert len(origin.received) == 2


@pytest.mark.parametrize("status", [403, 501, 505])
async def test_lasting_trouble_is_not(status: int) -> None:
    """A status that will be the same next time ends the call."""
    async with bench(http(status, HTML)) as (it, origin):
        failure = await it.fail()
    assert (failure.kind, failure.status) == (FailureKind.STATUS, status)
    assert len(origin.received) == 1
    assert not it.events.of(RetrySuppressed)


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (http(200, HTML), "contract"),
        (http(200, {"video": {"id": "1_cats"}}), "contract"),
        (CUT, "contract"),
        (Part(b"HTTP/1.1 200"), "unreachable"),
        (Part(), "unreachable"),
    ],
)
async def test_broken_answers_are_tried_again(step: Step, reason: str) -> None:
    """So are answers that cannot be used, and connections that break."""
    async with bench(step, FOUND) as (it, origin):
        await it.ask()
    assert len(origin.received) == 2
    assert it.events.of(RetryScheduled) == [RetryScheduled("video", reason, 0.0)]


async def test_a_refused_connection_is_tried_again() -> None:
    """A GET that found no gateway is made again as often as is allowed."""
    with nowhere() as base:
        async with bench(FOUND) as (it, _):
            it.base = base
            failure = await it.fail()
    assert failure.kind is FailureKind.UNREACHABLE
    assert it.breaker.told == ["failure"] * 3
    assert [event.outcome for event in it.events.of(AttemptEnded)] == ["unreachable"] * 3
    assert len(it.events.of(RetryScheduled)) == 2
    assert not it.events.of(RetrySuppressed)


async def test_the_last_failure_is_the_calls() -> None:
    """When all attempts failed the call fails as the last one did."""
    async with bench(BROKEN, http(200, HTML), http(502, HTML)) as (it, origin):
        failure = await it.fail()
    assert (failure.kind, failure.status) == (FailureKind.STATUS, 502)
    assert len(origin.received) == 3


async def test_one_attempt_means_one() -> None:
    """With `attempts: 1` nothing is repeated, and nothing told of it."""
    async with bench(BROKEN, retry=Retry(attempts=1)) as (it, origin):
        await it.fail()
    assert len(origin.received) == 1
    assert it.events == [AttemptEnded("video", "status", 0.0)]


@pytest.mark.parametrize("step", [BROKEN, http(200, HTML), Part(), CUT, http(429, HTML)])
async def test_a_post_that_was_sent_is_not_repeated(step: Step) -> None:
    """A play call that the gateway may have seen is made once, whatever came of it, and that is told."""
    async with bench(step) as (it, origin):
        await it.fail("play", PLAY)
    assert len(origin.received) == 1
    assert it.events.of(RetrySuppressed) == [RetrySuppressed("play", "unsafe")]
    assert not it.events.of(RetryScheduled)


async def test_a_post_that_was_not_sent_is_repeated() -> None:
    """A play call that found no gateway is made again: nobody saw it."""
    with nowhere() as base:
        async with bench(FOUND) as (it, _):
            it.base = base
            failure = await it.fail("play", PLAY)
    assert failure.kind is FailureKind.UNREACHABLE
    assert len(it.breaker.permits) == 3
    assert not it.events.of(RetrySuppressed)


async def test_a_pause_beyond_the_deadline_is_passed_on() -> None:
    """A `Retry-After` that the deadline cannot wait for is not slept: the failure carries it."""
    async with bench(http(503, HTML, Retry_After="5")) as (it, origin):
        failure = await it.fail(total=5.0)
    assert (failure.status, failure.retry_after) == (503, 5.0)
    assert len(origin.received) == 1
    assert it.events.of(RetrySuppressed) == [RetrySuppressed("video", "deadline")]


async def test_a_pause_within_the_deadline_is_taken() -> None:
    """A date that is over asks for no pause, so that the call is made again at once."""
    past = http(503, HTML, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT")
    async with bench(past, FOUND) as (it, origin):
        await it.ask()
    assert len(origin.received) == 2


async def test_a_discarded_answer_gives_its_connection_back() -> None:
    """The retry goes by the connection that the failed answer came by."""
    async with bench(BROKEN, http(200, HTML), FOUND) as (it, origin):
        await it.ask()
    assert len(origin.received) == 3
    assert origin.connections == 1


async def test_a_repeat_with_a_new_token_needs_no_second_connection() -> None:
    """The same holds for the repeat after a 401."""
    async with bench(http(401, {"error": "no"}), FOUND) as (it, origin):
        await it.ask()
    assert origin.connections == 1


async def test_what_was_not_read_to_its_end_gives_its_connection_up() -> None:
    """An answer that is given up halfway is not read to its end by the next one."""
    endless = Part(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + b" " * 9_000_000)
    async with bench(endless, FOUND) as (it, origin):
        await it.ask()
    assert origin.connections == 2
    assert it.events.of(RetryScheduled) == [RetryScheduled("video", "contract", 0.0)]
