"""Fifty viewers with a realistic mix of requests, and what each of them must not see."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal, Self

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector

from proxy.sandbox_library import Library

Kind = Literal["video", "list", "search", "session", "play"]
CATALOG: tuple[Kind, ...] = ("video", "list", "search")
SHARES: Mapping[Kind, float] = {"video": 0.5, "list": 0.2, "search": 0.2, "session": 0.05, "play": 0.05}
SOURCES = frozenset({"gateway", "cache", "stale", "activity", "canned"})

VIEWERS = 50
PAUSE = 0.25  # seconds between a viewer's requests, on average
PATIENCE = 15.0  # seconds after which a viewer takes the page for broken
KNOWN_IDS = tuple(f"1_e{n:07d}" for n in range(1, 21))
COLD_IDS = tuple(f"1_e{n:07d}" for n in range(21, 96))
ABSENT_IDS = tuple(f"1_absent{n:02d}" for n in range(5))
KNOWN_LISTS = tuple(f"/api/kaltura/videos?page={page}&pageSize=10" for page in (1, 2, 3))
KNOWN_WORDS = ("cats", "dogs", "networks", "lecture")
KNOWN_SEARCHES = tuple(f"/api/kaltura/videos/search?query={word}&pageSize=10" for word in KNOWN_WORDS)

_LIBRARY = Library(Random(0))  # noqa: S311  (sample data)
TITLES: Mapping[str, object] = {one: _LIBRARY.one(one)["title"] for one in KNOWN_IDS + COLD_IDS}


@dataclass(frozen=True, slots=True)
class Wish:
    """One request that a viewer makes. `known`: it was answered before anything broke."""

    kind: Kind
    method: str
    target: str
    body: object = None
    video: str = ""
    known: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """What a viewer saw: `status` 0 is no answer at all, and `trouble` tells why."""

    wish: Wish
    status: int
    seconds: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    trouble: str = ""

    @property
    def source(self) -> str | None:
        """Where the answer says that it came from."""
        return self.headers.get("Activity-Proxy-Source")

    def __str__(self) -> str:
        said = json.dumps(self.json)[:160]
        return f"{self.wish.method} {self.wish.target}: {self.status} {self.source} {self.trouble} {said}"


def video(video_id: str, *, known: bool = False) -> Wish:
    """A wish for one video."""
    return Wish("video", "GET", f"/api/kaltura/video/{video_id}", video=video_id, known=known)


def play(video_id: str) -> Wish:
    """A wish for a play URL."""
    return Wish("play", "POST", f"/api/kaltura/video/{video_id}/play", {}, video_id)


def session(video_id: str) -> Wish:
    """A wish for a Kaltura session."""
    return Wish("session", "POST", "/api/kaltura/session", {"videoId": video_id}, video_id)


def search(words: str) -> Wish:
    """A wish for what nobody searched for before."""
    return Wish("search", "GET", f"/api/kaltura/videos/search?query={words}")


KNOWN: tuple[Wish, ...] = (
    *(video(one, known=True) for one in KNOWN_IDS),
    *(Wish("list", "GET", target, known=True) for target in KNOWN_LISTS),
    *(Wish("search", "GET", target, known=True) for target in KNOWN_SEARCHES),
)


def wishes(random: Random, viewer: str) -> Iterator[Wish]:
    """The wishes of one viewer, without end: most for what many want, some for what nobody wanted yet."""
    kinds = list(SHARES)
    made = 0
    while True:
        kind = random.choices(kinds, [SHARES[kind] for kind in kinds])[0]
        chance = random.random()
        match kind:
            case "video" if chance < 0.9:
                yield video(random.choice(KNOWN_IDS), known=True)
            case "video":
                yield video(random.choice(COLD_IDS if chance < 0.98 else ABSENT_IDS))
            case "list":
                yield Wish("list", "GET", random.choice(KNOWN_LISTS), known=True)
            case "search" if chance < 0.7:
                yield Wish("search", "GET", random.choice(KNOWN_SEARCHES), known=True)
            case "search":
                made += 1
                yield search(f"lecture+{viewer}+{made}")
            case "session":
                yield session(random.choice(KNOWN_IDS))
            case "play":
                yield play(random.choice(KNOWN_IDS))


async def ask(client: ClientSession, base: str, wish: Wish) -> Seen:
    """Have a wish answered, whatever comes of it."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        async with client.request(wish.method, base + wish.target, json=wish.body) as response:
            raw = await response.read()
            seconds = loop.time() - began
            is_json = response.content_type == "application/json"
            return Seen(
                wish, response.status, seconds, response.headers.copy(), json.loads(raw) if is_json else None
            )
    except (ClientError, OSError, ValueError) as error:
        return Seen(wish, 0, loop.time() - began, trouble=repr(error))


