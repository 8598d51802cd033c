"""Asks after the health of a gateway that a breaker keeps alone, so that a short outage ends when it ends.

A breaker opens for longer each time, up to minutes, and the gateway may be back long before. Its health
page costs it next to nothing: while it answers there, the breakers may try calls before their time. What the
page says is a hint and no more; see `hasten` of the breaker for why a wrong one does no harm.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

import orjson
from aiohttp import ClientError, ClientResponse, ClientSession, hdrs
from yarl import URL

from proxy.clock import Clock
from proxy.events import BreakerChanged, Event

EVERY = 1.0
"""Seconds between two questions, on average."""
JITTER = 0.5
"""The share of that time which is left to chance, so that many sidecars do not ask in step."""
TIMEOUT = 1.0
"""Seconds that a question may take."""
MAX_ANSWER = 64 * 1024
_HEADERS = {hdrs.ACCEPT: "application/json", hdrs.ACCEPT_ENCODING: "identity"}


class Hastened(Protocol):
    """A breaker that takes a hint."""

    @property
    def can_hasten(self) -> bool:
        """Whether a hint would change anything now."""
        ...

    def hasten(self) -> None:
        """Try calls at once."""


class Recovery:
    """Hastens breakers while the gateway's health page says that it is well.

    `base` is the gateway's base URL: the page is `/health` below it or, in older releases, at the root. It is
    asked without a token. `random` gives numbers from 0 up to 1. With no breaker open nothing is asked.
    """

    __slots__ = ("_breakers", "_clock", "_opened", "_pages", "_random", "_session", "_timeout")

    def __init__(
        self,
        base: str,
        session: ClientSession,
        breakers: Iterable[Hastened],
        *,
        clock: Clock,
        random: Callable[[], float],
        timeout: float = TIMEOUT,
    ) -> None:
        url = URL(base, encoded=True)
        self._pages = tuple(dict.fromkeys((url / "health", url.origin() / "health")))
        self._session = session
        self._breakers = tuple(breakers)
        self._clock = clock
        self._random = random
        self._timeout = timeout
        self._opened = asyncio.Event()

    def notice(self, event: Event) -> None:
        """Wake up when a breaker has opened."""
        if isinstance(event, BreakerChanged) and event.to_state == "open":
            self._opened.set()

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            await self._opened.wait()
            self._opened.clear()
            while any(breaker.can_hasten for breaker in self._breakers):
                await self._clock.sleep(EVERY * (1 + JITTER * (self._random() - 0.5)))
                if await self._healthy():
                    for breaker in self._breakers:
                        breaker.hasten()

    async def _healthy(self) -> bool:
        """Ask the pages in turn, until one is there or the gateway is not."""
        try:
            for page in self._pages:
                if await self._says_so(page):
                    return True
        except (ClientError, OSError):  # among them TimeoutError
            pass
        return False

    async def _says_so(self, page: URL) -> bool:
        async with (
            asyncio.timeout(self._timeout),
            self._session.get(
                page, headers=_HEADERS, allow_redirects=False, auto_decompress=False, middlewares=()
            ) as response,
        ):
            return response.status == 200 and await _is_json(response)


async def _is_json(response: ClientResponse) -> bool:
    """Tell whether the answer is a JSON object, and not the page of something in the gateway's place."""
    body = bytearray()
    async for chunk in response.content.iter_chunked(MAX_ANSWER):
        body += chunk
        if len(body) > MAX_ANSWER:
            return False
    try:
        return isinstance(orjson.loads(body), dict)
    except orjson.JSONDecodeError:
        return False
