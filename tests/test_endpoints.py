"""Addresses as people write them, read and refused."""

import re
from ipaddress import ip_network

import pytest

from proxy.endpoints import HostPort, parse_http_url, parse_network
from proxy.units import Refused


@pytest.mark.parametrize(
    ("text", "host", "port", "loopback"),
    [
        ("0.0.0.0:3001", "0.0.0.0", 3001, False),
        ("127.0.0.2:0", "127.0.0.2", 0, True),
        ("localhost:80", "localhost", 80, True),
        ("pod-1.svc:65535", "pod-1.svc", 65535, False),
        ("[::1]:9464", "::1", 9464, True),
        ("[::]:1", "::", 1, False),
        ("[fe80::1%eth0]:80", "fe80::1%eth0", 80, False),
    ],
)
def test_a_listen_address_is_read_and_written_back(text: str, host: str, port: int, loopback: bool) -> None:
    """Host and port come apart, and `str` puts them together again."""
    address = HostPort.parse(text)
    assert (address.host, address.port, address.loopback) == (host, port, loopback)
    assert str(address) == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("3001", "is not a listen address"),
        (3001, "is not a listen address"),
        ("::1:80", "is not a listen address"),
        ("a b:80", "is not a listen address"),
        (":3001", "names no host; write it like 0.0.0.0:3001"),
        ("localhost:65536", "has a port over 65535"),
        ("256.0.0.1:80", "names a host that cannot be"),
        ("10.1:80", "names a host that cannot be"),
        ("a..b:80", "names a host that cannot be"),
        ("[127.0.0.1:80", "is not a listen address"),
        ("[1.2.3]:80", "names a host that cannot be"),
        (f"{'a.' * 130}a:80", "names a host that cannot be"),
    ],
)
def test_a_bad_listen_address_is_refused_with_the_reason(text: object, why: str) -> None:
    """The message says what is wrong with the address."""
    with pytest.raises(Refused, match=re.escape(why)):
        HostPort.parse(text)


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        ("0.0.0.0:1", "127.0.0.1:1", True),
        ("127.0.0.1:1", "[::]:1", True),
        ("127.0.0.1:1", "127.0.0.1:1", True),
        ("127.0.0.1:1", "127.0.0.2:1", False),
        ("127.0.0.1:1", "127.0.0.1:2", False),
        ("127.0.0.1:0", "127.0.0.1:0", False),
    ],
)
def test_two_listeners_overlap_on_one_port_of_one_or_every_host(one: str, other: str, overlap: bool) -> None:
    """A port is taken once; port 0 is another one each time."""
    assert HostPort.parse(one).overlaps(HostPort.parse(other)) is overlap


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://localhost:3000/api", "http://localhost:3000/api"),
        ("https://gateway.example.com/", "https://gateway.example.com"),
        ("http://10.0.0.1", "http://10.0.0.1"),
        ("http://[::1]:80/a/b//", "http://[::1]:80/a/b"),
        ("HTTP://a:/x%20y", "http://a/x%20y"),
    ],
)
def test_a_base_url_loses_its_trailing_slash_only(text: str, url: str) -> None:
    """Paths are appended to it."""
    assert parse_http_url(text) == url


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (5, "5 is not a URL"),
        ("localhost:3000", "is not an http or https URL"),
        ("ftp://a/", "is not an http or https URL"),
        ("http://ä/", "is not an http or https URL"),
        ("http://a/\n", "is not an http or https URL"),
        ("http://", "names no host or port that can be"),
        ("http://a:0/", "names no host or port that can be"),
        ("http://a b/", "names no host or port that can be"),
        ("http://[::g]/", "is not a URL"),
        ("http://a:99999/", "is not a URL"),
        ("http://a/?x=1", "holds a query or fragment"),
        ("http://a/?", "holds a query or fragment"),
        ("http://a/#x", "holds a query or fragment"),
        ("http://a/x/../y", "has a path that can be read in more than one way"),
        ("http://a/x//y", "has a path that can be read in more than one way"),
        ("http://a/{x}", "has a path that can be read in more than one way"),
    ],
)
def test_a_bad_base_url_is_refused_with_the_reason(text: object, why: str) -> None:
    """What a base URL must not hold is named."""
    with pytest.raises(Refused, match=re.escape(why)):
        parse_http_url(text)


@pytest.mark.parametrize("text", ["http://me:hunter2@a/", "ftp://me:hunter2@a/", "http://me:hunter2@[/"])
def test_a_password_in_a_url_is_refused_and_not_shown(text: str) -> None:
    """An error ends in logs, and a password must not."""
    with pytest.raises(Refused) as caught:
        parse_http_url(text)
    assert "hunter2" not in str(caught.value)


def test_networks_are_read_and_loose_bits_are_pointed_out() -> None:
    """A network with bits beyond its prefix is most likely a slip, and the hint says what it would be."""
    assert str(parse_network("10.0.0.0/8")) == "10.0.0.0/8"
    assert str(parse_network("192.0.2.1")) == "192.0.2.1/32"
    with pytest.raises(Refused, match=re.escape("has bits beyond its prefix; write 10.0.0.0/8")) as caught:
        parse_network("10.0.0.1/8")
    assert "10.0.0" not in caught.value.why
    for text in ("10.0.0.0/33", "intranet", "fe80::1%eth0", 167_772_160, None):
        with pytest.raises(Refused, match="is not a network; write it like"):
            parse_network(text)


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:10.1.2.3", "10.1.2.3/32"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::/0", "::/0"),
        ("::ffff:0:0/95", None),
    ],
)
def test_a_network_of_mapped_addresses_is_that_of_the_addresses(text: str, network: str | None) -> None:
    """Clients are compared by the address itself, so that such a network would never have held one."""
    if network is None:
        with pytest.raises(Refused):
            parse_network(text)
    else:
        assert parse_network(text) == ip_network(network)
