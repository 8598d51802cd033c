"""Each fault of the gateway's stand-in, as a client sees it."""

import asyncio
from email.utils import parsedate_to_datetime

import pytest
from aiohttp import ClientConnectionError, ClientPayloadError

from proxy.sandbox import Sandbox
from proxy.sandbox_faults import AnswerManner, Fault, Faults
from tests.clocks import FakeClock, settle
from tests.sandbox_client import Client, logged_in, until

SHELL_KEYS = {"thumbnailUrl", "duration", "createdAt", "views", "playUrl"}
LOGIN = {"discordId": "1", "username": "x"}


async def test_latency_delays_the_answer() -> None:
    """The answer comes when that many seconds have passed, and is as it should be."""
    clock = FakeClock()
    async with Sandbox(clock=clock) as sandbox:
        client = await logged_in(sandbox.gateway_url)
        sandbox.gateway.faults = Faults(routes=Fault(latency=5))
        asked = asyncio.create_task(client("GET", "/videos/1_e0000003"))
        await until(lambda: clock.slept)
        await settle()
        assert not asked.done()
        await clock.advance(5)
        assert (await asked).json()["video"]["id"] == "1_e0000003"
        assert clock.slept == [5]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (500, "application/json"),
        (403, "application/json"),
        (429, "text/html"),
        (502, "text/html"),
        (503, "text/html"),
        (520, "text/html"),
    ],
)
async def test_an_error_status_is_the_gateways_or_the_cdns(status: int, kind: str) -> None:
    """The gateway's own errors are JSON; those of the CDN before it are pages."""
    async with Sandbox() as sandbox:
        client = await logged_in(sandbox.gateway_url)
        sandbox.gateway.faults = Faults(routes=Fault(status=status))
        got = await client("POST", "/videos/1_e0000003/play", json={})
        assert got.status == status
        assert got.headers["Content-Type"].startswith(kind)
        assert "Retry-After" not in got.headers


async def test_retry_after_in_both_forms() -> None:
    """A 429 says in seconds, or with a date, when to come again."""
    clock = FakeClock()
    async with Sandbox(clock=clock) as sandbox:
        client = Client(sandbox.gateway_url)
        sandbox.gateway.faults = Faults(all=Fault(status=429, retry_after=7))
        assert (await client("GET", "/videos")).headers["Retry-After"] == "7"
        sandbox.gateway.faults = Faults(all=Fault(status=429, retry_after=7, retry_after_form="date"))
        said = (await client("GET", "/videos")).headers["Retry-After"]
        assert said.endswith(" GMT")
        assert parsedate_to_datetime(said).timestamp() == clock.time() + 7


async def test_reset_breaks_the_connection_off() -> None:
    """The client's connection is reset before a byte of the answer."""
    async with Sandbox() as sandbox:
        sandbox.gateway.faults = Faults(all=Fault(answer="reset"))
        url = sandbox.gateway_url.removeprefix("http://").removesuffix("/api")
        reader, writer = await asyncio.open_connection(*url.split(":"))
        writer.write(b"GET /api/videos HTTP/1.1\r\nHost: x\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
        with pytest.raises(ClientConnectionError):
            await Client(sandbox.gateway_url)("GET", "/videos")


@pytest.mark.parametrize("status", [None, 503])
async def test_a_truncated_answer_promises_more_than_it_sends(status: int | None) -> None:
    """The connection ends in the middle of the body, of an answer or of an error page."""
    async with Sandbox() as sandbox:
        client = await logged_in(sandbox.gateway_url)
        sandbox.gateway.faults = Faults(routes=Fault(status=status, answer="truncated"))
        with pytest.raises(ClientPayloadError):
            await client("GET", "/videos")


async def test_a_page_in_place_of_json() -> None:
    """With `html` the status stays 200 and the body is a page."""
    async with Sandbox() as sandbox:
        client = await logged_in(sandbox.gateway_url)
        sandbox.gateway.faults = Faults(routes=Fault(answer="html"))
        got = await client("GET", "/videos")
        assert got.status == 200
        assert got.headers["Content-Type"] == "text/html; charset=utf-8"
        assert got.body.startswith(b"<!DOCTYPE html>")


async def test_shells_in_place_of_videos() -> None:
    """With `shell` every video, alone or in a list, is the shell of one; other answers stay."""
    async with Sandbox() as sandbox:
        client = await logged_in(sandbox.gateway_url)
        sandbox.gateway.faults = Faults(routes=Fault(answer="shell"))
        assert set((await client("GET", "/videos/1_e0000003")).json()["video"]) == SHELL_KEYS
        listed = (await client("GET", "/videos")).json()["videos"]
        assert [set(video) for video in listed] == [SHELL_KEYS] * 10
        played = (await client("POST", "/videos/1_e0000003/play", json={})).json()
        assert played["videoId"] == "1_e0000003"


async def test_wrong_types() -> None:
    """With `wrong_types` strings are numbers and numbers strings; a page stays a page."""
    async with Sandbox() as sandbox:
        client = await logged_in(sandbox.gateway_url)
        sandbox.gateway.faults = Faults(all=Fault(answer="wrong_types"))
        video = (await client("GET", "/videos")).json()["videos"][0]
        assert (video["id"], video["duration"]) == (10, "1675")
        assert isinstance((await client("POST", "/auth/token", json=LOGIN)).json()["token"], int)
        assert (await client("GET", "/nothing")).body.startswith(b"<!DOCTYPE html>")


async def test_hang_never_answers() -> None:
    """Nothing comes, and the stand-in still stops at once."""
    async with Sandbox() as sandbox:
        sandbox.gateway.faults = Faults(all=Fault(answer="hang"))
        asked = asyncio.create_task(Client(sandbox.gateway_url)("GET", "/videos"))
        await until(lambda: sandbox.gateway.calls)
        await settle()
        assert not asked.done()
    with pytest.raises(ClientConnectionError):
        await asked


async def test_the_token_endpoint_alone_can_be_down() -> None:
    """With a fault on `auth` no token is to be had, and the ones at hand go on working."""
    async with Sandbox() as sandbox:
        client = await logged_in(sandbox.gateway_url)
        sandbox.gateway.faults = Faults(auth=Fault(status=503))
        assert (await client("POST", "/auth/token", json=LOGIN)).status == 503
        assert (await client("POST", "/auth/refresh", json={})).status == 503
        assert (await client("GET", "/videos")).status == 200
        assert (await client("GET", "/health")).status == 200


async def test_a_share_of_the_requests_fails() -> None:
    """A rate strikes some requests, the same ones again when the same faults are set again."""
    async with Sandbox() as sandbox:
        client = await logged_in(sandbox.gateway_url)
        runs: list[list[int]] = []
        for _ in range(2):
            sandbox.gateway.faults = Faults(routes=Fault(status=500, rate=0.5), seed=3)
            runs.append([(await client("GET", "/videos")).status for _ in range(20)])
        assert runs[0] == runs[1]
        assert set(runs[0]) == {200, 500}


@pytest.mark.parametrize("answer", ["reset", "hang", "truncated"])
async def test_faults_end_when_they_are_taken_back(answer: AnswerManner) -> None:
    """After the faults are gone the next request is answered as ever."""
    async with Sandbox() as sandbox:
        client = await logged_in(sandbox.gateway_url)
        sandbox.gateway.faults = Faults(routes=Fault(answer=answer))
        asked = asyncio.create_task(client("GET", "/videos"))
        await until(lambda: sandbox.gateway.calls["GET /api/videos"])
        sandbox.gateway.faults = Faults()
        assert (await client("GET", "/videos")).status == 200
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
