"""A stand-in for the Activity server with placeholder credentials, so that it serves its own mocks.

Beside the calls of the contract it has what passes through the sidecar in practice: a web page, a
WebSocket and a stream of events.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from aiohttp import WSCloseCode, WSMsgType, hdrs, web
from aiohttp.typedefs import Handler

from proxy.clock import Clock
from proxy.sandbox_express import BODY_LIMIT, BodyError, answer, iso, number, open_to_all, read_object, text
from proxy.sandbox_port import Port, StandIn

_PARTNER = "your_kaltura_partner_id"
_DAY = 86_400
_PAGE_SIZE = 30  # videos, where the request does not say
_TOKEN_LIFE = 604_800  # seconds; what Discord gives
_EVENTS = 5  # of a stream, where the request does not say
_MOST_EVENTS = 1000
_PAGE_FILES = Path(__file__).parent / "demo_page"
_SENT_BACK = (WSMsgType.TEXT, WSMsgType.BINARY)
_PAGE_TYPES = {
    "index.html": "text/html; charset=utf-8",
    "app.js": "text/javascript; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
}
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'"
)


class Activity(StandIn):
    """The stand-in: its port and its routes.

    `control` are more routes that it carries. `exchange` gives Discord's access token for a code.
    `event_interval` is the time between two events of `/events`, in seconds.
    """

    def __init__(
        self,
        clock: Clock,
        control: Sequence[web.AbstractRouteDef],
        *,
        port: Port,
        exchange: Callable[[str], str],
        event_interval: float = 1.0,
    ) -> None:
        self._clock = clock
        self._exchange = exchange
        self._control = control
        self.port = port
        self._event_interval = event_interval

    @property
    def url(self) -> str:
        """The address of the stand-in, without a slash at its end."""
        return self.port.url

    def application(self) -> web.Application:
        """Return what answers."""
        application = web.Application(
            client_max_size=BODY_LIMIT, middlewares=[_whole, open_to_all, _preflight]
        )
        application.add_routes(
            [
                web.get("/api/health", self._health),
                web.post("/api/token", self._token),
                web.post("/api/kaltura/session", self._session),
                web.get("/api/kaltura/videos", self._list),
                web.get("/api/kaltura/videos/search", self._search),
                web.get("/api/kaltura/video/{id}", self._video),
                web.get("/ws", _echo),
                web.get("/events", self._events),
                web.get("/", _page_file("index.html")),
                *(web.get(f"/{name}", _page_file(name)) for name in ("index.html", "app.js", "style.css")),
                *self._control,
            ]
        )
        return application

    async def _health(self, _: web.Request) -> web.Response:
        now = iso(self._clock.time())
        return answer({"status": "ok", "environment": "development", "timestamp": now})

    async def _token(self, request: web.Request) -> web.Response:
        code = (await read_object(request)).get("code")
        if not code:
            return answer({"error": "code is required"}, 400)
        if code == "invalid":
            wording = "Failed to exchange the code: invalid_grant"
            return answer({"error": "Internal server error", "message": wording}, 500)
        return answer(
            {
                "access_token": self._exchange(str(code)),
                "token_type": "Bearer",  # nosec B105 # (a kind of token)
                "expires_in": _TOKEN_LIFE,
                "scope": "identify guilds",
            }
        )

    async def _session(self, request: web.Request) -> web.Response:
        body = await read_object(request)
        video_id, user_id = body.get("videoId"), body.get("userId") or "anonymous"
        if not video_id:
            return answer({"error": "videoId is required"}, 400)
        return answer({"ks": f"mock_ks_{video_id}_{user_id}_{int(self._clock.time() * 1000)}"})

    async def _video(self, request: web.Request) -> web.Response:
        video_id = request.match_info["id"]
        return answer(
            {
                "id": video_id,
                "title": f"Sample Video ({video_id})",
                "description": "This is a sample video for development and testing purposes.",
                "duration": 120,
                "thumbnailUrl": "https://via.placeholder.com/640x360?text=Sample+Video",
                "partnerId": _PARTNER,
                "createdAt": iso(self._clock.time()),
                "views": 100,
            }
        )

    async def _list(self, request: web.Request) -> web.Response:
        now = self._clock.time()
        return _paged(request, [_sample(n, "", now - (n - 1) * _DAY, 50 + 50 * n) for n in range(1, 11)])

    async def _search(self, request: web.Request) -> web.Response:
        queries = request.query.getall("query", [])
        if len(queries) != 1 or not queries[0]:
            return answer({"error": "query parameter is required"}, 400)
        now = self._clock.time()
        suffix = f' - "{queries[0]}"'
        return _paged(request, [_sample(n, suffix, now, 75 + 25 * n) for n in range(1, 6)])

    async def _events(self, request: web.Request) -> web.StreamResponse:
        events = min(max(number(request.query.get("count"), _EVENTS), 1), _MOST_EVENTS)
        stream = web.StreamResponse(
            headers={
                hdrs.CONTENT_TYPE: "text/event-stream",
                hdrs.CACHE_CONTROL: "no-store",
                hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: "*",
            }
        )
        await stream.prepare(request)
        for n in range(1, events + 1):
            if n > 1:
                await self._clock.sleep(self._event_interval)
            await stream.write(f'id: {n}\nevent: tick\ndata: {{"n":{n}}}\n\n'.encode())
        return stream


@web.middleware
async def _whole(request: web.Request, handler: Handler) -> web.StreamResponse:
    # The body is read before the header that opens the service to all origins is set.
    try:
        return await handler(request)
    except BodyError as error:
        return answer({"error": "Internal server error", "message": str(error)}, 500)


@web.middleware
async def _preflight(request: web.Request, handler: Handler) -> web.StreamResponse:
    return text("OK") if request.method == hdrs.METH_OPTIONS else await handler(request)


async def _echo(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(protocols=("echo",), max_msg_size=0, autoclose=False)
    await socket.prepare(request)
    while (message := await socket.receive()).type in _SENT_BACK:
        if message.type is WSMsgType.TEXT:
            await socket.send_str(message.data)
        else:
            await socket.send_bytes(message.data)
    # A close is answered in kind; after a broken frame it is closed already.
    closing = message.type is WSMsgType.CLOSE and message.data
    reason = str(message.extra or "").encode()
    await socket.close(code=closing or WSCloseCode.OK, message=reason)
    return socket


def _page_file(name: str) -> Handler:
    async def serve(_: web.Request) -> web.StreamResponse:
        return web.FileResponse(
            _PAGE_FILES / name,
            headers={
                hdrs.CONTENT_TYPE: _PAGE_TYPES[name],
                hdrs.CACHE_CONTROL: "no-cache",
                "Content-Security-Policy": _PAGE_POLICY,
            },
        )

    return serve


def _paged(request: web.Request, videos: list[dict[str, object]]) -> web.Response:
    return answer(
        {
            "videos": videos,
            "page": number(request.query.get("page"), 1),
            "pageSize": number(request.query.get("pageSize"), _PAGE_SIZE),
            "totalCount": len(videos),
        }
    )


def _sample(n: int, suffix: str, created: float, views: int) -> dict[str, object]:
    return {
        "id": f"mock_video_{n}",
        "title": f"Sample Video {n}{suffix}",
        "description": f"This is a sample video {n} for development and testing purposes.",
        "duration": 30 + 30 * n,
        "thumbnailUrl": f"https://via.placeholder.com/640x360?text=Sample+Video+{n}",
        "partnerId": _PARTNER,
        "createdAt": iso(created),
        "views": views,
    }
