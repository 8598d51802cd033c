"""Puts together who viewers are: their sessions, how they sign in and out, and how they are recognised."""

import secrets
import ssl
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, hdrs

from proxy import __version__
from proxy.call import FailureKind, Source, Subject
from proxy.discord import Discord
from proxy.events import StoreTroubled
from proxy.frozen import frozen
from proxy.grant import Granted, TokenEndpointFailed
from proxy.headers import Field
from proxy.identity import Identity
from proxy.recognition import Recognition
from proxy.sessions import SessionStore
from proxy.signing import Signing
from proxy.stores import open_sessions
from proxy.user_tokens import UserTokens
from proxy.workshop import Workshop


@frozen
class Viewers:
    """`recognise` tells who calls, `before` puts before a ladder what signs in and out and checks claims."""

    sessions: SessionStore
    recognise: Callable[[Sequence[Field]], Awaitable[Subject]]
    before: Callable[[Source], Source]


def discord_session(connect: float, tls: ssl.SSLContext | None = None) -> ClientSession:
    """Return the session for Discord: no cookies, no environment.

    `connect` is in seconds, `tls` what to make of its certificate, None for what the system trusts.
    A connection that was closed while it was kept is replaced in silence: what is asked changes nothing.
    """
    return ClientSession(
        connector=TCPConnector(keepalive_timeout=15.0, ssl=True if tls is None else tls),
        cookie_jar=DummyCookieJar(),
        trust_env=False,
        timeout=ClientTimeout(total=None, sock_connect=connect),
        headers={hdrs.USER_AGENT: f"activity-proxy/{__version__}"},
    )


async def open_viewers(shop: Workshop, unknown: Subject, users: UserTokens | None) -> Viewers:
    """Open the sessions' store. `unknown` is whom others go as; `users` is None where no gateway is."""
    settings = shop.configuration.settings
    identity, timeout = settings.identity, settings.gateway.timeout
    sessions = open_sessions(
        settings.cache.url,
        identity.key.get_secret_value(),
        shop.clock,
        lambda trouble: shop.observe(StoreTroubled(trouble, "sessions")),
        shop.client_tls("cache", settings.cache.tls),
    )
    shop.resources.push_async_callback(sessions.aclose)
    tls = shop.client_tls("discord", identity.tls)
    session = await shop.resources.enter_async_context(discord_session(timeout.connect, tls))
    discord = Discord(identity.discord_url, session, timeout.attempt)

    def before(answer: Source) -> Source:
        development = settings.environment == "development"
        checked = Identity(answer, required=identity.required, believed=development)
        return Signing(
            answer=checked,
            who=discord,
            login=_no_gateway if users is None else users.sign_in,
            logout=_forget_nobody if users is None else users.drop,
            sessions=sessions,
            roles=identity.roles,
            ttl=identity.ttl,
            least=timeout.attempt,
            clock=shop.clock,
            observe=shop.observe,
            make_secret=lambda: secrets.token_urlsafe(32),
        )

    return Viewers(sessions, Recognition(sessions, unknown, identity.roles, shop.clock), before)


async def _no_gateway(_user: Subject) -> Granted:
    raise TokenEndpointFailed(FailureKind.OFF, "the gateway is never contacted in this mode")


def _forget_nobody(_discord_id: str) -> None:
    """Do nothing: there are no tokens."""
