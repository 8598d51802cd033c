"""The stand-ins answer every recorded request as the real services did."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import ClientSession

from proxy.sandbox import Sandbox
from proxy.sandbox_releases import GatewayManner
from proxy.sandbox_tokens import User
from tests.clocks import FakeClock
from tests.recordings import Exchange, Recording, load

GATEWAYS: dict[Recording, GatewayManner] = {
    "gateway-older-kaltura": "older",
    "gateway-newer-kaltura": "newer",
    "gateway-newer-development": "development",
}
NELLY = User("80351110224678912", "Nelly", "viewer")


def cases() -> Iterator[Any]:
    """Every recorded exchange with a gateway, and the manner it belongs to."""
    for name, manner in GATEWAYS.items():
        for exchange in load(name):
            yield pytest.param(manner, exchange, id=f"{manner}: {exchange}")


@pytest.mark.parametrize(("manner", "recorded"), list(cases()))
async def test_the_gateway_answers_as_recorded(manner: GatewayManner, recorded: Exchange) -> None:
    """The gateway's stand-in gives the recorded status, headers and body, but for what is random."""
    async with Sandbox(manner=manner, clock=FakeClock()) as sandbox:
        token = sandbox.gateway.tokens.issue(NELLY)
        live = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]+")
        headers = {name: live.sub(token, value) for name, value in recorded.headers.items()}
        sent = recorded.sent and live.sub(token, recorded.sent.decode()).encode()
        base = sandbox.gateway_url.removesuffix("/api")
        await agrees(recorded, base, headers, sent, made_up=manner == "development")


@pytest.mark.parametrize("recorded", load("activity-server"), ids=str)
async def test_the_activity_server_answers_as_recorded(recorded: Exchange) -> None:
    """The Activity server's stand-in gives the recorded status, headers and body to the second."""
    async with Sandbox(clock=FakeClock()) as sandbox:
        await agrees(recorded, sandbox.activity_url, dict(recorded.headers), recorded.sent)


async def agrees(
    recorded: Exchange,
    base: str,
    headers: dict[str, str],
    sent: bytes | None,
    *,
    made_up: bool = False,
) -> None:
    """Send the request again and compare."""
    async with (
        ClientSession() as session,
        session.request(recorded.method, base + recorded.path, headers=headers, data=sent) as got,
    ):
        raw = await got.text()
    assert got.status == recorded.status
    for name in ("content-type", "access-control-allow-origin"):
        assert got.headers.get(name) == recorded.answer_headers.get(name)
    assert ("etag" in got.headers) == ("etag" in recorded.answer_headers)
    answer = json.loads(raw) if got.content_type == "application/json" else raw
    # Kaltura's address was put in its public form after the tags were made.
    if answer == recorded.answer and "/api_v3/" not in raw:
        assert got.headers.get("etag") == recorded.answer_headers.get("etag")
    assert masked(answer, made_up=made_up) == masked(recorded.answer, made_up=made_up)


VOLATILE = (
    (re.compile(r"(eyJ[\w-]+\.[\w-]+)\.[\w-]{43}"), r"\1.<signature>"),
    (re.compile(r"[0-9a-f]{40}"), "<hash>"),
    (re.compile(r"(2026-11-\d\dT\d\d:53:09)\.\d{3}Z"), r"\1.<ms>Z"),
    (re.compile(r"^(mock_ks_.*_1795395189)\d{3}$"), r"\1<ms>"),
    (re.compile(r"^mock_ks_[a-z0-9]{9,12}$"), "<ks>"),
)


def masked(value: Any, *, made_up: bool) -> Any:
    """Return the answer without what differs from call to call."""
    if isinstance(value, list):
        return [masked(item, made_up=made_up) for item in value]
    if isinstance(value, dict):
        if made_up and "thumbnailUrl" in value:
            value = without_chance(value)
        return {key: masked(item, made_up=made_up) for key, item in value.items()}
    if isinstance(value, str):
        for pattern, instead in VOLATILE:
            value = pattern.sub(instead, value)
    return value


def without_chance(video: dict[str, Any]) -> dict[str, Any]:
    """Return a made-up video without its random parts, which must be of the right kind."""
    assert isinstance(video["duration"], int)
    assert isinstance(video["views"], int)
    known = {**video, "duration": "<seconds>", "views": "<views>"}
    if re.fullmatch(r"[a-z0-9]{9,12}", video["id"]):
        return {
            key: item.replace(video["id"], "<id>") if isinstance(item, str) else item
            for key, item in known.items()
        }
    return known
