"""What is warned of in production: allowed, and most likely not meant."""

from pathlib import Path

import pytest

from tests.configurations import Folder

PRODUCTION = "environment: production\n"
SOUND = PRODUCTION + "gateway: {url: https://gateway.example.com/api}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """An empty directory."""
    return Folder(tmp_path)


def warned(folder: Folder, text: str) -> list[str]:
    """Return the warnings for a configuration."""
    return folder.relative("\n".join(map(str, folder.load(text, {"KALTURA_PARTNER_ID": "42"}).warnings)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            SOUND + "mode: offline",
            "proxy.yaml:3:1: mode: offline in production, so that the gateway is never asked",
        ),
        (
            PRODUCTION + "gateway:\n  url: http://gateway:3000/api",
            "proxy.yaml:3:3: gateway.url: tokens leave this machine unencrypted; https keeps them secret",
        ),
        (
            SOUND + "routes:\n  session:\n    fallback: [canned]",
            "proxy.yaml:5:5: routes.session.fallback: a mocked credential in production, as you say",
        ),
        (
            SOUND + "routes:\n  play:\n    fallback: [activity]",
            "proxy.yaml:5:5: routes.play.fallback: a mocked credential in production, as you say",
        ),
        (
            SOUND + "routes:\n  token: {canned: token.json, fallback: [activity, canned]}",
            "proxy.yaml:4:31: routes.token.fallback: a mocked credential in production, as you say",
        ),
    ],
)
def test_what_is_most_likely_not_meant_in_production_is_warned_of(
    folder: Folder, text: str, expected: str
) -> None:
    """At its key; in development nothing is said."""
    folder.write("token.json", "{}")
    assert warned(folder, text) == [expected]
    assert warned(folder, text.replace("production", "development")) == []


@pytest.mark.parametrize(
    "text",
    [
        SOUND,
        PRODUCTION,
        PRODUCTION + "gateway: {url: 'http://[::1]:3000/api'}",
        SOUND + "routes: {session: {fallback: []}, video: {fallback: [canned]}}",
        SOUND + "routes: {token: {fallback: [activity]}}",
        SOUND + "mode: live\nroutes: {session: {fallback: [canned]}}",
    ],
)
def test_what_is_well_in_production_is_not_warned_of(folder: Folder, text: str) -> None:
    """Loopback needs no https, titles may be mocked, and the token exchange is the Activity server's own."""
    assert warned(folder, text) == []


def test_a_partner_that_clients_are_not_told_is_warned_of(folder: Folder) -> None:
    """The gateway's videos name none, so it has to come from the configuration, wherever a reply gives it."""
    (line,) = map(str, folder.load(SOUND).warnings)
    assert line.endswith(": kaltura.partner_id: is empty, and so is partnerId in what clients get")
    assert folder.load(SOUND, {"KALTURA_PARTNER_ID": "42"}).warnings == ()
    folder.write("own.yaml", "routes: {}")
    assert folder.load(SOUND.replace("{url", "{dialect: own.yaml, url")).warnings == ()
    assert folder.load().warnings == ()


def test_offline_a_mocked_credential_is_warned_of_as_well(folder: Folder) -> None:
    """Each for itself: that nothing is asked, and that a credential is made up."""
    text = SOUND + "mode: offline\nroutes:\n  session: {fallback: [canned]}"
    assert len(warned(folder, text)) == 2


def test_a_snapshot_without_a_folder_is_warned_of(folder: Folder, tmp_path: Path) -> None:
    """At the start, and not only when it should be written; a folder in its place, too."""
    assert warned(folder, f"cache:\n  snapshot: {tmp_path / 'answers'}") == []
    assert warned(folder, f"cache:\n  snapshot: {tmp_path / 'nowhere' / 'answers'}") == [
        "proxy.yaml:2:3: cache.snapshot: its folder is not there, or not to be written to"
    ]
    (tmp_path / "kept").mkdir()
    assert warned(folder, "cache:\n  snapshot: kept/answers") == []
    assert warned(folder, "cache:\n  snapshot: kept") == [
        "proxy.yaml:2:3: cache.snapshot: is a folder; name a file in it"
    ]
    assert warned(folder, "cache:\n  snapshot: nowhere/answers") == [
        "proxy.yaml:2:3: cache.snapshot: its folder is not there, or not to be written to"
    ]


def test_a_snapshot_that_no_file_can_be_is_refused(folder: Folder) -> None:
    """A zero byte in its name is told at its line."""
    assert folder.problems('cache:\n  snapshot: "an\\0swers"') == [
        "proxy.yaml:2:3: cache.snapshot: is no name of a file"
    ]


def test_a_redis_without_its_packages_is_refused(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its line and what to install, by `check` as by `run`."""
    text = "cache:\n  url: redis://127.0.0.1:6379/0\nidentity: {key: " + 32 * "k" + "}"
    assert folder.load(text).settings.cache.url.startswith("redis:")
    monkeypatch.setattr("proxy.configuration.find_spec", lambda _: None)
    assert folder.problems(text) == [
        "proxy.yaml:2:3: cache.url: needs the packages redis and cryptography, this one's extra [redis]"
    ]
