"""Two viewers at once, in any order, with the gateway failing in between: never a byte of the other's."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from proxy.sandbox import Sandbox
from proxy.sandbox_faults import Fault, Faults
from tests.running import Reply, Viewer, watching
from tests.viewers import SignedIn, played_by, sign_in

CALLS_EACH = 100
VIDEOS = ("1_e0000003", "1_e0000004")
CONFIGURATION = """
gateway:
  retry: {attempts: 2, initial: 1ms, max: 1ms}
  timeout: {connect: 300ms, attempt: 300ms, total: 600ms}
  breaker: {slow_call: 300ms, open: 50ms, open_max: 100ms}
routes:
  video: {max_age: 50ms, stale_while_revalidate: 20ms}
"""
Trouble = Literal["offline", "500", "no tokens", "revoked", "cut", "html", "half", "none"]
TROUBLES: tuple[Trouble, ...] = ("offline", "500", "no tokens", "revoked", "cut", "html", "half", "none")
FAULTS: Mapping[Trouble, Faults] = {
    "500": Faults(routes=Fault(status=500)),
    "no tokens": Faults(auth=Fault(status=503)),
    "cut": Faults(routes=Fault(answer="truncated")),
    "html": Faults(all=Fault(answer="html")),
    "half": Faults(all=Fault(status=502, rate=0.5)),
}


@dataclass
class Stage:
    """A sidecar with its sandbox, running as long as the examples."""

    runner: asyncio.Runner
    sandbox: Sandbox
    viewer: Viewer

    async def trouble(self, what: Trouble) -> None:
        """Put one trouble in the place of the one before."""
        self.sandbox.gateway.faults = FAULTS.get(what, Faults())
        if what == "offline":
            await self.sandbox.gateway.offline()
        else:
            await self.sandbox.gateway.online()
        if what == "revoked":
            self.sandbox.gateway.tokens.revoke()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Run a sidecar, its cache on."""
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        folder: Path = tmp_path_factory.mktemp("two")
        sandbox, _, viewer = runner.run(stack.enter_async_context(watching(folder, CONFIGURATION)))
        yield Stage(runner, sandbox, viewer)
        runner.run(stack.aclose())


def secrets_of(person: SignedIn) -> list[str]:
    """Return what nobody else may get to see of someone."""
    return [person.id, person.token, person.cookie, person.token.rpartition(".")[2]]


async def one_call(person: SignedIn, other: SignedIn, number: int) -> None:
    """Make one of a viewer's calls, which claims to be the other's, and hold the answer against both."""
    shown = (person.by_cookie, person.by_token, {**person.by_cookie, **person.by_token})[number % 3]
    video = VIDEOS[number // 3 % 2]
    calls: tuple[tuple[str, str, object], ...] = (
        ("POST", f"/api/kaltura/video/{video}/play", {}),
        ("POST", "/api/kaltura/session", {"videoId": video, "userId": other.id}),
        ("GET", f"/api/kaltura/video/{video}", None),
        ("POST", "/.proxy/api/kaltura/session", {"videoId": video, "userId": other.id}),
        ("GET", f"/api/kaltura/videos?pageSize=2&page={number % 2 + 1}", None),
        ("POST", f"/.proxy/api/kaltura/video/{video}/play", {}),
        ("GET", "/api/kaltura/videos/search?query=cats&pageSize=2", None),
    )
    method, target, body = calls[number % len(calls)]
    reply = await person.ask(method, target, body, shown)
    seen = f"{reply.json} {dict(reply.headers)}"
    for secret in secrets_of(other):
        assert secret not in seen, (method, target, reply)
    if method == "GET":
        assert person.id not in seen
    elif reply.source == "gateway":
        given_to = reply.json.get("ks") or reply.json["playUrl"]
        assert played_by(given_to) == person.id
    else:
        assert is_excuse(reply, person), reply


def is_excuse(reply: Reply, person: SignedIn) -> bool:
    """Tell whether a credential's answer is an honest error, or canned and then for its own viewer."""
    if reply.status != 200:
        return reply.status in {502, 503, 504}
    return reply.source == "canned" and ("playUrl" in reply.json or person.id in reply.json["ks"])


async def signed_in(stage: Stage, code: str) -> SignedIn:
    """Sign in, again where a breaker is open still after the example before."""
    person = await sign_in(stage.viewer, code)
    while "api_token" not in person.reply.json:
        await asyncio.sleep(0.01)
        person = await sign_in(stage.viewer, code)
    return person


async def interleaved(stage: Stage, order: list[int], troubles: Mapping[int, Trouble], width: int) -> None:
    """Make both viewers' calls in that order, `width` at once, with those troubles before the calls named."""
    await stage.trouble("none")
    people = [await signed_in(stage, code) for code in ("alice", "bob")]
    for start in range(0, len(order), width):
        numbers = order[start : start + width]
        for number in numbers:
            if number in troubles:
                await stage.trouble(troubles[number])
        await asyncio.gather(
            *(one_call(people[number % 2], people[1 - number % 2], number // 2) for number in numbers)
        )
    await stage.trouble("none")


# Without shrinking: each step of it would be 200 calls.
@settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)
@given(
    order=st.permutations(range(2 * CALLS_EACH)),
    troubles=st.dictionaries(st.integers(0, 2 * CALLS_EACH - 1), st.sampled_from(TROUBLES), max_size=8),
    width=st.integers(1, 24),
)
def test_two_viewers_never_get_a_byte_of_each_others(
    stage: Stage, order: list[int], troubles: dict[int, Trouble], width: int
) -> None:
    """100 calls each, in any order and any number at once, whatever becomes of the gateway meanwhile."""
    stage.runner.run(interleaved(stage, order, troubles, width))
