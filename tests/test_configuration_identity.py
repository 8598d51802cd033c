"""What a configuration may say of viewers, and what a route table of signing in and out."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from proxy.misfits import Misfits
from proxy.settings import IdentitySettings, Settings
from tests.configurations import Folder
from tests.tables import DIALECTS, a_route, raw_routes, routes
from tests.test_explain import said

KEY = "0123456789abcdef0123456789abcdef"
REDIS = "cache: {url: redis://127.0.0.1/0}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """An empty directory."""
    return Folder(tmp_path)


def warned(folder: Folder, text: str) -> list[str]:
    """Return the warnings for a configuration."""
    return folder.relative("\n".join(map(str, folder.load(text, {"KALTURA_PARTNER_ID": "42"}).warnings)))


def test_the_defaults_are_those_of_the_design(folder: Folder) -> None:
    """Discord itself, nobody turned away, twelve hours; the carried file says the same."""
    for identity in (Settings().identity, folder.load("").settings.identity):
        assert identity == IdentitySettings(
            discord_url="https://discord.com/api", required=False, ttl=12 * 3600, roles=()
        )
        assert identity.key.get_secret_value() == ""
    there = folder.load("", {"DISCORD_API_URL": "http://127.0.0.1:9/api/"}).settings
    assert there.identity.discord_url == "http://127.0.0.1:9/api"


def test_sessions_in_a_redis_want_a_key(folder: Folder) -> None:
    """Without one they would lie there for all to read."""
    text = "sessions in a Redis want identity.key to encrypt them"
    assert folder.problems(REDIS) == [f"proxy.yaml:1:9: cache.url: {text}"]
    assert folder.problems(REDIS + "identity: {key: ''}") == [f"proxy.yaml:2:12: identity.key: {text}"]
    folder.write("key", KEY + "\n")
    kept = folder.load(REDIS + "identity:\n  key: ${file:key}").settings.identity.key
    assert kept.get_secret_value() == KEY
    assert KEY not in repr(kept)


def test_a_short_key_is_refused_and_not_shown(folder: Folder) -> None:
    """What can be guessed encrypts nothing."""
    (line,) = folder.problems(REDIS + "identity: {key: hunter2-hunter2}")
    assert line.startswith("proxy.yaml:2:12: identity.key: ")
    assert "must have 32 characters or more" in line
    (line,) = folder.problems(REDIS + "identity: {key: '${K}'}", {"K": "hunter2-hunter2"})
    assert "hunter2" not in line


def test_a_key_without_a_redis_is_warned_of(folder: Folder) -> None:
    """It encrypts nothing there."""
    text = f"identity:\n  key: {KEY}"
    assert warned(folder, text) == [
        "proxy.yaml:2:3: identity.key: has no use where sessions are in memory, not in a Redis"
    ]
    assert warned(folder, f"{REDIS}{text}") == []


def test_discord_is_no_address_of_the_sidecars_own(folder: Folder) -> None:
    """It would ask itself who somebody is."""
    assert folder.problems("identity:\n  discord_url: http://127.0.0.1:3001/api") == [
        "proxy.yaml:2:3: identity.discord_url: is the address of listen; the sidecar would call itself"
    ]


def test_an_unencrypted_discord_is_warned_of_in_production(folder: Folder) -> None:
    """Access tokens would leave the machine for all to read."""
    text = "environment: production\ngateway: {url: https://g/api}\nidentity:\n  discord_url: http://d/api"
    assert warned(folder, text) == [
        "proxy.yaml:4:3: identity.discord_url: tokens leave this machine unencrypted; https keeps them secret"
    ]


def test_rights_that_everyone_would_have_are_warned_of_in_production(folder: Folder) -> None:
    """Unknown callers go as the service, with its roles, unless they are turned away."""
    text = "environment: production\ngateway:\n  url: https://g/api\n  login: {roles: [admin]}\n"
    (line,) = warned(folder, text)
    assert line.startswith("proxy.yaml:4:11: gateway.login.roles: callers who are not signed in get sessions")
    assert warned(folder, text + "identity: {required: true}") == []
    assert warned(folder, text.replace("production", "development")) == []


@pytest.mark.parametrize(
    "said",
    [
        {"ttl": "0s"},
        {"required": "yes"},
        {"roles": [5]},
        {"discord_url": "ftp://discord.com"},
        {"cookie": "x"},
    ],
)
def test_a_value_that_cannot_be_is_refused(said: dict[str, object]) -> None:
    """Nothing is converted into something that it was not."""
    with pytest.raises(ValidationError):
        IdentitySettings.model_validate(said)


def misfits(**changes: Any) -> list[tuple[str | int, ...]]:
    """Return what of a route does not go together."""
    with pytest.raises(ValidationError) as caught:
        a_route(**changes)
    return [
        problem.path
        for details in caught.value.errors()
        if isinstance(cause := details.get("ctx", {}).get("error"), Misfits)
        for problem in cause.problems
    ]


ALONE: dict[str, Any] = {"call": None, "reply": None, "match": "POST /out"}


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"sign": "in", "credential": True}, ("sign",)),
        ({"sign": "out"}, ("sign",)),
        (
            {**ALONE, "sign": "in", "credential": True, "fallback": ["canned"], "canned": "x.json"},
            ("fallback",),
        ),
        ({**ALONE, "sign": "in", "credential": True}, ("match",)),
        ({**ALONE, "sign": "in", "fallback": ["activity"]}, ("sign",)),
        ({**ALONE, "sign": "out", "fallback": ["activity"]}, ("fallback",)),
        ({**ALONE, "sign": "out", "canned": "x.json"}, ("canned",)),
    ],
)
def test_what_signing_does_not_go_with_is_refused(changes: dict[str, Any], path: tuple[str, ...]) -> None:
    """Only the Activity server's answer signs in, and nobody else's answer signs out."""
    assert misfits(**changes) == [path]


def test_both_tables_sign_in_and_out() -> None:
    """By the same calls; any other word is refused."""
    for dialect in DIALECTS:
        table = routes(dialect)
        assert {(name, route.sign) for name, route in table.items() if route.sign} == {
            ("token", "in"),
            ("logout", "out"),
        }
        assert str(table["logout"].match) == "POST /api/logout"
    with pytest.raises(ValidationError):
        a_route(**ALONE, sign="up")


def test_auto_wants_to_know_whose_call_it_is(folder: Folder) -> None:
    """A call that is a user's by one table and the service's by the other cannot be chosen late."""
    table = raw_routes("newer")
    table["play"]["as"] = "service"
    import yaml

    folder.write("dialects/newer.yaml", yaml.safe_dump({"routes": table}))
    (line,) = folder.problems("")
    assert line.endswith("routes.play.as: is not as in plan; auto wants the same in both")


def test_a_table_in_which_nobody_signs_in_is_told(folder: Folder) -> None:
    """A warning where users' calls then go as the service, a mistake where they would all be turned away."""
    import yaml

    table = raw_routes("plan")
    del table["token"]["sign"]
    folder.write("mine.yaml", yaml.safe_dump({"routes": table}))
    text = "gateway: {dialect: mine.yaml}\n"
    (line,) = warned(folder, text)
    assert line.startswith("mine.yaml:1:1: no route signs viewers in (sign: in)")
    assert folder.problems(text + "identity: {required: true}") == [
        "proxy.yaml:2:12: identity.required: no route of mine.yaml signs viewers in (sign: in)"
    ]
    folder.write("mine.yaml", yaml.safe_dump({"routes": {"token": table["token"]}}))
    assert warned(folder, text) == []
    assert warned(folder, "") == []


