"""The models of the configuration: defaults, strictness, and what does not go together."""

from ipaddress import ip_network

import pytest
from pydantic import BaseModel, SecretStr, ValidationError

from proxy.gateway_settings import (
    BreakerSettings,
    GatewaySettings,
    LoginSettings,
    RetrySettings,
    TimeoutSettings,
)
from proxy.misfits import Misfit, Misfits
from proxy.section import Section
from proxy.settings import KalturaSettings, LimitSettings, Settings
from proxy.units import WRITTEN


def misfits(model: type[BaseModel], data: object) -> list[Misfit]:
    """Return what a model says does not go together."""
    with pytest.raises(ValidationError) as caught:
        model.model_validate(data, context=WRITTEN)
    return [
        problem
        for details in caught.value.errors()
        if isinstance(cause := details.get("ctx", {}).get("error"), Misfits)
        for problem in cause.problems
    ]


def sections(model: type[BaseModel]) -> list[type[BaseModel]]:
    """Return a model and all those below it."""
    found = [model]
    for field in model.model_fields.values():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found += sections(field.annotation)
    return found


def test_the_defaults_are_those_of_the_design() -> None:
    """Dashboards and deployments hang on them."""
    settings = Settings()
    gateway = settings.gateway
    assert (settings.environment, settings.mode) == ("development", "auto")
    assert (str(settings.listen), str(settings.admin)) == ("0.0.0.0:3001", "127.0.0.1:9464")
    assert (settings.activity.url, gateway.url) == ("http://127.0.0.1:3002", "http://localhost:3000/api")
    assert (gateway.dialect, gateway.token.get_secret_value()) == ("auto", "")
    assert gateway.login == LoginSettings(discord_id="activity-proxy", username="Activity Proxy", roles=())
    assert gateway.timeout == TimeoutSettings(connect=1, attempt=3, total=8)
    assert gateway.retry == RetrySettings(attempts=3, initial=0.1, max=2)
    assert gateway.breaker == BreakerSettings(
        window=30,
        minimum_calls=10,
        failure_rate=0.5,
        slow_call=2,
        slow_rate=1,
        open=10,
        open_max=300,
        half_open_calls=3,
    )
    assert settings.limits == LimitSettings(body=1024 * 1024, header=16 * 1024)
    assert (settings.trusted_proxies, settings.kaltura.partner_id, settings.routes) == ((), "", {})


def test_a_file_gives_each_section_its_values() -> None:
    """Texts become seconds, bytes, shares, addresses and networks."""
    settings = Settings.model_validate(
        {
            "gateway": {
                "timeout": {"total": "10s"},
                "breaker": {"slow_rate": "80%"},
                "login": {"roles": ("a",)},
            },
            "limits": {"body": "2MiB"},
            "trusted_proxies": ("10.0.0.0/8",),
            "kaltura": {"partner_id": 5896392},
        },
        context=WRITTEN,
    )
    assert (settings.gateway.timeout.total, settings.gateway.breaker.slow_rate) == (10.0, 0.8)
    assert (settings.gateway.login.roles, settings.limits.body) == (("a",), 2 * 1024 * 1024)
    assert settings.trusted_proxies == (ip_network("10.0.0.0/8"),)
    assert settings.kaltura.partner_id == "5896392"


@pytest.mark.parametrize("model", sections(Settings), ids=lambda model: model.__name__)
def test_every_section_is_frozen_strict_and_described(model: type[BaseModel]) -> None:
    """Nothing unknown is taken, nothing altered later, and every key says what it is for."""
    assert issubclass(model, Section)
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        model.model_validate({"unknown": 1})
    instance = model()
    name, field = next(iter(model.model_fields.items()))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(instance, name, field.default)
    assert all((field.description or "").endswith(".") for field in model.model_fields.values())


