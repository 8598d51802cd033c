"""Bare aiohttp handlers, the limit of what can be had: send an answer that lies ready, get and map one, echo.

python -m bench.peers.bare PORT ORIGIN
"""

import sys
from collections.abc import AsyncIterator

import aiohttp
import orjson
from aiohttp import web

from bench.payloads import CACHED_BODY, CACHED_HEADERS

_SESSION = web.AppKey("session", aiohttp.ClientSession)


def application(origin: str) -> web.Application:
    """Return the handlers in front of an origin."""

    async def ready(_: web.Request) -> web.Response:
        return web.Response(body=CACHED_BODY, headers=CACHED_HEADERS)

    async def mapped(request: web.Request) -> web.Response:
        url = f"{origin}/api/videos/{request.match_info['id']}"
        headers = {"Authorization": "Bearer fixed"}
        async with request.app[_SESSION].get(url, headers=headers) as response:
            found = orjson.loads(await response.read())["video"]
        reply = {
            "id": found["id"],
            "title": found["title"],
            "description": found["description"] or "",
            "duration": found["duration"] or 0,
            "thumbnailUrl": found["thumbnailUrl"] or "",
            "partnerId": found["partnerId"],
            "createdAt": found["createdAt"],
            "views": found["views"] or 0,
            "playUrl": found["playUrl"],
            "userId": found["userId"],
        }
        return web.Response(body=orjson.dumps(reply), headers=CACHED_HEADERS)

    async def echo(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        async for message in socket:
            await socket.send_bytes(message.data)
        return socket

    async def session(app: web.Application) -> AsyncIterator[None]:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as app[_SESSION]:
            yield

    app = web.Application()
    app.cleanup_ctx.append(session)
    app.router.add_get("/ready", ready)
    app.router.add_get("/api/kaltura/video/{id}", mapped)
    app.router.add_get("/echo", echo)
    return app


if __name__ == "__main__":
    web.run_app(
        application(sys.argv[2]),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        access_log=None,
        print=lambda _: None,
    )
