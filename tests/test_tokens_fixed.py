"""A configured token that is of no use is replaced, and that is told."""

import io
import json

from prometheus_client import CollectorRegistry

from proxy.events import FixedTokenRefused, TokenAcquired
from proxy.logs import EventLog, configure
from proxy.metrics import Metrics
from tests.clocks import FakeClock
from tests.token_bench import TokenBench, jwt


def refusals(bench: TokenBench) -> list[FixedTokenRefused]:
    """What was told of the configured token."""
    return [event for event in bench.events if isinstance(event, FixedTokenRefused)]


async def test_a_refused_one_is_told_once() -> None:
    """The gateway's 401 to the configured token is told when it comes, not again for its successors."""
    bench = TokenBench(fixed="opaque")
    token = await bench.keeper.get()
    assert refusals(bench) == []
    bench.keeper.void(token.generation)
    bench.keeper.void(token.generation)
    assert refusals(bench) == [FixedTokenRefused("service")]
    bench.keeper.void((await bench.keeper.get()).generation)
    assert refusals(bench) == [FixedTokenRefused("service")]


async def test_one_that_is_over_from_the_start_is_told() -> None:
    """A configured token from last week is told at once, and never as acquired."""
    bench = TokenBench(fixed=jwt(exp=1))
    assert bench.events == [FixedTokenRefused("service", "expired")]
    assert not bench.keeper.status.fixed
    await bench.keeper.get()
    assert 1 not in [event.expires_at for event in bench.events if isinstance(event, TokenAcquired)]
    assert len(refusals(bench)) == 1


async def test_one_that_was_used_to_its_end_was_not_refused() -> None:
    """The end that a configured token always had is no trouble."""
    bench = TokenBench(fixed=jwt(exp=TokenBench().clock.time() + 600))
    await bench.keeper.get()
    bench.clock.shift(600)
    await bench.keeper.get()
    assert refusals(bench) == []


def test_the_log_warns_of_it() -> None:
    """An operator reads that the configured token is not the one in use, and why."""
    stream = io.StringIO()
    with configure(stream, json=True):
        observe = EventLog(FakeClock())
        observe(FixedTokenRefused("service"))
        observe(FixedTokenRefused("service", "expired"))
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["message"] for line in lines] == [
        "the gateway refuses the configured token; logging in instead",
        "the configured token is over; logging in instead",
    ]
    assert {(line["level"], line["subject"]) for line in lines} == {("warning", "service")}


def test_it_is_counted_as_unauthorized() -> None:
    """A refused token shows among the token requests."""
    metrics = Metrics(CollectorRegistry(), mode="auto", version="1")
    metrics(FixedTokenRefused("service"))
    text = metrics.exposition("")[0].decode()
    assert 'activity_proxy_token_requests_total{outcome="unauthorized",subject="service"} 1.0' in text
