"""The script of faults: each strikes the gateway for some seconds and is gone afterwards."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping
from random import Random

from proxy.sandbox_faults import Fault, Faults
from tests.chaos.stage import Stage

Strike = Callable[[Stage, float, Random], Awaitable[None]]
"""Strikes for about that many seconds."""


def answering(all_: Fault | None = None, *, auth: Fault | None = None, revoked: bool = False) -> Strike:
    """A fault of the gateway's answers; `revoked`: it also forgets all tokens as it begins."""

    async def strike(stage: Stage, seconds: float, random: Random) -> None:
        gateway = stage.sandbox.gateway
        gateway.faults = Faults(all=all_ or Fault(), auth=auth or Fault(), seed=random.randrange(2**32))
        if revoked:
            gateway.tokens.revoke()
        try:
            await asyncio.sleep(seconds)
        finally:
            gateway.faults = Faults()

    return strike


async def crash(stage: Stage, seconds: float, random: Random) -> None:
    """The gateway is gone: whoever comes is refused."""
    await stage.sandbox.gateway.offline()
    await asyncio.sleep(seconds)
    await stage.sandbox.gateway.online()


async def flapping(stage: Stage, seconds: float, random: Random) -> None:
    """The gateway comes and goes."""
    end = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < end:
        await crash(stage, random.uniform(0.1, 0.3), random)
        await asyncio.sleep(random.uniform(0.1, 0.3))


async def revoked(stage: Stage, seconds: float, random: Random) -> None:
    """The gateway forgets its tokens, in the midst of calls."""
    stage.sandbox.gateway.tokens.revoke()
    await asyncio.sleep(seconds)


async def slow_client(stage: Stage, seconds: float, random: Random) -> None:
    """Clients that ask and do not read, and clients that never come to the end of their request."""
    loop = asyncio.get_running_loop()
    listen = stage.sidecar.listen
    request = f"GET /api/kaltura/videos?pageSize=500 HTTP/1.1\r\nHost: {listen}\r\n\r\n".encode()
    clients = []
    try:
        for number in range(20):
            client = socket.socket()
            clients.append(client)
            client.setblocking(False)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            await loop.sock_connect(client, (listen.host, listen.port))
            await loop.sock_sendall(client, request * 30 if number % 2 else request[:-9])
        await asyncio.sleep(seconds)
    finally:
        for client in clients:
            client.close()


ERRORS = Fault(status=500, rate=0.3)
STORM = Fault(status=429, retry_after=1)
SCRIPT: Mapping[str, Strike] = {
    "crash": crash,
    "hang": answering(Fault(answer="hang")),
    "slow": answering(Fault(latency=5.0)),
    "sluggish": answering(Fault(latency=0.3)),
    "some 500": answering(ERRORS),
    "all 500": answering(Fault(status=500)),
    "429 storm": answering(STORM),
    "429 storm, some, with dates": answering(
        Fault(status=429, retry_after=1, retry_after_form="date", rate=0.5)
    ),
    "resets": answering(Fault(answer="reset")),
    "truncations": answering(Fault(answer="truncated")),
    "HTML pages": answering(Fault(answer="html")),
    "shells": answering(Fault(answer="shell")),
    "wrong types": answering(Fault(answer="wrong_types")),
    "no tokens": answering(auth=Fault(status=503), revoked=True),
    "hanging tokens": answering(auth=Fault(answer="hang"), revoked=True),
    "revoked": revoked,
    "flapping": flapping,
    "slow client": slow_client,
}
HARMLESS = frozenset({"revoked", "slow client"})
"""After these the gateway still answers every call."""
