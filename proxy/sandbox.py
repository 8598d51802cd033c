"""All stand-ins together, for the tests, for the demo, and for `activity-proxy sandbox`."""

import asyncio
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from random import Random
from types import TracebackType
from typing import Self

from proxy.clock import Clock, SystemClock
from proxy.sandbox_activity import Activity
from proxy.sandbox_control import control
from proxy.sandbox_discord import Discord
from proxy.sandbox_gateway import Gateway
from proxy.sandbox_kaltura import Kaltura
from proxy.sandbox_port import LOOPBACK, Port
from proxy.sandbox_releases import GatewayManner

ACTIVITY_PORT = 3002
GATEWAY_PORT = 3000
KALTURA_PORT = 3003
DISCORD_PORT = 3004
TOKEN_LIFE = 3600.0  # seconds; the gateway's own default

_WELCOME = """\
sandbox Activity server  {activity}
sandbox API Gateway      {gateway}  (manner: {manner})
sandbox Kaltura          {kaltura}  (partner {partner}, admin secret {secret})
sandbox Discord          {discord}

A sidecar in front of them, with any FILE that names no addresses, an empty one for instance:
  ACTIVITY_URL={activity} API_GATEWAY_URL={gateway} DISCORD_API_URL={discord} \\
  KALTURA_API_ENDPOINT={kaltura} KALTURA_PARTNER_ID={partner} KALTURA_ADMIN_SECRET={secret} \\
  ENABLE_DIRECT_KALTURA=true activity-proxy run -c FILE

Faults, for example:
  curl -X PUT {activity}/sandbox/faults -d '{{"routes": {{"latency": 5}}}}'
  curl -X PUT {activity}/sandbox/faults -d '{{"all": {{"status": 503, "retry_after": 2}}}}'
  curl -X PUT {activity}/sandbox/faults -d '{{"routes": {{"answer": "html", "rate": 0.5}}}}'
  curl -X PUT {activity}/sandbox/faults -d '{{"offline": true}}'
  curl -X PUT {activity}/sandbox/faults -d '{{}}'
  curl -X POST {activity}/sandbox/revoke
  curl -X PUT {activity}/sandbox/kaltura/faults -d '{{"offline": true}}'
  curl -X PUT {activity}/sandbox/discord/faults -d '{{"all": {{"status": 503}}}}'"""


class Sandbox:
    """The stand-ins, up from entering to leaving.

    `host` is the address to listen at, in numbers. Port 0 is any free one. `token_life` and
    `event_interval` are in seconds. What is random comes from `seed`.
    """

    def __init__(
        self,
        *,
        manner: GatewayManner = "newer",
        host: str = LOOPBACK,
        activity_port: int = 0,
        gateway_port: int = 0,
        kaltura_port: int = 0,
        discord_port: int = 0,
        token_life: float = TOKEN_LIFE,
        event_interval: float = 1.0,
        clock: Clock | None = None,
        seed: int = 0,
    ) -> None:
        clock = clock or SystemClock()
        random = Random(seed)  # nosec B311 # noqa: S311  (makes up sample data)
        self.gateway = Gateway(manner, clock, random, token_life=token_life, port=Port(gateway_port, host))
        self.kaltura = Kaltura(clock, random, Port(kaltura_port, host))
        self.discord = Discord(clock, random, Port(discord_port, host))
        self.activity = Activity(
            clock,
            control(self.gateway, self.kaltura, self.discord),
            port=Port(activity_port, host),
            exchange=self.discord.exchange,
            event_interval=event_interval,
        )

    @property
    def gateway_url(self) -> str:
        """The gateway's base address; it ends in `/api`."""
        return self.gateway.url

    @property
    def activity_url(self) -> str:
        """The Activity server's address, without a slash at its end."""
        return self.activity.url

    @property
    def discord_url(self) -> str:
        """The base address of Discord's API; it ends in `/api`."""
        return self.discord.url

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as started:
            await self.gateway.online()
            started.push_async_callback(self.gateway.close)
            await self.kaltura.online()
            started.push_async_callback(self.kaltura.close)
            await self.discord.online()
            started.push_async_callback(self.discord.close)
            await self.activity.online()
            started.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.activity.close()
        await self.discord.close()
        await self.kaltura.close()
        await self.gateway.close()


async def run_sandbox(
    say: Callable[[str], object],
    *,
    manner: GatewayManner = "newer",
    host: str = LOOPBACK,
    activity_port: int = ACTIVITY_PORT,
    gateway_port: int = GATEWAY_PORT,
    kaltura_port: int = KALTURA_PORT,
    discord_port: int = DISCORD_PORT,
    token_life: float = TOKEN_LIFE,
) -> int:
    """Run the stand-ins until SIGTERM or SIGINT, and return the exit status.

    `say` takes what a person wants to know. 0 is stopped as asked, 1 that a port is taken.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    sandbox = Sandbox(
        manner=manner,
        host=host,
        activity_port=activity_port,
        gateway_port=gateway_port,
        kaltura_port=kaltura_port,
        discord_port=discord_port,
        token_life=token_life,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        async with sandbox:
            say(
                _WELCOME.format(
                    activity=sandbox.activity_url,
                    gateway=sandbox.gateway_url,
                    manner=manner,
                    kaltura=sandbox.kaltura.url,
                    discord=sandbox.discord_url,
                    partner=sandbox.kaltura.partner_id,
                    secret=sandbox.kaltura.secret,
                )
            )
            await stop.wait()
    except OSError as error:
        say(f"activity-proxy: the sandbox cannot listen: {error.strerror}")
        return 1
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
    return 0
