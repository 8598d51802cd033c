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
    return folder.relative("\n".join(map(str, folder.load(text).warnings)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            SOUND + "mode: offline",
            "proxy.yaml:3:1: mode: offline in production, so that every answer is canned",
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
