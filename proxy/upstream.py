"""Puts together what a call of the gateway passes.

breaker open? -> slow start -> bulkhead -> by which table? -> deadline, retry and its budget
  -> token -> breaker -> client
"""

import ssl
from collections.abc import Mapping

from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, hdrs

from proxy import __version__
from proxy.breaker import Breaker
from proxy.budget import RetryBudget
from proxy.bulkhead import FIRST_CALLS, Bulkhead, SlowStart
from proxy.call import Source, Subject
from proxy.dialects import Adapting, AutoDialect, Dialects, FixedDialect, Questions
from proxy.events import BreakerChanged
from proxy.frozen import frozen
from proxy.gateway import Gateway, subject_values
from proxy.gateway_client import GatewayClient
from proxy.gateway_settings import GatewaySettings
from proxy.kept_back import KeptBack
from proxy.login import GatewayLogin, Guarded
from proxy.outage import SIGNS
from proxy.recovery import Recovery
from proxy.tokens import LONGEST_PAUSE, TokenKeeper
from proxy.user_tokens import UserTokens
from proxy.workshop import Workshop

TOKEN_BREAKER = "token"  # nosec B105 # noqa: S105  (a breaker's name)


@frozen
class Upstream:
    """The source `gateway`, and what an operator looks at of it."""

    source: Source
    dialects: Dialects
    breakers: Mapping[str, Breaker]
    tokens: TokenKeeper
    users: UserTokens


def gateway_session(settings: GatewaySettings, tls: ssl.SSLContext | None = None) -> ClientSession:
    """Return the session for what is asked of the gateway beside calls: no cookies, no silent repeats.

    `tls` is what to make of its certificate; None for what the system trusts.
    """
    session = ClientSession(
        # Node closes idle connections after 5 s: this side closes them first.
        connector=TCPConnector(limit=0, keepalive_timeout=4.0, ssl=True if tls is None else tls),
        cookie_jar=DummyCookieJar(),
        trust_env=False,
        timeout=ClientTimeout(total=None, sock_connect=settings.timeout.connect),
        headers={hdrs.USER_AGENT: f"activity-proxy/{__version__}"},
    )
    # It would send idempotent calls twice, unseen by retry budget and breaker; there is no public switch.
    session._retry_connection = False  # noqa: SLF001
    return session


async def open_gateway(shop: Workshop, subject: Subject) -> Upstream:
    """Build the gateway's side, called as `subject`, and start what runs beside it."""
    settings, tables = shop.configuration.settings.gateway, shop.configuration.tables
    tls = shop.client_tls("gateway", settings.tls)
    session = await shop.resources.enter_async_context(gateway_session(settings, tls))
    client = await shop.resources.enter_async_context(
        GatewayClient(settings.url, connect_timeout=settings.timeout.connect, tls=tls)
    )
    groups = sorted({route.group for route in shop.routes if route.call is not None})
    breakers = {name: shop.breaker(name) for name in (*groups, TOKEN_BREAKER)}
    tokens = _service_tokens(shop, session, subject, breakers[TOKEN_BREAKER])
    users = _user_tokens(shop, session, breakers[TOKEN_BREAKER])
    gateway = Gateway(
        client=client,
        tokens=lambda caller: users.of(caller) if caller.kind == "user" else tokens,
        breakers=breakers,
        retry=settings.retry,
        budget=RetryBudget(settings.retry.budget, shop.clock.monotonic),
        attempt_timeout=settings.timeout.attempt,
        scope=shop.scope,
        clock=shop.clock,
        random=shop.random,
        observe=shop.observe,
    )
    recovery = Recovery(settings.url, session, breakers.values(), clock=shop.clock, random=shop.random)
    shop.observe.listen(recovery.notice, BreakerChanged)
    shop.run(recovery.run())
    source: Source = gateway
    dialects: Dialects = FixedDialect(next(iter(tables.values())))
    if settings.dialect == "auto":
        questions = Questions(
            settings.url,
            session,
            lambda: tokens,
            tables["plan"],
            settings.timeout.attempt,
            lambda: {**shop.scope(), **subject_values(subject)},
        )
        auto = AutoDialect(tables["plan"], tables["newer"], questions, shop.clock, shop.observe)
        shop.observe.listen(auto.notice, BreakerChanged, *SIGNS)
        shop.resources.push_async_callback(auto.aclose)
        shop.run(auto.run())
        source, dialects = Adapting(gateway, auto), auto
    slowly = SlowStart.of(
        Bulkhead.of(source, settings.max_concurrency, shop.clock),
        groups,
        FIRST_CALLS * settings.breaker.minimum_calls,
        lambda group: breakers[group].good,
        settings.max_concurrency,
        shop.clock,
    )
    return Upstream(
        KeptBack(slowly, lambda call: breakers[call.route.group].acquire()), dialects, breakers, tokens, users
    )


def _keeper(
    shop: Workshop, session: ClientSession, subject: Subject, breaker: Breaker, fixed: str | None = None
) -> TokenKeeper:
    settings = shop.configuration.settings.gateway
    endpoint = GatewayLogin(settings.url, session, subject, settings.timeout.attempt, shop.clock)
    login = Guarded(endpoint, breaker, shop.clock)
    return TokenKeeper(
        login.login,
        login.refresh,
        clock=shop.clock,
        random=shop.random,
        observe=shop.observe,
        kind=subject.kind,
        fixed=fixed,
        # An outage of the token endpoint must not last longer for viewers than one of the calls.
        longest_pause=min(LONGEST_PAUSE, settings.breaker.open),
    )


def _service_tokens(
    shop: Workshop, session: ClientSession, subject: Subject, breaker: Breaker
) -> TokenKeeper:
    fixed = shop.configuration.settings.gateway.token.get_secret_value() or None
    tokens = _keeper(shop, session, subject, breaker, fixed)
    shop.resources.push_async_callback(tokens.aclose)
    shop.run(tokens.run())
    return tokens


def _user_tokens(shop: Workshop, session: ClientSession, breaker: Breaker) -> UserTokens:
    users = UserTokens(lambda user: _keeper(shop, session, user, breaker), shop.clock)
    shop.resources.push_async_callback(users.aclose)
    shop.run(users.run())
    return users
