"""Loading a configuration: defaults, environment, secret files, files beside it, options."""

from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from proxy import lookup
from proxy.configuration import ConfigurationError, load
from proxy.lookup import carried_directory
from proxy.route import Route
from proxy.settings import Settings
from tests.configurations import Folder


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """An empty directory."""
    return Folder(tmp_path)


def keys(model: type[BaseModel], prefix: str = "") -> set[str]:
    """Return all keys of a model, dotted."""
    found: set[str] = set()
    for name, field in model.model_fields.items():
        found.add(prefix + name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found |= keys(field.annotation, f"{prefix}{name}.")
    return found


def written(data: object, prefix: str = "") -> set[str]:
    """Return all keys of a mapping, dotted."""
    if not isinstance(data, dict):
        return set()
    return {prefix + key for key in data} | {
        key for name, value in data.items() for key in written(value, f"{prefix}{name}.")
    }


def test_the_carried_file_says_what_an_empty_file_gives(folder: Folder) -> None:
    """Its values are the defaults of the models, and nobody is told a wrong one."""
    carried = load(carried_directory() / "proxy.yaml", {})
    assert carried.settings == Settings() == folder.load("").settings
    assert carried.warnings == ()


def test_the_carried_file_holds_every_key_with_a_comment_and_no_other() -> None:
    """It is the list of what can be set."""
    text = (carried_directory() / "proxy.yaml").read_text()
    assert written(yaml.safe_load(text)) == keys(Settings)
    assert text.startswith("# yaml-language-server: $schema=schema.json\n")
    assert [line for line in text.splitlines() if line.strip() and "#" not in line] == []


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({}, ("http://127.0.0.1:3002", "http://localhost:3000/api", "", "")),
        (
            {
                "ACTIVITY_URL": "http://activity:1/",
                "API_GATEWAY_URL": "https://gateway/api",
                "API_GATEWAY_TOKEN": "abc.def",
                "KALTURA_PARTNER_ID": "partner",
            },
            ("http://activity:1", "https://gateway/api", "abc.def", "partner"),
        ),
        (
            {"API_GATEWAY_TOKEN": "12345", "KALTURA_PARTNER_ID": "0042", "ACTIVITY_URL": ""},
            ("http://127.0.0.1:3002", "http://localhost:3000/api", "12345", "0042"),
        ),
        (
            {"API_GATEWAY_TOKEN": "true", "KALTURA_PARTNER_ID": "1e5"},
            ("http://127.0.0.1:3002", "http://localhost:3000/api", "true", "1e5"),
        ),
    ],
)
def test_what_a_file_leaves_out_comes_from_the_environment(
    folder: Folder, environ: dict[str, str], found: tuple[str, ...]
) -> None:
    """As the carried file says; digits and truth values are texts where a text is wanted."""
    settings = folder.load("{}", environ).settings
    gateway = settings.gateway
    assert (
        settings.activity.url,
        gateway.url,
        gateway.token.get_secret_value(),
        settings.kaltura.partner_id,
    ) == found


def test_a_file_changes_only_what_it_names(folder: Folder) -> None:
    """Mappings merge key by key, lists are replaced."""
    text = "gateway: {timeout: {total: 20s}, login: {roles: [a, b]}}"
    gateway = folder.load(text, {"API_GATEWAY_TOKEN": "t"}).settings.gateway
    timeout, login = gateway.timeout, gateway.login
    assert (timeout.connect, timeout.attempt, timeout.total) == (1.0, 3.0, 20.0)
    assert (login.discord_id, login.roles) == ("activity-proxy", ("a", "b"))
    assert gateway.token.get_secret_value() == "t"


def test_a_value_of_the_file_goes_before_the_environment(folder: Folder) -> None:
    """The variable of the carried file is not even looked at."""
    loaded = folder.load("gateway: {url: http://mine/api}", {"API_GATEWAY_URL": "not a url"})
    assert loaded.settings.gateway.url == "http://mine/api"


def test_a_secret_file_is_read_beside_the_configuration_and_by_its_full_path(folder: Folder) -> None:
    """Its last line break does not count."""
    path = folder.write("run/token", "s3cret\n")
    loaded = folder.load(f"admin_token: ${{file:run/token}}\ngateway:\n  token: ${{file:{path}}}")
    assert loaded.settings.admin_token.get_secret_value() == "s3cret"
    assert loaded.settings.gateway.token.get_secret_value() == "s3cret"


