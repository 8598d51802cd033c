"""Puts together what a call of Kaltura passes, where the configuration allows one.

breaker open? -> bulkhead -> KS for reading, kept and renewed -> breaker -> wire
"""

import ssl
from collections.abc import Mapping

from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, hdrs

from proxy import __version__
from proxy.breaker import Breaker
from proxy.bulkhead import Bulkhead
from proxy.call import Source
from proxy.events import Event, KalturaSessionFailed, TokenRequested
from proxy.frozen import frozen
from proxy.kaltura import FIELDS, Kaltura
from proxy.kaltura_api import KalturaApi
from proxy.kaltura_session import KalturaSessions
from proxy.kept_back import KeptBack
from proxy.outage import KALTURA
from proxy.route import KalturaCall
from proxy.tokens import TokenKeeper
from proxy.workshop import Workshop


@frozen
class Direct:
    """The source `kaltura`, and what an operator looks at of it.

    `fields` are those that a contract violation can name, by what a route asks.
    """

    source: Source
    breaker: Breaker
    tokens: TokenKeeper
    fields: Mapping[KalturaCall, tuple[str, ...]]


def kaltura_session(connect: float, tls: ssl.SSLContext | None = None) -> ClientSession:
    """Return the connections to Kaltura: no cookies, no environment, no silent repeats.

    `connect` is the longest time for a connection to come about, in seconds; `tls` what to make of Kaltura's
    certificate, None for what the system trusts.
    """
    session = ClientSession(
        # Shorter than servers keep idle connections: this side closes them first.
        connector=TCPConnector(limit=0, keepalive_timeout=4.0, ssl=True if tls is None else tls),
        cookie_jar=DummyCookieJar(),
        trust_env=False,
        timeout=ClientTimeout(total=None, sock_connect=connect),
        headers={hdrs.USER_AGENT: f"activity-proxy/{__version__}"},
    )
    # It would send a call twice, unseen by the breaker; there is no public switch.
    session._retry_connection = False  # noqa: SLF001
    return session


async def open_kaltura(shop: Workshop) -> Direct:
    """Build Kaltura's side; its times, breaker and bulkhead are set as the gateway's, and its own."""
    settings, gateway = shop.configuration.settings.kaltura, shop.configuration.settings.gateway
    tls = shop.client_tls("kaltura", settings.tls)
    session = await shop.resources.enter_async_context(kaltura_session(gateway.timeout.connect, tls))
    breaker = shop.breaker(KALTURA)
    api = KalturaApi(settings.url, session, breaker, gateway.timeout.attempt, shop.clock, shop.observe)
    sessions = KalturaSessions(api, settings.partner_id, settings.admin_secret, shop.clock)

    def told(event: Event) -> None:
        # A keeper's own events tell of the gateway's tokens.
        if isinstance(event, TokenRequested) and event.outcome not in {"login", "refresh"}:
            shop.observe(KalturaSessionFailed(event.outcome))

    tokens = TokenKeeper(
        sessions.for_reading,
        lambda _ks: sessions.for_reading(),
        clock=shop.clock,
        random=shop.random,
        observe=told,
    )
    shop.resources.push_async_callback(tokens.aclose)
    shop.run(tokens.run())
    source = Kaltura(api, sessions, tokens, settings.partner_id, shop.clock, shop.observe)
    within = Bulkhead.of(source, gateway.max_concurrency, shop.clock, name="kaltura")
    return Direct(KeptBack(within, lambda _call: api.permit()), breaker, tokens, FIELDS)
