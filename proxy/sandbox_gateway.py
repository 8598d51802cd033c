"""A stand-in for the API Gateway, in the manner of one of its releases, with faults on demand.

It answers as the contract's recordings do: real tokens with an end, 95 videos to page through, and
the oddities of each release.
"""

from collections import Counter
from random import Random

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from proxy.clock import Clock
from proxy.sandbox_damage import inflict
from proxy.sandbox_express import BODY_LIMIT, BodyError, answer, iso, number, open_to_all, read_object
from proxy.sandbox_faults import Faults, RequestClass
from proxy.sandbox_library import shell
from proxy.sandbox_port import Port, StandIn
from proxy.sandbox_releases import DETAILS, HEALTH, PAGE_SIZE, SESSION, GatewayManner, release
from proxy.sandbox_tokens import Tokens, User

_USER = web.RequestKey("user", User)
_NO_TOKEN = "Authentication required"  # nosec B105 # noqa: S105  (words, not a secret)
_BAD_TOKEN = "Invalid or expired token"  # nosec B105 # noqa: S105  (as above)


class Gateway(StandIn):
    """The stand-in: its port, its tokens, its faults, and what it was asked.

    `calls` counts the requests that came in, by `METHOD /route/{template}` (`other` where no route
    fits). `token_life` is in seconds.
    """

    def __init__(
        self, manner: GatewayManner, clock: Clock, random: Random, *, token_life: float, port: Port
    ) -> None:
        self.calls: Counter[str] = Counter()
        self.tokens = Tokens(clock, token_life)
        self._clock = clock
        self._random = random
        self.port = port
        self.manner = manner
        self.faults = Faults()

    @property
    def url(self) -> str:
        """The base below which the routes are."""
        return f"{self.port.url}/api"

    @property
    def manner(self) -> GatewayManner:
        """The release that is being imitated; settable at any time."""
        return self._manner

    @manner.setter
    def manner(self, manner: GatewayManner) -> None:
        self._release = release(manner, self._random, self._clock)
        self._manner = manner

    @property
    def faults(self) -> Faults:
        """The faults in place; setting them starts their dice anew."""
        return self._faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._faults = faults
        self._dice = Random(faults.seed)  # nosec B311 # noqa: S311  (dice that a test can repeat)

    def revoke(self) -> None:
        """Make every token issued so far void."""
        self.tokens.revoke()

    def application(self) -> web.Application:
        """Return what answers."""
        application = web.Application(
            client_max_size=BODY_LIMIT,
            middlewares=[self._counted, self._damaged, self._whole, open_to_all, self._guarded],
        )
        application.add_routes(
            [
                web.post("/api/auth/token", self._login),
                web.post("/api/auth/refresh", self._refresh),
                web.post("/api/auth/validate", self._validate),
                web.get("/api/videos", self._list),
                web.get("/api/videos/search", self._search),
                web.get("/api/videos/{id}", self._video),
                web.post("/api/videos/{id}/play", self._play),
                web.post(SESSION, self._session),
                web.get(DETAILS, self._video),
                web.get("/health", self._health),
                *(web.get(path, self._health) for path in HEALTH),
            ]
        )
        return application

    @web.middleware
    async def _counted(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.calls[f"{request.method} {_template(request) or 'other'}"] += 1
        return await handler(request)

    @web.middleware
    async def _damaged(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        fault = self._faults.strike(_class(request.path), self._dice)
        empty = shell(self._release.videos.partner_id)
        return await inflict(fault, request, handler, self._clock, empty)

    @web.middleware
    async def _whole(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        # The body is read before the header that opens the service to all origins is set.
        try:
            return await handler(request)
        except BodyError:
            return answer({"error": "Internal Server Error"}, 500)

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith(("/api/videos", "/api/kaltura/")):
            scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
            if scheme != "Bearer" or not token:
                return answer({"error": _NO_TOKEN}, 401)
            user = self.tokens.read(token)
            if user is None:
                return answer({"error": _BAD_TOKEN}, 401)
            request[_USER] = user
        if _template(request) in self._release.lacks:
            raise web.HTTPNotFound
        return await handler(request)

    async def _login(self, request: web.Request) -> web.Response:
        body = await read_object(request)
        discord_id, username = body.get("discordId"), body.get("username")
        if not discord_id or not username:
            return answer({"error": "Missing required fields"}, 400)
        return self._admitted(User(str(discord_id), str(username), _role(body.get("roles"))))

    async def _refresh(self, request: web.Request) -> web.Response:
        token = (await read_object(request)).get("token")
        if not token:
            return answer({"error": "Missing token"}, 400)
        user = self.tokens.read(str(token))
        return answer({"error": _BAD_TOKEN}, 401) if user is None else self._admitted(user)

    async def _validate(self, request: web.Request) -> web.Response:
        token = (await read_object(request)).get("token")
        if not token:
            return answer({"error": "Missing token"}, 400)
        user = self.tokens.read(str(token))
        if user is None:
            return answer({"error": _BAD_TOKEN}, 401)
        return answer({"valid": True, "user": user.fields(), "kalturaSession": self._kaltura_session(user)})

    def _admitted(self, user: User) -> web.Response:
        return answer(
            {
                "token": self.tokens.issue(user),
                "expiresAt": iso(self._clock.time() + self.tokens.life),
                "user": user.fields(),
                "kalturaSession": self._kaltura_session(user),
            }
        )

    def _kaltura_session(self, user: User) -> dict[str, object]:
        privileges = "" if user.role == "viewer" else user.role
        return {
            "ks": self._release.videos.ks(user.kaltura_id, privileges),
            "partnerId": self._release.videos.partner_id,
            "userId": user.kaltura_id,
            "expiry": int(self._clock.time() + self.tokens.life),
            "privileges": privileges,
        }

    async def _list(self, request: web.Request) -> web.Response:
        return answer({"videos": self._release.videos.newest(*self._release.page(request.query))})

    async def _search(self, request: web.Request) -> web.Response:
        query = request.query
        page, size = number(query.get("page"), 1), number(query.get("limit"), PAGE_SIZE)
        return answer({"videos": self._release.videos.search(query.get("q", ""), page, size)})

    async def _video(self, request: web.Request) -> web.Response:
        return answer({"video": self._release.videos.one(request.match_info["id"])})

    async def _play(self, request: web.Request) -> web.Response:
        await read_object(request)
        video_id = request.match_info["id"]
        play_url = self._release.videos.play_url(video_id, request[_USER].kaltura_id)
        return answer({"playUrl": play_url, "videoId": video_id})

    async def _session(self, request: web.Request) -> web.Response:
        body = await read_object(request)
        privileges = str(body.get("privileges") or f"sview:{request.match_info['id']}")
        return answer({"ks": self._release.videos.ks(request[_USER].kaltura_id, privileges)})

    async def _health(self, request: web.Request) -> web.Response:
        health: dict[str, object] = {"status": "ok", "timestamp": iso(self._clock.time())}
        if request.path == "/api/gateway/health":
            health |= {"apiGateway": True, "version": "1.0.0"}
        return answer(health)


def _template(request: web.Request) -> str | None:
    resource = request.match_info.route.resource
    return None if resource is None else resource.canonical


def _class(path: str) -> RequestClass:
    if path.startswith("/api/auth/"):
        return "auth"
    return "routes" if path.startswith(("/api/videos", "/api/kaltura/")) else "other"


def _role(roles: object) -> str:
    named = {str(role).lower() for role in roles} if isinstance(roles, list) else set()
    return next((role for role in ("admin", "moderator") if role in named), "viewer")
