"""Puts the parts together: the only place that knows every stage and the order they come in.

listener -> match -> pass through
                  -> validate, recognise -> sign in or out -> whom it is for -> cache, coalescing
                  -> ladder -> gateway | stale | kaltura | activity | canned
"""

import logging
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from secrets import token_bytes

from aiohttp import web
from prometheus_client import CollectorRegistry
from yarl import URL

from proxy import __version__
from proxy.activity import Activity, activity_session
from proxy.beginning import open_beginning
from proxy.bounds import Bounds
from proxy.breaker import Breaker
from proxy.call import Answer, Call, Source, SourceName, Subject
from proxy.canned import Canned
from proxy.clock import Clock
from proxy.configuration import Configuration
from proxy.connection import begun
from proxy.dialects import Dialects, FixedDialect
from proxy.events import Observe, TlsName
from proxy.headers import Clients
from proxy.keeping import open_cache
from proxy.ladder import RESERVED_SHARE, Ladder, Policy
from proxy.listener import Listener
from proxy.logs import EventLog
from proxy.metrics import Metrics
from proxy.origin import Origin
from proxy.passthrough import PassThrough
from proxy.paths import PathIndex
from proxy.provenance import open_to_all, provenance
from proxy.rate import Admission, Buckets, RateLimit
from proxy.request_id import RequestIds
from proxy.route import KalturaCall, Route
from proxy.server import HttpServer, public_server
from proxy.sessions import SessionStore
from proxy.settings import LimitSettings, Settings
from proxy.shortcuts import open_shortcuts
from proxy.store import Store
from proxy.tls_settings import ServerTlsSettings
from proxy.tokens import TokenKeeper
from proxy.tunnel import Tunnels
from proxy.upstream import open_gateway
from proxy.user_tokens import UserTokens
from proxy.viewers import open_viewers
from proxy.workshop import Workshop


@dataclass(slots=True)
class Parts:
    """What an assembled sidecar is made of, as far as it is looked at or stopped from outside."""

    metrics: Metrics
    observe: Observe
    policy: Policy
    dialects: Dialects
    tunnels: Tunnels
    server_tls: Callable[[TlsName, ServerTlsSettings], ssl.SSLContext | None]
    breakers: Mapping[str, Breaker] = field(default_factory=dict)
    tokens: TokenKeeper | None = None
    kaltura: TokenKeeper | None = None
    users: UserTokens | None = None
    sessions: SessionStore | None = None
    store: Store | None = None
    purge: Callable[[], Awaitable[bool]] | None = None


def policy_of(settings: Settings) -> Policy:
    """Return which sources the ladders have under these settings."""
    return Policy(
        mode=settings.mode,
        production=settings.environment == "production",
        named=frozenset(name for name, laid in settings.routes.items() if "fallback" in laid),
        kaltura=settings.kaltura.enabled,
    )


def bounds_of(settings: Settings) -> Bounds:
    """Return what the public listener takes of its clients under these settings."""
    limits = settings.limits
    return Bounds(
        header=limits.header,
        headers=limits.headers,
        target=limits.target,
        head=limits.head,
        header_timeout=limits.header_timeout,
        send_timeout=limits.send_timeout,
        connections=limits.connections,
    )


def service_of(settings: Settings) -> Subject:
    """Return the service itself, as it logs in at the gateway."""
    login = settings.gateway.login
    return Subject("service", login.discord_id, login.username, tuple(login.roles))


def _rate_limit(limits: LimitSettings, clock: Clock) -> RateLimit | None:
    if limits.rate is None:
        return None
    return RateLimit(Buckets(limits.rate, limits.burst, clock.monotonic))


def _expect_routes(
    metrics: Metrics, routes: Iterable[Route], direct: Mapping[KalturaCall, tuple[str, ...]]
) -> None:
    for route in routes:
        if route.call is not None:
            fields = direct.get(route.kaltura, ()) if route.kaltura else ()
            metrics.expect_route(route.name, dict.fromkeys((*route.fields, *fields)))


