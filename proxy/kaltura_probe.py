"""Asks Kaltura what the routes would ask of it, and says what it supports."""

import random
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack

import orjson

from proxy.call import Call, ClientRequest, SourceFailed, Subject, Value
from proxy.clock import SystemClock
from proxy.configuration import Configuration
from proxy.dialects import ANY_VIDEO
from proxy.direct import Direct, open_kaltura
from proxy.grant import TokenError
from proxy.headers import Hop
from proxy.route import KalturaCall, Route
from proxy.workshop import Workshop

_ORDER: tuple[KalturaCall, ...] = (
    "list",
    "search",
    "video",
    "session",
)  # lists first: they give a video's id
_REQUEST = ClientRequest("GET", "/", Hop(None, "http", None, "1.1"), (), b"")


async def probe_kaltura(configuration: Configuration) -> AsyncIterator[tuple[str, str, bool]]:
    """Give what was asked, what came of it, and whether that is well; each kind of call once.

    None of the answers is told. Without a session for reading nothing more is asked.
    """
    async with AsyncExitStack() as resources:
        direct = await open_kaltura(Workshop(configuration, SystemClock(), random.random, resources))
        try:
            await direct.tokens.get()
        except TokenError as error:
            yield "session for reading", f"none: {error.detail}", False
            return
        yield "session for reading", "supported", True
        video = ANY_VIDEO
        for route in _routes(configuration):
            values: dict[str, Value] = {
                "videoId": video,
                "userId": "anonymous",
                "query": "a",
                "page": 1,
                "pageSize": 1,
            }
            deadline = SystemClock().monotonic() + configuration.settings.gateway.timeout.attempt
            try:
                found = await _ask(direct, route, values, deadline)
            except SourceFailed as error:
                yield f"{route.kaltura} ({route.name})", f"not usable: {error.failure.detail}", False
            else:
                video = found or video
                yield f"{route.kaltura} ({route.name})", "supported", True


def _routes(configuration: Configuration) -> list[Route]:
    routes = [route for table in configuration.tables.values() for route in table.values()]
    kinds = {route.kaltura: route for route in reversed(routes) if route.kaltura is not None}
    return [kinds[kind] for kind in _ORDER if kind in kinds]


async def _ask(direct: Direct, route: Route, values: Mapping[str, Value], deadline: float) -> str | None:
    """Make one call; return the id of a video that it lists, if it does. Raises `SourceFailed`."""
    given = {name: values.get(name, wanted.default or "") for name, wanted in route.inputs.items()}
    subject = Subject("service", "", "")
    answer = await direct.source(Call(route, given, subject, _REQUEST, "probe", deadline))
    content = orjson.loads(answer.body) if answer.status == 200 else {}
    return next((video["id"] for video in content.get("videos", ())), None)