def test_a_secret_file_that_cannot_be_read_is_named(folder: Folder) -> None:
    """By its path; nothing else of it is known."""
    folder.write("large", "x" * 70_000)
    assert folder.problems("admin_token: ${file:none}\ngateway:\n  token: ${file:large}") == [
        "proxy.yaml:1:14: none cannot be read: No such file or directory",
        "proxy.yaml:3:10: large cannot be read: it is larger than 64 KiB",
    ]


def test_options_of_the_command_line_go_over_the_file(folder: Folder) -> None:
    """Even over one that is wrong there."""
    path = folder.write("proxy.yaml", "listen: nonsense\nadmin: 127.0.0.1:1")
    settings = load(path, {}, listen="127.0.0.1:5", admin="[::1]:6").settings
    assert (str(settings.listen), str(settings.admin)) == ("127.0.0.1:5", "[::1]:6")


def test_a_bad_option_is_told_by_its_name(folder: Folder) -> None:
    """There is no file to show."""
    path = folder.write("proxy.yaml", "")
    with pytest.raises(ConfigurationError) as caught:
        load(path, {}, listen="3001", admin="here")
    assert str(caught.value).splitlines() == [
        '--admin: "here" is not a listen address; write it like 0.0.0.0:3001 or [::1]:9464',
        '--listen: "3001" is not a listen address; write it like 0.0.0.0:3001 or [::1]:9464',
    ]
    with pytest.raises(ConfigurationError, match=r"^--listen: listen and admin are the same address$"):
        load(path, {}, listen="127.0.0.1:9464")
    path = folder.write("proxy.yaml", "activity: {url: 'http://127.0.0.1:3007'}")
    loop = r"^--listen: is the address of activity\.url; the sidecar would call itself$"
    with pytest.raises(ConfigurationError, match=loop):
        load(path, {}, listen="127.0.0.1:3007")


def test_an_option_that_is_warned_of_is_told_by_its_name(folder: Folder) -> None:
    """As one that is wrong is: not by the key that it stands for."""
    warnings = load(folder.write("proxy.yaml", ""), {}, admin="0.0.0.0:9464").warnings
    assert list(map(str, warnings)) == [
        "--admin: is not on loopback, and without admin_token the status is off"
    ]


def test_a_status_that_is_off_and_a_slow_call_that_never_is_are_warned_of(folder: Folder) -> None:
    """Both are allowed and most likely not meant."""
    text = """\
        admin: 0.0.0.0:9464
        gateway:
          breaker: {slow_call: 4s}
        """
    loaded = folder.load(text)
    assert folder.relative("\n".join(map(str, loaded.warnings))) == [
        "proxy.yaml:1:1: admin: is not on loopback, and without admin_token the status is off",
        "proxy.yaml:3:13: gateway.breaker.slow_call: is over timeout.attempt, so no call is ever slow",
    ]
    assert folder.load("admin: 0.0.0.0:9464\nadmin_token: t").warnings == ()


def test_the_configuration_is_found_in_a_package_and_in_a_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wheel carries it inside, a checkout has it beside the package."""
    package = tmp_path / "proxy"
    package.mkdir()
    monkeypatch.setattr(lookup, "__file__", str(package / "lookup.py"))
    assert carried_directory() == tmp_path / "config"
    (package / "config").mkdir()
    assert carried_directory() == package / "config"


def test_nothing_that_was_put_in_is_in_a_repr(folder: Folder) -> None:
    """A configuration may end in a traceback or a debugger's log."""
    text = """\
        admin_token: ${TOKEN}
        gateway:
          token: ${TOKEN}
        """
    assert "hunter2" not in repr(folder.load(text, {"TOKEN": "hunter2"}))


def test_all_that_auto_chooses_between_is_loaded(folder: Folder) -> None:
    """Both tables with the same names where a client sees them, and a canned answer for each file named."""
    loaded = folder.load("")
    assert set(loaded.tables) == {"plan", "newer"}
    assert all(isinstance(route, Route) for table in loaded.tables.values() for route in table.values())
    assert loaded.tables["plan"].keys() - loaded.tables["newer"].keys() <= {"details"}
    assert set(loaded.mocks) == {name for name, route in loaded.tables["plan"].items() if route.canned}
