"""The sandbox as a whole: starting, stopping, taken ports, signals."""

import asyncio
import os
import re
import signal
from pathlib import Path

import pytest

from proxy.configuration import load
from proxy.sandbox import Sandbox, run_sandbox
from tests.sandbox_client import Client, until

NO_IPV6 = not Path("/proc/net/if_inet6").exists()


async def test_both_stand_ins_are_gone_after_the_sandbox() -> None:
    """Inside the block both answer, behind it both ports are closed."""
    async with Sandbox() as sandbox:
        urls = [sandbox.activity_url + "/api/health", sandbox.gateway_url + "/health"]
        for url in urls:
            assert (await Client(url)("GET", "")).status == 200
    for url in urls:
        with pytest.raises(OSError, match="Connect call failed"):
            await Client(url)("GET", "")


async def test_the_sandbox_can_end_while_its_gateway_is_offline() -> None:
    """Leaving the block while the gateway is offline gives its port back."""
    async with Sandbox() as sandbox:
        await sandbox.gateway.offline()
        port = int(sandbox.gateway_url.split(":")[2].removesuffix("/api"))
    async with Sandbox(gateway_port=port) as again:
        assert (await Client(again.gateway_url)("GET", "/health")).status == 200


@pytest.mark.parametrize(
    ("host", "named"),
    [
        ("0.0.0.0", "http://0.0.0.0:"),
        pytest.param("::1", "http://[::1]:", marks=pytest.mark.skipif(NO_IPV6, reason="no IPv6 here")),
    ],
)
async def test_it_can_listen_elsewhere(host: str, named: str) -> None:
    """Another address is listened at and named, an IPv6 one in brackets."""
    async with Sandbox(host=host) as sandbox:
        assert sandbox.activity_url.startswith(named)
        assert sandbox.gateway_url.startswith(named)
        assert (await Client(sandbox.gateway_url)("GET", "/health")).status == 200


async def test_sample_data_is_repeatable() -> None:
    """The same seed makes up the same sessions."""
    sessions: list[str] = []
    for seed in (1, 1, 2):
        async with Sandbox(seed=seed) as sandbox:
            client = Client(sandbox.activity_url)
            got = await client("POST", "/api/token", json={"code": "x"})
            sessions.append(got.json()["access_token"])
    assert sessions[0] == sessions[1] != sessions[2]


async def test_a_taken_port_leaves_nothing_behind() -> None:
    """When the Activity server's port is someone else's, the gateway is stopped again."""
    async with Sandbox() as other:
        taken = int(other.activity_url.rsplit(":", 1)[1])
        sandbox = Sandbox(activity_port=taken)
        with pytest.raises(OSError, match=f"127.0.0.1:{taken}: Address already in use"):
            await sandbox.__aenter__()
        assert not sandbox.gateway.is_online


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_runs_until_it_is_told_to_stop(number: signal.Signals, tmp_path: Path) -> None:
    """It says where all listen, how to point a sidecar there and to set a fault; a signal ends it with 0."""
    said: list[str] = []
    running = asyncio.create_task(
        run_sandbox(
            said.append, manner="older", activity_port=0, gateway_port=0, kaltura_port=0, discord_port=0
        )
    )
    await until(lambda: said)
    activity, gateway = [word for word in said[0].split() if word.startswith("http://")][:2]
    assert (await Client(activity)("GET", "/api/health")).status == 200
    assert (await Client(gateway)("POST", "/auth/refresh", json={})).status == 400
    assert "(manner: older)" in said[0]
    assert f"curl -X PUT {activity}/sandbox/faults -d '{{\"offline\": true}}'" in said[0]
    (tmp_path / "proxy.yaml").write_text("")
    told = load(tmp_path / "proxy.yaml", dict(re.findall(r"([A-Z_]+)=(\S+)", said[0]))).settings
    assert (told.activity.url, told.gateway.url) == (activity, gateway)
    assert told.kaltura.enabled
    for url in (told.kaltura.url, told.identity.discord_url):
        assert f"{url} " in said[0]
    os.kill(os.getpid(), number)
    assert await running == 0
    assert len(said) == 1


async def test_a_taken_port_is_said_and_ends_with_one() -> None:
    """A port that is someone else's is named, without a traceback."""
    said: list[str] = []
    async with Sandbox() as other:
        taken = int(other.activity_url.rsplit(":", 1)[1])
        assert (
            await run_sandbox(
                said.append, activity_port=taken, gateway_port=0, kaltura_port=0, discord_port=0
            )
            == 1
        )
    assert said == [f"activity-proxy: the sandbox cannot listen: 127.0.0.1:{taken}: Address already in use"]
