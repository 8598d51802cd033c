"""The switches of the sandbox, as routes of its Activity server.

They are there because a gateway that is offline could not be asked to come back.
"""

import json
from collections.abc import Mapping, Sequence
from typing import get_args

from aiohttp import web

from proxy.sandbox_express import answer
from proxy.sandbox_faults import FaultError, read_faults
from proxy.sandbox_gateway import Gateway
from proxy.sandbox_releases import GatewayManner


def control(gateway: Gateway) -> Sequence[web.AbstractRouteDef]:
    """Return the routes below `/sandbox` that steer that gateway.

    `GET`, `PUT /sandbox/faults`: the faults in place, and whether the gateway is `offline`; what a
    `PUT` does not name is as it should be. `GET`, `PUT /sandbox/manner`: the release imitated.
    `POST /sandbox/revoke`: voids every token. `GET /sandbox/calls`: requests received, by route.
    """
    switches = _Switches(gateway)
    return [
        web.get("/sandbox/faults", switches.faults),
        web.put("/sandbox/faults", switches.set_faults),
        web.get("/sandbox/manner", switches.manner),
        web.put("/sandbox/manner", switches.set_manner),
        web.post("/sandbox/revoke", switches.revoke),
        web.get("/sandbox/calls", switches.calls),
    ]


class _Switches:
    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def faults(self, _: web.Request) -> web.Response:
        offline = not self._gateway.is_online
        return answer({"offline": offline, **self._gateway.faults.as_json()})

    async def set_faults(self, request: web.Request) -> web.Response:
        try:
            named = dict(await _object(request, "faults"))
            offline = _yes_or_no(named.pop("offline", False), "offline")
            faults = read_faults(named)
        except FaultError as error:
            return answer({"error": str(error)}, 400)
        self._gateway.faults = faults
        if offline:
            await self._gateway.offline()
        else:
            await self._gateway.online()
        return await self.faults(request)

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

    async def revoke(self, _: web.Request) -> web.Response:
        self._gateway.tokens.revoke()
        return answer({"revoked": True})

    async def calls(self, _: web.Request) -> web.Response:
        return answer(dict(sorted(self._gateway.calls.items())))


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