@pytest.mark.parametrize(
    ("model", "data", "path"),
    [
        (TimeoutSettings, {"connect": "0s"}, ("connect",)),
        (BreakerSettings, {"failure_rate": "0%"}, ("failure_rate",)),
        (BreakerSettings, {"minimum_calls": 0}, ("minimum_calls",)),
        (BreakerSettings, {"half_open_calls": 0}, ("half_open_calls",)),
        (LimitSettings, {"body": "0B"}, ("body",)),
        (RetrySettings, {"attempts": 0}, ("attempts",)),
        (RetrySettings, {"attempts": 11}, ("attempts",)),
        (RetrySettings, {"attempts": True}, ("attempts",)),
        (RetrySettings, {"attempts": "3"}, ("attempts",)),
        (LoginSettings, {"discord_id": ""}, ("discord_id",)),
        (LoginSettings, {"username": 5}, ("username",)),
        (LoginSettings, {"roles": ("a", 5)}, ("roles", 1)),
        (GatewaySettings, {"dialect": ""}, ("dialect",)),
        (GatewaySettings, {"token": "a b"}, ("token",)),
        (GatewaySettings, {"token": "a\r\nX: y"}, ("token",)),
        (KalturaSettings, {"partner_id": True}, ("partner_id",)),
        (KalturaSettings, {"partner_id": "1\n2"}, ("partner_id",)),
        (KalturaSettings, {"partner_id": "1" * 65}, ("partner_id",)),
        (Settings, {"mode": "shadow"}, ("mode",)),
        (Settings, {"environment": "prod"}, ("environment",)),
        (Settings, {"routes": {"video": 5}}, ("routes", "video")),
    ],
)
def test_a_value_that_cannot_be_is_refused(
    model: type[BaseModel], data: object, path: tuple[str | int, ...]
) -> None:
    """Nothing is converted or rounded into something that it was not."""
    with pytest.raises(ValidationError) as caught:
        model.model_validate(data, context=WRITTEN)
    assert [details["loc"] for details in caught.value.errors()] == [path]


@pytest.mark.parametrize(
    ("model", "data", "path", "message", "others"),
    [
        (TimeoutSettings, {"attempt": "9s"}, ("attempt",), "attempt is over total", (("total",),)),
        (TimeoutSettings, {"connect": "4s"}, ("connect",), "connect is over attempt", (("attempt",),)),
        (RetrySettings, {"initial": "3s"}, ("initial",), "initial is over max", (("max",),)),
        (BreakerSettings, {"open": "6m"}, ("open",), "open is over open_max", (("open_max",),)),
        (
            GatewaySettings,
            {"breaker": {"slow_call": "9s"}},
            ("breaker", "slow_call"),
            "breaker.slow_call is over timeout.total",
            (("timeout", "total"),),
        ),
        (
            Settings,
            {"admin": "127.0.0.1:3001"},
            ("admin",),
            "listen and admin are the same address",
            (("listen",),),
        ),
    ],
)
def test_a_pair_that_cannot_be_is_told_at_its_keys(
    model: type[BaseModel],
    data: object,
    path: tuple[str, ...],
    message: str,
    others: tuple[tuple[str, ...], ...],
) -> None:
    """The offending key and the one that it clashes with are both named."""
    assert misfits(model, data) == [Misfit(path, message, others)]


def test_bounds_of_a_pair_may_be_equal() -> None:
    """One attempt that takes the whole time is possible."""
    timeout = TimeoutSettings(connect=2, attempt=2, total=2)
    assert GatewaySettings(timeout=timeout, retry=RetrySettings(initial=1, max=1)).timeout.total == 2
    assert BreakerSettings(open=9, open_max=9).open == 9


def test_all_pairs_of_a_section_are_told_at_once() -> None:
    """Mending one does not bring up the next."""
    found = misfits(TimeoutSettings, {"connect": "20s", "attempt": "10s"})
    assert [problem.path for problem in found] == [("attempt",), ("connect",)]


def test_secrets_and_route_changes_are_in_no_repr() -> None:
    """Settings are logged at start by some operator, some day."""
    settings = Settings(
        admin_token=SecretStr("hunter1"),
        gateway=GatewaySettings(token=SecretStr("hunter2")),
        routes={"session": {"send": {"key": "hunter3"}}},
    )
    assert "hunter" not in repr(settings)
    assert "hunter" not in str(settings)