BODY = '{"videoId": "1_abc", "userId": "mallory"}'


@pytest.mark.parametrize(
    ("text", "others", "who"),
    [
        ("", "as the service", "mallory"),
        ("environment: production", "as the service", "anonymous"),
        ("identity: {required: true}", "401 login_required", "DISCORD_ID"),
    ],
)
def test_explain_says_whose_call_it_is(tmp_path: Path, text: str, others: str, who: str) -> None:
    """How a viewer is told, what becomes of others, and who counts where nobody is known, or has to be."""
    lines = said(tmp_path, "POST", "/api/kaltura/session", BODY, text)
    assert f"viewer by cookie or bearer token; others: {others}" in lines
    assert f"values videoId='1_abc', userId='{who}'" in lines
    video = said(tmp_path, "GET", "/api/kaltura/video/1_abc", "", text)
    assert not [line for line in video if line.startswith("viewer")]


def test_explain_says_who_signs_in_and_out(tmp_path: Path) -> None:
    """Whom the sidecar asks at a token exchange, and that nobody is asked at a sign-out."""
    text = "identity: {discord_url: https://d.example/api}"
    lines = said(tmp_path, "POST", "/api/token", "", text)
    asked = "GET https://d.example/api/users/@me, then POST http://127.0.0.1:1/api/auth/token"
    assert f"signs in {asked}" in lines
    offline = said(tmp_path, "POST", "/api/token", "", f"mode: offline\n{text}")
    assert "signs in GET https://d.example/api/users/@me, then no api_token (gateway_off)" in offline
    out = said(tmp_path, "POST", "/api/logout")
    assert out[-1] == "answers 204 by itself: forgets the session of the cookie and of the bearer token"


def test_no_key_is_explained(tmp_path: Path) -> None:
    """Nor shown by the settings."""
    text = f"{REDIS}identity: {{key: {KEY}}}"
    assert KEY not in "\n".join(said(tmp_path, "POST", "/api/token", "", text))


def test_the_model_is_one_of_the_sections() -> None:
    """It is frozen and strict like all others."""
    assert issubclass(IdentitySettings, BaseModel)
    with pytest.raises(ValidationError):
        IdentitySettings().required = True
