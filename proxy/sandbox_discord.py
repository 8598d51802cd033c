"""A stand-in for the part of Discord's API that says whose an access token is."""

import hashlib
from collections import Counter, OrderedDict
from dataclasses import asdict, dataclass, field
from random import Random

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from proxy.clock import Clock
from proxy.frozen import frozen
from proxy.sandbox_damage import inflict
from proxy.sandbox_express import answer
from proxy.sandbox_faults import Faults
from proxy.sandbox_port import Port, StandIn

_KNOWN = {
    "alice": ("80351110224678912", "Alice"),
    "bob": ("80351110224678913", "Bob"),
    "carol": ("80351110224678914", "Carol"),
}
_MOST = 100_000  # access tokens that are remembered


@frozen
class DiscordUser:
    """A user as Discord names them; `global_name` is None for who has chosen none."""

    id: str
    username: str
    global_name: str | None


def user_of(code: str) -> DiscordUser:
    """Return whose code that is: `alice`, `bob`, `carol`; any other has a user of its own."""
    if code in _KNOWN:
        return DiscordUser(_KNOWN[code][0], code, _KNOWN[code][1])
    number = int.from_bytes(hashlib.sha256(code.encode(errors="replace")).digest()[:7])
    name = "".join(letter for letter in code.lower() if letter.isascii() and letter.isalnum())[:24]
    return DiscordUser(str(10**17 + number % (8 * 10**17)), name or "viewer", None)


@dataclass(slots=True)
class Discord(StandIn):
    """The stand-in: its port, whom it gave access tokens, its faults, and what it was asked."""

    clock: Clock
    random: Random
    port: Port
    calls: Counter[str] = field(default_factory=Counter)
    users: OrderedDict[str, DiscordUser] = field(default_factory=OrderedDict, repr=False)
    _faults: Faults = field(default_factory=Faults)
    _dice: Random = field(default_factory=lambda: Random(0))  # nosec B311 # noqa: S311  (repeatable dice)

    @property
    def url(self) -> str:
        """The base below which the routes are; it ends in `/api`."""
        return f"{self.port.url}/api"

    @property
    def faults(self) -> Faults:
        """The faults in place, of which `all` is met; setting them starts their dice anew."""
        return self._faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._faults = faults
        self._dice = Random(faults.seed)  # nosec B311 # noqa: S311  (as above)

    def exchange(self, code: str) -> str:
        """Return an access token for a code, as the Activity server gets it from Discord."""
        token = f"sandbox_{self.random.getrandbits(96):024x}"
        self.users[token] = user_of(code)
        if len(self.users) > _MOST:
            self.users.popitem(last=False)
        return token

    def revoke(self) -> None:
        """Make every access token void."""
        self.users.clear()

    def application(self) -> web.Application:
        """Return what answers."""
        application = web.Application(middlewares=[self._damaged])
        application.add_routes([web.get("/api/users/@me", self._me)])
        return application

    @web.middleware
    async def _damaged(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.calls[f"{request.method} {request.path}"] += 1
        return await inflict(self._faults.strike("other", self._dice), request, handler, self.clock, {})

    async def _me(self, request: web.Request) -> web.Response:
        scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        user = self.users.get(token) if scheme == "Bearer" else None
        if user is None:
            return answer({"message": "401: Unauthorized", "code": 0}, 401)
        return answer({**asdict(user), "discriminator": "0", "avatar": None})
