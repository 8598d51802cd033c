"""The section `gateway`: where it is, whom it is called as, and how its calls are bounded and repeated.

Times are seconds, shares parts of one.
"""

from pydantic import Field, SecretStr, model_validator

from proxy.endpoints import HttpUrl
from proxy.misfits import Misfit, Misfits
from proxy.section import Rate, Section, Span, Token
from proxy.tls_settings import TlsSettings, needs_tls


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
        needs_tls("https", self.url, self.tls)
        if self.breaker.slow_call > self.timeout.total:
            slow, total = ("breaker", "slow_call"), ("timeout", "total")
            raise Misfits([Misfit(slow, "breaker.slow_call is over timeout.total", (total,))])
        return self