class Crowd:
    """The viewers, at it from coming in to leaving. One in fifty requests is left before its answer."""

    def __init__(self, base: str, seed: int, *, size: int = VIEWERS, pause: float = PAUSE) -> None:
        self.base = base
        self.seen: list[Seen] = []
        self.client = ClientSession(connector=TCPConnector(limit=0), timeout=ClientTimeout(total=PATIENCE))
        self._seed = seed
        self._size = size
        self._pause = pause
        self._viewers: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        return self

    def come_in(self) -> None:
        """Begin to ask."""
        self._viewers = [asyncio.create_task(self._view(number)) for number in range(self._size)]

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Go home, in the middle of whatever is under way. Raises what went wrong with a viewer."""
        viewers, self._viewers = self._viewers, []
        for viewer in viewers:
            viewer.cancel()
        ends = await asyncio.gather(*viewers, return_exceptions=True)
        await self.client.close()
        broken = [end for end in ends if isinstance(end, Exception)]
        if broken:
            raise broken[0]

    async def ask(self, wish: Wish) -> Seen:
        """Have a wish answered for one more viewer."""
        seen = await ask(self.client, self.base, wish)
        self.seen.append(seen)
        return seen

    async def _view(self, number: int) -> None:
        random = Random(f"{self._seed}-{number}")  # noqa: S311  (a mix that can be repeated)
        for wish in wishes(random, str(number)):
            await asyncio.sleep(random.expovariate(1 / self._pause))
            if random.random() < 0.02:
                await self._leave_early(wish)
            else:
                await self.ask(wish)

    async def _leave_early(self, wish: Wish) -> None:
        try:
            async with asyncio.timeout(0.003):
                await ask(self.client, self.base, wish)
        except TimeoutError:
            pass


def wrong(seen: Seen, *, shells: bool = False, production: bool = False) -> str | None:
    """Tell what a viewer must not have seen, if that is what they saw.

    A shell is how the gateway says that there is no such video, so with `shells` a video may be 404. In
    production a credential may be an honest error.
    """
    wish = seen.wish
    if seen.status == 404 and wish.kind == "video" and (shells or wish.video in ABSENT_IDS):
        return None if seen.source in SOURCES else "a 404 of no source"
    credential = wish.kind not in CATALOG
    if production and credential and seen.status in {502, 503, 504}:
        return _unfit_error(seen)
    if seen.status != 200:
        return f"status {seen.status}"
    if seen.source not in SOURCES or not seen.headers.get("Cache-Status", "").startswith("activity-proxy;"):
        return "an answer that does not tell its source"
    if seen.source == "canned" and (wish.known or (production and credential)):
        return "a canned answer"
    return None if _fits(seen) else "not what was asked for"


def _fits(seen: Seen) -> bool:
    wish, reply = seen.wish, seen.json
    if not isinstance(reply, dict):
        return False
    match wish.kind:
        case "video":
            real = seen.source == "canned" or reply.get("title") == TITLES.get(wish.video)
            return reply.get("id") == wish.video and real
        case "list" | "search":
            return all(
                isinstance(one.get("id"), str)
                and isinstance(one.get("title"), str)
                and one["title"] == TITLES.get(one["id"], one["title"])
                for one in reply["videos"]
            ) and (bool(reply["videos"]) or not wish.known)
        case "session":
            return isinstance(reply.get("ks"), str)
        case "play":
            return isinstance(reply.get("playUrl"), str)


def _unfit_error(seen: Seen) -> str | None:
    """Tell what is wrong with an error that a viewer may be shown."""
    reply = seen.json if isinstance(seen.json, dict) else {}
    message = reply.get("message", "")
    if "Proxy-Status" not in seen.headers:
        return "an error without Proxy-Status"
    if int(seen.headers.get("Retry-After", "0")) < 1:
        return "an error without Retry-After"
    if (
        not message.startswith("The video service is not available")
        or "http" in message
        or len(message) > 200
    ):
        return "a message that cannot be shown"
    return None
