"""Addresses that cannot be meant: a path that would be dropped, and a sidecar that calls itself."""

from pathlib import Path

import pytest

from proxy.endpoints import HostPort
from tests.configurations import Folder


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """An empty directory."""
    return Folder(tmp_path)


def test_a_path_in_the_activity_servers_address_is_refused(folder: Folder) -> None:
    """What passes through would not go below it. A slash alone is none; the gateway's URL may have one."""
    why = "has a path, which would be dropped; give scheme, host and port alone"
    found = folder.problems("activity: {url: http://a:1/base}")
    assert found == [f'proxy.yaml:1:12: activity.url: "http://a:1/base" {why}']
    (line,) = folder.problems("", {"ACTIVITY_URL": "http://a:1/hunter2"})
    assert line.endswith(f": activity.url: the value of ${{ACTIVITY_URL}} {why}")
    settings = folder.load("activity: {url: http://a:1/}\ngateway: {url: http://b/base/api}").settings
    assert (settings.activity.url, settings.gateway.url) == ("http://a:1", "http://b/base/api")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("activity:\n  url: http://127.0.0.1:3001", ["2:3: activity.url: is the address of listen"]),
        ("gateway:\n  url: http://localhost:3001/api", ["2:3: gateway.url: is the address of listen"]),
        ("activity:\n  url: http://localhost:9464", ["2:3: activity.url: is the address of admin"]),
        (
            "listen: proxy.internal:443\nactivity:\n  url: https://Proxy.Internal",
            ["3:3: activity.url: is the address of listen"],
        ),
    ],
)
def test_a_sidecar_that_would_call_itself_is_refused(folder: Folder, text: str, expected: list[str]) -> None:
    """At the URL's key, for either listener."""
    assert folder.problems(text) == [f"proxy.yaml:{line}; the sidecar would call itself" for line in expected]


def test_a_loop_with_a_default_is_told_where_the_operator_said_something(folder: Folder) -> None:
    """At the listener's key where the URL is the default, and at the URL's where both come along."""
    assert folder.problems("listen: 127.0.0.1:3002") == [
        "proxy.yaml:1:1: listen: is the address of activity.url; the sidecar would call itself"
    ]
    (line,) = folder.problems("", {"ACTIVITY_URL": "http://127.0.0.1:3001"})
    assert "config/proxy.yaml:" in line
    assert line.endswith(": activity.url: is the address of listen; the sidecar would call itself")


@pytest.mark.parametrize(
    ("address", "url", "leads"),
    [
        ("0.0.0.0:80", "http://127.0.0.1", True),
        ("0.0.0.0:80", "http://127.8.8.8/x", True),
        ("[::]:443", "https://[::1]/", True),
        ("[::]:443", "https://LOCALHOST./", True),
        ("0.0.0.0:80", "http://0.0.0.0", True),
        ("127.0.0.1:80", "http://0.0.0.0", True),
        ("localhost:80", "http://127.0.0.1:80", True),
        ("127.0.0.1:80", "http://localhost", True),
        ("10.0.0.5:80", "http://10.0.0.5", True),
        ("10.0.0.5:80", "http://127.0.0.1", False),
        ("10.0.0.5:80", "http://0.0.0.0", False),
        ("127.0.0.1:80", "http://127.0.0.2", False),
        ("0.0.0.0:80", "http://gateway", False),
        ("127.0.0.1:80", "https://127.0.0.1", False),
        ("127.0.0.1:0", "http://127.0.0.1", False),
    ],
)
def test_an_address_knows_the_urls_that_lead_to_it(address: str, url: str, leads: bool) -> None:
    """As far as the texts tell: names are not looked up, and port 0 is not known yet."""
    assert HostPort.parse(address).leads_here(url) is leads
