"""The switches of the sandbox, as routes of its Activity server.

They are there because a gateway that is offline could not be asked to come back.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol, get_args

from aiohttp import web

from proxy.sandbox_express import answer
from proxy.sandbox_faults import FaultError, Faults, read_faults
from proxy.sandbox_gateway import Gateway
from proxy.sandbox_releases import GatewayManner


class Upstream(Protocol):
    """A stand-in that can be steered."""

    faults: Faults

    @property
    def calls(self) -> Counter[str]:
        """The requests received, by what was asked."""
        ...

    @property
    def is_online(self) -> bool:
        """Whether connections are taken."""
        ...

    async def online(self) -> None:
        """Take connections."""

    async def offline(self) -> None:
        """Refuse them."""

    def revoke(self) -> None:
        """Make void every credential that was given."""


def control(gateway: Gateway, kaltura: Upstream, discord: Upstream) -> Sequence[web.AbstractRouteDef]:
    """Return the routes that steer the gateway, below `/sandbox`, and the others, below a name of theirs.

    `GET`, `PUT /sandbox/faults`: the faults in place, and whether the gateway is `offline`; what a
    `PUT` does not name is as it should be. `GET`, `PUT /sandbox/manner`: the release imitated.
    `POST /sandbox/revoke`: voids every token. `GET /sandbox/calls`: requests received, by route.
    The same but the manner is below `/sandbox/kaltura` and `/sandbox/discord`.
    """
    manners = _Manners(gateway)
    return [
        *_switches("/sandbox", gateway),
        *_switches("/sandbox/kaltura", kaltura),
        *_switches("/sandbox/discord", discord),
        web.get("/sandbox/manner", manners.manner),
        web.put("/sandbox/manner", manners.set_manner),
    ]


def _switches(below: str, upstream: Upstream) -> Sequence[web.AbstractRouteDef]:
    switches = _Switches(upstream)
    return [
        web.get(f"{below}/faults", switches.faults),
        web.put(f"{below}/faults", switches.set_faults),
        web.post(f"{below}/revoke", switches.revoke),
        web.get(f"{below}/calls", switches.calls),
    ]


class _Switches:
    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def faults(self, _: web.Request) -> web.Response:
        offline = not self._upstream.is_online
        return answer({"offline": offline, **self._upstream.faults.as_json()})

    async def set_faults(self, request: web.Request) -> web.Response:
        try:
            named = dict(await _object(request, "faults"))
            offline = _yes_or_no(named.pop("offline", False), "offline")
            faults = read_faults(named, beside=["offline"])
        except FaultError as error:
            return answer({"error": str(error)}, 400)
        self._upstream.faults = faults
        if offline:
            await self._upstream.offline()
        else:
            await self._upstream.online()
        return await self.faults(request)

    async def revoke(self, _: web.Request) -> web.Response:
        self._upstream.revoke()
        return answer({"revoked": True})

    async def calls(self, _: web.Request) -> web.Response:
        return answer(dict(sorted(self._upstream.calls.items())))


class _Manners:
    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def manner(self, _: web.Request) -> web.Response:
        return answer({"manner": self._gateway.manner})

    async def set_manner(self, request: web.Request) -> web.Response:
        try:
            named = await _object(request, "manner")
        except FaultError as error:
            return answer({"error": str(error)}, 400)
        for manner in get_args(GatewayManner):
            if named == {"manner": manner}:
                self._gateway.manner = manner
                return await self.manner(request)
        known = ", ".join(get_args(GatewayManner))
        return answer({"error": f"manner: wants one of {known}, and nothing else"}, 400)


def _yes_or_no(value: object, where: str) -> bool:
    if not isinstance(value, bool):
        raise FaultError(f"{where}: wants true or false")
    return value


async def _object(request: web.Request, where: str) -> Mapping[str, object]:
    try:
        value: object = json.loads(await request.read())
    except (ValueError, RecursionError):
        raise FaultError(f"{where}: the body is no JSON") from None
    if not isinstance(value, dict):
        raise FaultError(f"{where}: wants an object")
    return value
