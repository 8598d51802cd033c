"""The settings of `config/proxy.yaml`: one frozen model a section, and each stage is given its own.

Times are seconds, sizes bytes, shares parts of one. The defaults are those of the carried
configuration with nothing set in the environment.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    SecretStr,
    WithJsonSchema,
    model_validator,
)

from proxy.misfits import Misfit, Misfits
from proxy.store_url import parse_store_url
from proxy.units import Duration, Frequency, HostPort, HttpUrl, Listen, Network, Origin, Refused, Share, Size

Mode = Literal["auto", "live", "offline"]
Environment = Literal["development", "production"]

SHORTEST_KEY = 32
_TOKEN = re.compile(r"[\x21-\x7e]*")


def _positive(value: float) -> float:
    if value <= 0:
        raise Refused("must be more than 0")
    return value


def _header_safe(secret: SecretStr) -> SecretStr:
    """Refuse what would break out of a header line, or be a whole file by mistake (RFC 9110, 5.5)."""
    if not _TOKEN.fullmatch(secret.get_secret_value()):
        raise Refused("must be one word of visible ASCII characters")
    return secret


def _partner_id(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise Refused("must be a partner's number")
    text = str(value)
    if len(text) > 64 or not text.isprintable():
        raise Refused("is no partner's number")
    return text


def _flag(value: object) -> bool:
    """Read true or false; from the environment they may come as texts, and nothing else will do."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value in {"true", "false"}:
        return value == "true"
    raise Refused("must be true or false")


def _cache_url(value: object) -> str:
    parse_store_url(value)
    return str(value)


def _long_enough(secret: SecretStr) -> SecretStr:
    if 0 < len(secret.get_secret_value()) < SHORTEST_KEY:
        raise Refused(f"must have {SHORTEST_KEY} characters or more, as from `openssl rand -base64 32`")
    return secret


Flag = Annotated[bool, PlainValidator(_flag), WithJsonSchema({"type": "boolean"})]
CacheUrl = Annotated[str, PlainValidator(_cache_url), WithJsonSchema({"type": "string"})]
Span = Annotated[Duration, AfterValidator(_positive)]
Rate = Annotated[Share, AfterValidator(_positive)]
Amount = Annotated[Size, AfterValidator(_positive)]
Token = Annotated[SecretStr, AfterValidator(_header_safe)]
Key = Annotated[SecretStr, AfterValidator(_long_enough)]
PartnerId = Annotated[str, PlainValidator(_partner_id), WithJsonSchema({"type": ["string", "integer"]})]


class Section(BaseModel):
    """What all sections share: nothing unknown, nothing converted, nothing altered later."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, hide_input_in_errors=True, allow_inf_nan=False
    )


class TlsSettings(Section):
    """TLS towards a server. Files are PEM, seen from the configuration's folder."""

    ca: str = Field(default="", description="Authorities to believe instead of the system's; empty: those.")
    certificate: str = Field(default="", description="Shown to a server that asks for one; empty: none.")
    key: str = Field(default="", description="Its private key; empty: in the certificate's file.")

    @model_validator(mode="after")
    def _fits(self) -> "TlsSettings":
        if self.key and not self.certificate:
            raise Misfits([Misfit(("key",), "is of no use without certificate")])
        return self

    def __bool__(self) -> bool:
        return any((self.ca, self.certificate, self.key))


class ServerTlsSettings(Section):
    """TLS of a listener. Files are PEM, seen from the configuration's folder."""

    certificate: str = Field(
        default="", description="Certificate and those between it and its authority; empty: no TLS."
    )
    key: str = Field(default="", description="Its private key; empty: in the certificate's file.")

    @model_validator(mode="after")
    def _fits(self) -> "ServerTlsSettings":
        others = [name for name in type(self).model_fields if getattr(self, name) and not self.certificate]
        if others:
            raise Misfits([Misfit((name,), "is of no use without certificate") for name in others])
        return self

    def __bool__(self) -> bool:
        return bool(self.certificate)


class ListenTlsSettings(ServerTlsSettings):
    """TLS of the public listener."""

    client_ca: str = Field(
        default="", description="Only clients with a certificate of these authorities get in; empty: all."
    )


def _needs_tls(scheme: str, url: str, tls: TlsSettings, key: str = "url") -> None:
    if tls and not url.startswith(f"{scheme}:"):
        raise Misfits([Misfit(("tls",), f"is of no use, since {key} is not {scheme}", ((key,),))])


class ActivitySettings(Section):
    """The Activity server."""

    url: Origin = Field(
        default="http://127.0.0.1:3002",
        description="Scheme, host and port of the Activity server, which is not changed.",
    )
    tls: TlsSettings = Field(default=TlsSettings(), description="TLS towards the Activity server.")

    @model_validator(mode="after")
    def _fits(self) -> "ActivitySettings":
        _needs_tls("https", self.url, self.tls)
        return self


class LoginSettings(Section):
    """Whom the sidecar logs in as."""

    discord_id: str = Field(
        default="activity-proxy", min_length=1, max_length=128, description="The Discord id to log in with."
    )
    username: str = Field(
        default="Activity Proxy", min_length=1, max_length=128, description="The name to log in with."
    )
    roles: tuple[str, ...] = Field(default=(), description="The Discord roles to log in with.")