async def assemble(
    configuration: Configuration,
    *,
    clock: Clock,
    random: Callable[[], float],
    resources: AsyncExitStack,
) -> tuple[HttpServer, Parts]:
    """Build all stages, and the public server before them.

    What has to be closed or cancelled at the end is left with `resources`.
    """
    shop = Workshop(configuration, clock, random, resources)
    settings, table = configuration.settings, next(iter(configuration.tables.values()))
    metrics = Metrics(CollectorRegistry(), mode=settings.mode, version=__version__)
    for observer in (EventLog(clock), metrics):
        shop.observe.attach(observer.wants)
    tls = shop.client_tls("activity", settings.activity.tls)
    head_limit = max(settings.limits.header, 65536)
    origin = await resources.enter_async_context(
        Origin(URL(settings.activity.url), head_limit=head_limit, tls=tls)
    )
    session = await resources.enter_async_context(activity_session(response_header_limit=head_limit, tls=tls))
    subject = service_of(settings)
    sources: dict[SourceName, Source] = {
        "activity": Activity(
            settings.activity.url, session, settings.trusted_proxies, settings.gateway.timeout.total
        ),
        "canned": Canned(configuration.mocks, shop.scope),
    }
    policy = policy_of(settings)
    answer: Source = Ladder(sources, policy, shop.observe, RESERVED_SHARE * settings.gateway.timeout.total)
    tunnels = Tunnels()
    parts = Parts(metrics, shop.observe, policy, FixedDialect(table), tunnels, shop.server_tls)
    if settings.mode != "offline":
        gateway = await open_gateway(shop, subject)
        sources["gateway"] = gateway.source
        parts.dialects, parts.breakers, parts.tokens = gateway.dialects, gateway.breakers, gateway.tokens
        parts.users = gateway.users
        metrics.watch_breakers(gateway.breakers)
    keeping = None
    if settings.mode == "auto":
        keeping = await open_cache(shop, sources["gateway"])
        sources["stale"], answer = keeping.stale, keeping.before(answer)
        parts.store, parts.purge = keeping.store, keeping.purge
        metrics.watch_cache(keeping.store.size)
    fields_of: Mapping[KalturaCall, tuple[str, ...]] = {}
    if settings.mode == "auto" and settings.kaltura.enabled:
        from proxy.direct import open_kaltura  # noqa: PLC0415  (mostly off; who does not use it does not pay)

        direct = await open_kaltura(shop)
        fields_of = direct.fields
        sources["kaltura"], parts.kaltura = direct.source, direct.tokens
        parts.breakers = {**parts.breakers, direct.breaker.name: direct.breaker}
        metrics.watch_kaltura({direct.breaker.name: direct.breaker})
    viewers = await open_viewers(shop, subject, parts.users)
    parts.sessions, answer = viewers.sessions, viewers.before(answer)
    _expect_routes(metrics, shop.routes, fields_of)
    request_ids = RequestIds(token_bytes(16))
    fields = open_to_all if settings.environment == "development" else provenance
    client = Clients(settings.trusted_proxies)

    def address(request: web.BaseRequest) -> str:
        return client(request.remote, request.headers)

    rate = _rate_limit(settings.limits, clock)
    pass_through = PassThrough(origin, tunnels.splice, settings.trusted_proxies)
    shortcuts = None
    if keeping is not None:
        shortcuts = open_shortcuts(
            shop,
            keeping,
            parts.dialects,
            parts.breakers,
            fields=fields,
            client=client,
            request_ids=request_ids,
            admit=None if rate is None else rate.by_address,
        )
    listener = Listener(
        routes=PathIndex.of([(route.match, name) for name, route in table.items()]),
        route=parts.dialects.route,
        answer=answer,
        pass_through=pass_through,
        client_address=address,
        subject=subject,
        recognise=viewers.recognise,
        total=settings.gateway.timeout.total,
        max_body=settings.limits.body,
        body_timeout=settings.limits.body_timeout,
        fields=fields,
        request_ids=request_ids,
        clock=clock,
        observe=shop.observe,
        admit=None if rate is None else Admission(rate, viewers.recognise, address),
        learn=_forget if shortcuts is None else shortcuts.learn,
        begun=begun,
    )
    public = public_server(
        listener,
        at_once=None if shortcuts is None else shortcuts.at_once,
        beginning=open_beginning(listener, pass_through, client, None if rate is None else rate.by_address),
        bounds=bounds_of(settings),
        new_request_id=request_ids,
        logger=logging.getLogger(__name__),
        clock=clock,
        observe=shop.observe,
    )
    shop.run(shop.certificates.run())
    return public, parts


def _forget(_target: str, _call: Call, _answer: Answer) -> None:
    """Learn nothing: without a cache there is nothing to be ready."""
