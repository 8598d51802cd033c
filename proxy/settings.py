"""The settings of `config/proxy.yaml`: one frozen model a section, and each stage is given its own.

Times are seconds, sizes bytes, shares parts of one. The defaults are those of the carried
configuration with nothing set in the environment.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PlainValidator, SecretStr, WithJsonSchema, model_validator

from proxy.endpoints import HostPort, HttpUrl, Listen, Network, Origin
from proxy.gateway_settings import GatewaySettings
from proxy.misfits import Misfit, Misfits
from proxy.section import Amount, FileName, Flag, Section, Span, Token
from proxy.store_url import parse_store_url
from proxy.tls_settings import ListenTlsSettings, ServerTlsSettings, TlsSettings, needs_tls
from proxy.units import Frequency, Refused

Mode = Literal["auto", "live", "offline"]
Environment = Literal["development", "production"]

SHORTEST_KEY = 32


def _partner_id(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise Refused("must be a partner's number")
    text = str(value)
    if len(text) > 64 or not text.isprintable():
        raise Refused("is no partner's number")
    return text


def _cache_url(value: object) -> str:
    parse_store_url(value)
    return str(value)


def _long_enough(secret: SecretStr) -> SecretStr:
    if 0 < len(secret.get_secret_value()) < SHORTEST_KEY:
        raise Refused(f"must have {SHORTEST_KEY} characters or more, as from `openssl rand -base64 32`")
    return secret


CacheUrl = Annotated[str, PlainValidator(_cache_url), WithJsonSchema({"type": "string"})]
Key = Annotated[SecretStr, AfterValidator(_long_enough)]
PartnerId = Annotated[str, PlainValidator(_partner_id), WithJsonSchema({"type": ["string", "integer"]})]


class ActivitySettings(Section):
    """The Activity server."""

    url: Origin = Field(
        default="http://127.0.0.1:3002",
        description="Scheme, host and port of the Activity server, which is not changed.",
    )
    tls: TlsSettings = Field(default=TlsSettings(), description="TLS towards the Activity server.")

    @model_validator(mode="after")
    def _fits(self) -> "ActivitySettings":
        needs_tls("https", self.url, self.tls)
        return self


class IdentitySettings(Section):
    """Who a viewer is."""

    discord_url: HttpUrl = Field(
        default="https://discord.com/api",
        description="Base URL of Discord's API, which says who has a token.",
    )
    required: bool = Field(
        default=False,
        description="Whether callers who are not signed in are turned away (401) where a call is a user's.",
    )
    ttl: Span = Field(default=12 * 3600.0, description="How long a viewer stays signed in.")
    roles: tuple[str, ...] = Field(
        default=(), description="The Discord roles that viewers are logged in with."
    )
    key: Key = Field(
        default=SecretStr(""),
        description="Secret text that sessions in Redis are encrypted with, the same for all sidecars.",
    )
    tls: TlsSettings = Field(default=TlsSettings(), description="TLS towards Discord.")

    @model_validator(mode="after")
    def _fits(self) -> "IdentitySettings":
        needs_tls("https", self.discord_url, self.tls, "discord_url")
        return self


class KalturaSettings(Section):
    """Kaltura itself: asked where the gateway fails, if at all."""

    enabled: Flag = Field(
        default=False, description="Whether the source kaltura may ask Kaltura itself. false: it never is."
    )
    url: HttpUrl = Field(
        default="https://www.kaltura.com/api_v3", description="The endpoint of Kaltura's API v3."
    )
    partner_id: PartnerId = Field(
        default="",
        description="The account; fills partnerId where the gateway has none. Empty: none is known.",
    )
    admin_secret: Token = Field(
        default=SecretStr(""), description="The account's admin secret, with which sessions are started."
    )
    tls: TlsSettings = Field(default=TlsSettings(), description="TLS towards Kaltura.")

    @model_validator(mode="after")
    def _fits(self) -> "KalturaSettings":
        needs_tls("https", self.url, self.tls)
        return self


class CacheSettings(Section):
    """Where answers are kept."""

    url: CacheUrl = Field(default="memory://", repr=False, description="memory:// or redis://host:port/db.")
    max_size: Amount = Field(default=64 * 1024**2, description="Memory for answers, keys included.")
    snapshot: FileName = Field(
        default="",
        description="A file, seen from the configuration's folder, in which the last good answers survive a "
        "restart. Empty: none.",
    )
    tls: TlsSettings = Field(default=TlsSettings(), description="TLS towards the Redis.")

    @model_validator(mode="after")
    def _fits(self) -> "CacheSettings":
        needs_tls("rediss", self.url, self.tls)
        return self


class LimitSettings(Section):
    """What a client may send."""

    body: Amount = Field(default=1024**2, description="Largest body of a rewritten call.")
    body_timeout: Span = Field(default=10.0, description="Longest time for the body of a rewritten call.")
    header: Amount = Field(default=16 * 1024, description="Largest header line.")
    headers: int = Field(default=128, ge=1, le=10_000, description="Most header lines of a request.")
    target: Amount = Field(default=8 * 1024, description="Longest request target: path and query.")
    head: Amount = Field(
        default=64 * 1024, description="Largest head of a request: its line and all header lines together."
    )
    header_timeout: Span = Field(
        default=10.0, description="Longest time for a request's head, and for a new connection's first byte."
    )
    send_timeout: Span = Field(
        default=60.0, description="A client that takes nothing of what it is sent for so long is cut off."
    )
    connections: int = Field(
        default=8000, ge=1, le=1_000_000, description="Clients' connections at once; more are turned away."
    )
    rate: Frequency = Field(
        default=None,
        description="Requests of one client, like 50/s or 100/m, in the long run; off: any number.",
    )
    burst: int = Field(
        default=100, ge=1, le=1_000_000, description="Requests of one client at once, after a quiet time."
    )


class Settings(Section):
    """The whole configuration; assembly takes it apart, and no stage sees more than its section."""

    environment: Environment = Field(
        default="development",
        description="In production no credential is mocked unless routes say so.",
    )
    mode: Mode = Field(
        default="auto",
        description="auto: the gateway, then what stands in. live: the gateway and honest errors. "
        "offline: canned answers, the gateway is never contacted.",
    )
    listen: Listen = Field(
        default=HostPort("0.0.0.0", 3001),  # nosec B104 # noqa: S104  (a sidecar's purpose)
        description="Where clients connect.",
    )
    admin: Listen = Field(
        default=HostPort("127.0.0.1", 9464), description="Where metrics, health and status are."
    )
    admin_token: Token = Field(
        default=SecretStr(""),
        description="Bearer token for the status where admin is not on loopback; empty: it is off.",
    )
    listen_tls: ListenTlsSettings = Field(
        default=ListenTlsSettings(), description="TLS of the public listener; without a certificate, none."
    )
    admin_tls: ServerTlsSettings = Field(
        default=ServerTlsSettings(), description="TLS of the admin listener; without a certificate, none."
    )
    activity: ActivitySettings = Field(default=ActivitySettings(), description="The Activity server.")
    gateway: GatewaySettings = Field(default=GatewaySettings(), description="The API Gateway.")
    identity: IdentitySettings = Field(default=IdentitySettings(), description="Who a viewer is.")
    kaltura: KalturaSettings = Field(default=KalturaSettings(), description="Kaltura itself.")
    cache: CacheSettings = Field(default=CacheSettings(), description="Where answers are kept.")
    trusted_proxies: tuple[Network, ...] = Field(
        default=(), description="Networks whose X-Forwarded-* headers are believed."
    )
    limits: LimitSettings = Field(default=LimitSettings(), description="What a client may send.")
    routes: Mapping[str, Mapping[str, Any]] = Field(
        default={}, repr=False, description="Changes to the routes of the dialect, by name."
    )

    @model_validator(mode="after")
    def _fits(self) -> "Settings":
        if self.cache.snapshot and not self.cache.url.startswith("memory:"):
            snapshot, url = ("cache", "snapshot"), ("cache", "url")
            raise Misfits([Misfit(snapshot, "a Redis outlives a restart by itself", (url,))])
        if not self.cache.url.startswith("memory:") and not self.identity.key.get_secret_value():
            key, url = ("identity", "key"), ("cache", "url")
            raise Misfits([Misfit(key, "sessions in a Redis want identity.key to encrypt them", (url,))])
        if self.admin.overlaps(self.listen):
            raise Misfits([Misfit(("admin",), "listen and admin are the same address", (("listen",),))])
        return self
