"""Puts the parts together: the only place that knows every stage and the order they come in.

listener -> match -> pass through
                  -> validate -> ladder -> gateway (retry -> token -> breaker -> wire) | activity | canned
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from uuid import uuid4

from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, hdrs, web
from prometheus_client import CollectorRegistry
from yarl import URL

from proxy import __version__
from proxy.activity import Activity
from proxy.breaker import Breaker
from proxy.call import Source, SourceName, Subject
from proxy.canned import Canned
from proxy.clock import Clock
from proxy.configuration import Configuration
from proxy.dialects import Adapting, AutoDialect, Dialects, FixedDialect, Questions
from proxy.events import Event, Observe
from proxy.gateway import Gateway, subject_values
from proxy.headers import client_address
from proxy.ladder import Ladder, Policy
from proxy.listener import Listener
from proxy.login import GatewayLogin
from proxy.logs import EventLog
from proxy.metrics import Metrics
from proxy.passthrough import PassThrough, activity_session
from proxy.paths import PathIndex
from proxy.server import origin_form, public_server
from proxy.settings import GatewaySettings, Settings
from proxy.tokens import TokenKeeper
from proxy.tunnel import Tunnels


@dataclass(slots=True)
class Observers:
    """Hands each event to everyone who listens."""

    listeners: list[Observe] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        """Tell all of them."""
        for listener in self.listeners:
            listener(event)


@dataclass(slots=True)
class Parts:
    """What an assembled sidecar is made of, as far as it is looked at or stopped from outside."""

    public: web.Server
    metrics: Metrics
    observe: Observe
    policy: Policy
    dialects: Dialects
    breakers: Mapping[str, Breaker]
    tokens: TokenKeeper | None
    tunnels: Tunnels


async def assemble(
    configuration: Configuration,
    *,
    clock: Clock,
    random: Callable[[], float],
    resources: AsyncExitStack,
) -> Parts:
    """Build all stages. What has to be closed or cancelled at the end is left with `resources`."""
    assembly = _Assembly(configuration, clock, random, resources)
    return await assembly.parts()


def policy_of(settings: Settings) -> Policy:
    """Return which sources the ladders have under these settings."""
    return Policy(
        mode=settings.mode,
        production=settings.environment == "production",
        named=frozenset(name for name, laid in settings.routes.items() if "fallback" in laid),
    )


def gateway_session(settings: GatewaySettings) -> ClientSession:
    """Return the session for the gateway: no cookies, no environment, no silent repeats."""
    session = ClientSession(
        # Node closes idle connections after 5 s: this side closes them first.
        connector=TCPConnector(limit=0, keepalive_timeout=4.0),
        cookie_jar=DummyCookieJar(),
        trust_env=False,
        timeout=ClientTimeout(total=None, sock_connect=settings.timeout.connect),
        headers={hdrs.USER_AGENT: f"activity-proxy/{__version__}"},
    )
    # It would send idempotent calls twice, unseen by retry budget and breaker; there is no public switch.
    session._retry_connection = False  # noqa: SLF001
    return session


@dataclass(slots=True)
class _Assembly:
    """What the parts have in common while they are put together."""

    configuration: Configuration
    clock: Clock
    random: Callable[[], float]
    resources: AsyncExitStack
    observers: Observers = field(default_factory=Observers)

    async def parts(self) -> Parts:
        settings = self.configuration.settings
        policy = policy_of(settings)
        metrics = Metrics(CollectorRegistry(), mode=settings.mode, version=__version__)
        self.observers.listeners += [EventLog(self.clock), metrics]
        table = next(iter(self.configuration.tables.values()))
        passing = await self.resources.enter_async_context(
            activity_session(response_header_limit=max(settings.limits.header, 65536))
        )
        login = settings.gateway.login
        subject = Subject("service", login.discord_id, login.username, tuple(login.roles))
        sources: dict[SourceName, Source] = {
            "activity": Activity(
                settings.activity.url, passing, settings.trusted_proxies, settings.gateway.timeout.total
            ),
            "canned": Canned(self.configuration.mocks, self._scope),
        }
        dialects: Dialects = FixedDialect(table)
        breakers: Mapping[str, Breaker] = {}
        tokens: TokenKeeper | None = None
        if settings.mode != "offline":
            session = await self.resources.enter_async_context(gateway_session(settings.gateway))
            breakers = self._breakers()
            tokens = self._tokens(session, subject)
            gateway = self._gateway(session, tokens, breakers)
            if settings.gateway.dialect == "auto":
                auto = self._auto(session, tokens, subject)
                dialects, sources["gateway"] = auto, Adapting(gateway, auto)
            else:
                sources["gateway"] = gateway
        for routes in self.configuration.tables.values():
            for name, route in routes.items():
                if route.call is not None:
                    metrics.expect_route(name, route.fields)
        metrics.watch_breakers(breakers)
        tunnels = Tunnels()
        listener = Listener(
            routes=PathIndex.of([(route.match, name) for name, route in table.items()]),
            route=dialects.route,
            answer=Ladder(sources, policy, self.observers),
            pass_through=PassThrough(
                URL(settings.activity.url), passing, tunnels.splice, settings.trusted_proxies
            ),
            origin_form=origin_form,
            client_address=self._client_address,
            subject=subject,
            total=settings.gateway.timeout.total,
            max_body=settings.limits.body,
            open_cors=settings.environment == "development",
            clock=self.clock,
            observe=self.observers,
        )
        public = public_server(
            listener,
            header_limit=settings.limits.header,
            new_request_id=lambda: uuid4().hex,
            logger=logging.getLogger(__name__),
        )
        return Parts(public, metrics, self.observers, policy, dialects, breakers, tokens, tunnels)

    def _breakers(self) -> Mapping[str, Breaker]:
        settings = self.configuration.settings.gateway
        routes = [route for table in self.configuration.tables.values() for route in table.values()]
        return {
            group: Breaker(
                group,
                settings.breaker,
                clock=self.clock,
                random=self.random,
                observe=self.observers,
                lease=settings.timeout.total,
            )
            for group in sorted({route.group for route in routes if route.call is not None})
        }

    def _tokens(self, session: ClientSession, subject: Subject) -> TokenKeeper:
        settings = self.configuration.settings.gateway
        login = GatewayLogin(settings.url, session, subject, settings.timeout.attempt, self.clock)
        tokens = TokenKeeper(
            login.login,
            login.refresh,
            clock=self.clock,
            random=self.random,
            observe=self.observers,
            fixed=settings.token.get_secret_value() or None,
        )
        self.resources.push_async_callback(tokens.aclose)
        self._run(tokens.run())
        return tokens

    def _gateway(
        self, session: ClientSession, tokens: TokenKeeper, breakers: Mapping[str, Breaker]
    ) -> Gateway:
        settings = self.configuration.settings.gateway
        return Gateway(
            base=settings.url,
            session=session,
            tokens=lambda _subject: tokens,
            breakers=breakers,
            retry=settings.retry,
            attempt_timeout=settings.timeout.attempt,
            scope=self._scope,
            clock=self.clock,
            random=self.random,
            observe=self.observers,
        )

    def _auto(self, session: ClientSession, tokens: TokenKeeper, subject: Subject) -> AutoDialect:
        settings, tables = self.configuration.settings.gateway, self.configuration.tables
        questions = Questions(
            settings.url,
            session,
            lambda: tokens,
            tables["plan"],
            settings.timeout.attempt,
            lambda: {**self._scope(), **subject_values(subject)},
        )
        dialects = AutoDialect(tables["plan"], tables["newer"], questions, self.clock, self.observers)
        self.observers.listeners.append(dialects.notice)
        self.resources.push_async_callback(dialects.aclose)
        self._run(dialects.run())
        return dialects

    def _run(self, job: Coroutine[None, None, None]) -> None:
        """Run a job beside the listeners until the resources are closed."""
        self.resources.push_async_callback(_cancelled, asyncio.create_task(job))

    def _client_address(self, request: web.BaseRequest) -> str:
        forwarded = request.headers.getall("X-Forwarded-For", ())
        return client_address(request.remote, forwarded, self.configuration.settings.trusted_proxies)

    def _scope(self) -> Mapping[str, object]:
        return {"now": self.clock.time(), "partnerId": self.configuration.settings.kaltura.partner_id}


async def _cancelled(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.wait({task})
