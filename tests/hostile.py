"""A whole sidecar between raw stand-ins that keep what reaches them, for requests that mean harm."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from proxy.sidecar import Sidecar
from tests.gateway_fakes import http
from tests.origins import (
    PATIENCE,
    Message,
    Origin,
    Reader,
    Writer,
    client,
    exchange,
    raw_origin,
    read_message,
    request,
)
from tests.running import configured, watched

AFTERWARDS = b"/afterwards"
TOKEN = "tok-fixed-9f3c"
ONE_TRY = f"""
gateway: {{dialect: plan, token: {TOKEN}, retry: {{attempts: 1}}, breaker: {{minimum_calls: 1000000}}}}
"""
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
VIDEO = http(200, {"video": {"id": "1_cats", "title": "Cats"}})
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3}) ")


@dataclass
class Stage:
    """A sidecar with its stand-ins; `activity_says` and `gateway_says` are their next answers.

    `closing`: either ends its connection after an answer.
    """

    sidecar: Sidecar
    port: int
    activity: Origin
    gateway: Origin
    activity_says: bytes = OK
    gateway_says: bytes = VIDEO
    closing: bool = False

    async def answers(self, sent: bytes) -> tuple[list[int], bytes]:
        """Send bytes that end their connection, and return the statuses of the answers, and all of them."""
        async with client(self.port) as (reader, writer):
            writer.write(sent)
            async with asyncio.timeout(PATIENCE):
                got = bytearray()
                with suppress(ConnectionResetError):  # closed with bytes of ours unread
                    while piece := await reader.read(65536):
                        got += piece
        return [int(status) for status in _STATUS_LINE.findall(got)], bytes(got)

    async def reached(self) -> list[Message]:
        """Return what has come to the Activity server, once all that was under way has."""
        await exchange(self.port, request(b"GET " + AFTERWARDS))
        *before, last = self.activity.received
        assert last.target == AFTERWARDS
        return before

    async def refused(self, sent: bytes, status: int = 400) -> bytes:
        """Send what is answered with one error and reaches nobody; return the answer."""
        statuses, answer = await self.answers(sent)
        assert (statuses, await self.reached(), self.gateway.received) == ([status], [], []), answer
        assert b'"code":"' in answer
        return answer

    async def passed(self, sent: bytes) -> Message:
        """Send one request that reaches the Activity server as exactly one; return it as it came there."""
        statuses, answer = await self.answers(sent)
        assert statuses == [200], answer
        (message,) = await self.reached()
        return message

    async def ask(self, start: bytes, *fields: bytes, body: bytes = b"") -> Message:
        """Make one sound request and return the answer."""
        return await exchange(self.port, request(start, *fields, body=body))


@asynccontextmanager
async def attacked(folder: Path, text: str = "") -> AsyncIterator[Stage]:
    """Run the stand-ins with a sidecar between them, whose gateway is asked once a call, with `TOKEN`."""

    async def act(reader: Reader, writer: Writer) -> None:
        while True:
            activity.received.append(await read_message(reader))
            writer.write(stage.activity_says)
            await writer.drain()
            if stage.closing:
                return

    async def answer(reader: Reader, writer: Writer) -> None:
        while True:
            gateway.received.append(await read_message(reader))
            writer.write(stage.gateway_says)
            await writer.drain()
            if stage.closing:
                return

    async with raw_origin(act) as activity, raw_origin(answer) as gateway:
        configuration = configured(
            folder,
            text or ONE_TRY,
            activity=str(activity.url.origin()),
            gateway=f"{gateway.url.origin()}/api",
        )
        async with watched(configuration) as (sidecar, _):
            port = int(str(sidecar.listen).rpartition(":")[2])
            stage = Stage(sidecar, port, activity, gateway)
            yield stage
