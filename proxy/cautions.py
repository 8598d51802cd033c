"""What a configuration may say and most likely does not mean: told as a warning, where it is written."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from proxy.diagnosis import dotted
from proxy.endpoints import is_loopback, url_host
from proxy.nodes import Problem, Table, written_at
from proxy.route import Route
from proxy.settings import Settings
from proxy.tables import RouteTable


def cautions(settings: Settings, tables: Sequence[RouteTable], folder: Path, top: Table) -> Iterable[Problem]:
    """Give the warnings for sound settings from `folder`, whose texts are in `top`."""
    yield from _everywhere(settings, folder, top)
    if settings.environment == "production":
        yield from _production(settings, tables, top)
    yield from _unknown(settings, tables)


def nobody_signs_in(table: RouteTable) -> bool:
    """Tell whether a table has calls that are a user's, and none that tells who a user is."""
    routes = table.routes.values()
    return any(route.as_ == "user" for route in routes) and not any(route.sign == "in" for route in routes)


def _everywhere(settings: Settings, folder: Path, top: Table) -> Iterable[Problem]:
    if not settings.admin.loopback and not settings.admin_token.get_secret_value():
        mark = written_at(top, ("admin",))[1]
        yield Problem(mark, "admin: is not on loopback, and without admin_token the status is off")
    if settings.limits.rate is not None and not settings.trusted_proxies:
        mark = written_at(top, ("limits", "rate"))[1]
        text = "without trusted_proxies, all clients behind an edge have its address and share one rate"
        yield Problem(mark, f"limits.rate: {text}")
    if settings.gateway.breaker.slow_call > settings.gateway.timeout.attempt:
        mark = written_at(top, ("gateway", "breaker", "slow_call"))[1]
        yield Problem(mark, "gateway.breaker.slow_call: is over timeout.attempt, so no call is ever slow")
    if settings.cache.snapshot:
        mark, snapshot = written_at(top, ("cache", "snapshot"))[1], folder / settings.cache.snapshot
        if snapshot.is_dir():
            yield Problem(mark, "cache.snapshot: is a folder; name a file in it")
        elif not os.access(snapshot.parent, os.W_OK):
            yield Problem(mark, "cache.snapshot: its folder is not there, or not to be written to")
    if settings.identity.key.get_secret_value() and settings.cache.url.startswith("memory:"):
        mark = written_at(top, ("identity", "key"))[1]
        yield Problem(mark, "identity.key: has no use where sessions are in memory, not in a Redis")


def _production(settings: Settings, tables: Iterable[RouteTable], top: Table) -> Iterable[Problem]:
    """What is allowed in production, and most likely not meant there."""
    if settings.gateway.login.roles and not settings.identity.required:
        mark = written_at(top, ("gateway", "login", "roles"))[1]
        text = "callers who are not signed in get sessions with these, unless identity.required is true"
        yield Problem(mark, f"gateway.login.roles: {text}")
    if settings.mode == "offline":
        mark = written_at(top, ("mode",))[1]
        yield Problem(mark, "mode: offline in production, so that the gateway is never asked")
    if not settings.kaltura.partner_id and any(map(_tells_partner, tables)):
        mark = written_at(top, ("kaltura", "partner_id"))[1]
        yield Problem(mark, "kaltura.partner_id: is empty, and so is partnerId in what clients get")
    tokens = "tokens leave this machine unencrypted; https keeps them secret"
    yield from _unencrypted(("gateway", "url"), settings.gateway.url, tokens, top)
    yield from _unencrypted(("identity", "discord_url"), settings.identity.discord_url, tokens, top)
    if settings.kaltura.enabled:
        yield from _unencrypted(
            ("kaltura", "url"),
            settings.kaltura.url,
            "the admin secret leaves this machine unencrypted; https keeps it secret",
            top,
        )
    for name, laid in settings.routes.items():
        found = [table.routes[name] for table in tables if name in table.routes]
        if "fallback" in laid and settings.mode != "live" and any(map(_mocks_credential, found)):
            mark = written_at(top, ("routes", name, "fallback"))[1]
            text = "a mocked credential in production, as you say"
            yield Problem(mark, f"{dotted(('routes', name, 'fallback'))}: {text}")


def _unknown(settings: Settings, tables: Iterable[RouteTable]) -> Iterable[Problem]:
    """Users' calls of viewers whom nobody can know."""
    if not settings.identity.required:
        for table in filter(nobody_signs_in, tables):
            text = "no route signs viewers in (sign: in), so that all users' calls go as the service"
            yield Problem(table.root.mark, text)


def _tells_partner(table: RouteTable) -> bool:
    return any(route.reply and "partnerId" in route.reply.names for route in table.routes.values())


def _unencrypted(path: tuple[str, str], url: str, what: str, top: Table) -> Iterable[Problem]:
    if url.startswith("http://") and not is_loopback(url_host(url)):
        yield Problem(written_at(top, path)[1], f"{dotted(path)}: {what}")


def _mocks_credential(route: Route) -> bool:
    # Without a call it is the Activity server's own business, and its answer the real one.
    mocks = {"canned"} if route.call is None else {"canned", "activity"}
    return route.credential and not mocks.isdisjoint(route.fallback)