class TimeoutSettings(Section):
    """How long a call of the gateway may take."""

    connect: Span = Field(default=1.0, description="Longest time for a connection to come about.")
    attempt: Span = Field(default=3.0, description="Longest time for one attempt, connecting included.")
    total: Span = Field(default=8.0, description="Longest time for a call with all its attempts.")

    @model_validator(mode="after")
    def _fits(self) -> "TimeoutSettings":
        problems = []
        if self.attempt > self.total:
            problems.append(Misfit(("attempt",), "attempt is over total", (("total",),)))
        if self.connect > self.attempt:
            problems.append(Misfit(("connect",), "connect is over attempt", (("attempt",),)))
        if problems:
            raise Misfits(problems)
        return self


class RetrySettings(Section):
    """How often and how soon a failed call is made again."""

    attempts: int = Field(default=3, ge=1, le=10, description="Attempts in all; 1 never repeats.")
    initial: Span = Field(default=0.1, description="Longest delay before the second attempt; then doubling.")
    max: Span = Field(default=2.0, description="Longest delay before any attempt.")
    budget: Rate = Field(
        default=0.2, description="Retries may add at most this share to the calls of the last 10 s."
    )

    @model_validator(mode="after")
    def _fits(self) -> "RetrySettings":
        if self.initial > self.max:
            raise Misfits([Misfit(("initial",), "initial is over max", (("max",),))])
        return self


class BreakerSettings(Section):
    """When the circuit breaker opens, and for how long."""

    window: Span = Field(default=30.0, description="Only the calls of this last time count.")
    minimum_calls: int = Field(
        default=10, ge=1, le=1_000_000, description="It never opens on fewer calls than this."
    )
    failure_rate: Rate = Field(default=0.5, description="It opens when this share of calls failed.")
    slow_call: Span = Field(default=2.0, description="An attempt that takes this long counts as slow.")
    slow_rate: Rate = Field(default=1.0, description="It opens when this share of calls was slow.")
    open: Span = Field(default=10.0, description="How long it stays open at first; doubles each time.")
    open_max: Span = Field(default=300.0, description="How long it stays open at most.")
    half_open_calls: int = Field(
        default=3, ge=1, le=1000, description="Calls that may try whether the gateway is back."
    )

    @model_validator(mode="after")
    def _fits(self) -> "BreakerSettings":
        if self.open > self.open_max:
            raise Misfits([Misfit(("open",), "open is over open_max", (("open_max",),))])
        return self


class GatewaySettings(Section):
    """The API Gateway."""

    url: HttpUrl = Field(
        default="http://localhost:3000/api", description="Base URL of the API Gateway; it ends in /api."
    )
    tls: TlsSettings = Field(default=TlsSettings(), description="TLS towards the gateway.")
    dialect: str = Field(
        default="auto",
        min_length=1,
        description="The route table: auto (what the gateway supports), plan, newer, or a file.",
    )
    token: Token = Field(
        default=SecretStr(""),
        description="A fixed bearer token. Empty, or refused by the gateway: log in as below.",
    )
    login: LoginSettings = Field(default=LoginSettings(), description="Whom the sidecar logs in as.")
    timeout: TimeoutSettings = Field(default=TimeoutSettings(), description="How long calls may take.")
    retry: RetrySettings = Field(default=RetrySettings(), description="How failed calls are made again.")
    max_concurrency: int = Field(
        default=100,
        ge=1,
        le=100_000,
        description="Calls at once; more than these and a short queue fall back.",
    )
    breaker: BreakerSettings = Field(
        default=BreakerSettings(), description="When a failing gateway is left alone, and for how long."
    )

    @model_validator(mode="after")
    def _fits(self) -> "GatewaySettings":
        _needs_tls("https", self.url, self.tls)
        if self.breaker.slow_call > self.timeout.total:
            slow, total = ("breaker", "slow_call"), ("timeout", "total")
            raise Misfits([Misfit(slow, "breaker.slow_call is over timeout.total", (total,))])
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
        _needs_tls("https", self.discord_url, self.tls, "discord_url")
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
        _needs_tls("https", self.url, self.tls)
        return self


class CacheSettings(Section):
    """Where answers are kept."""

    url: CacheUrl = Field(default="memory://", repr=False, description="memory:// or redis://host:port/db.")
    max_size: Amount = Field(default=64 * 1024**2, description="Memory for answers, keys included.")
    snapshot: str = Field(
        default="", description="A file: the last good answers survive a restart in it. Empty: none."
    )
    tls: TlsSettings = Field(default=TlsSettings(), description="TLS towards the Redis.")

    @model_validator(mode="after")
    def _fits(self) -> "CacheSettings":
        _needs_tls("rediss", self.url, self.tls)
        return self


class LimitSettings(Section):
    """What a client may send."""

    body: Amount = Field(default=1024**2, description="Largest body of a rewritten call.")
    body_timeout: Span = Field(default=10.0, description="Longest time for the body of a rewritten call.")
    header: Amount = Field(default=16 * 1024, description="Largest header line.")
    headers: int = Field(default=128, ge=1, le=10_000, description="Most header lines of a request.")
    target: Amount = Field(default=8 * 1024, description="Longest request target: path and query.")
    header_timeout: Span = Field(
        default=10.0, description="Longest time for a request's head, and for a new connection's first byte."
    )
    send_timeout: Span = Field(
        default=60.0, description="A client that takes nothing of what it is sent for so long is cut off."
    )
    connections: int = Field(
        default=10_000, ge=1, le=1_000_000, description="Clients' connections at once; more are turned away."
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
        default="development", description="In production no credential is ever mocked."
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
