"""What the operator can do at the admin listener, by path; each is a POST."""

from collections.abc import Awaitable, Callable, Mapping

from proxy.admin import Action, NotDone
from proxy.breaker import Breaker


def operations(
    breakers: Mapping[str, Breaker], purge: Callable[[], Awaitable[bool]] | None
) -> Mapping[str, Action]:
    """Return the actions there are: each breaker can be forced open and reset, the cache purged."""
    actions: dict[str, Action] = {}
    for name, breaker in breakers.items():
        actions[f"/breakers/{name}/force_open"] = _turned(name, breaker, breaker.force_open)
        actions[f"/breakers/{name}/reset"] = _turned(name, breaker, breaker.reset)
    if purge is not None:
        actions["/cache/purge"] = _purged(purge)
    return actions


def _turned(name: str, breaker: Breaker, turn: Callable[[], None]) -> Action:
    async def act() -> Mapping[str, object]:
        turn()
        return {"breaker": name, "state": breaker.state}

    return act


def _purged(purge: Callable[[], Awaitable[bool]]) -> Action:
    async def act() -> Mapping[str, object]:
        if not await purge():
            raise NotDone({"purged": False})
        return {"purged": True}

    return act
