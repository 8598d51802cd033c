"""Addresses as people write them: `0.0.0.0:3001`, `https://gateway.example.com/api`, `10.0.0.0/8`.

Each has a function that reads it and a type for pydantic models, as the quantities of `proxy.units` have.
"""

import re
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Annotated
from urllib.parse import urlsplit

from proxy.frozen import frozen
from proxy.units import Refused, read_by, shown, written_like

_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9_.-]+)?\]|[A-Za-z0-9._-]*):([0-9]{1,5})")
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_URL_PATH = re.compile(r"(/([A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+)*")
_MAPPED = 96
_WILDCARD = frozenset({"0.0.0.0", "::"})  # nosec B104 # noqa: S104  (compared, not bound)


@frozen
class HostPort:
    """Where to listen. `port` 0 lets the system choose one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: object) -> "HostPort":
        """Read `0.0.0.0:3001`, `localhost:3001` or `[::1]:9464`. Raises `Refused`."""
        hint = "write it like 0.0.0.0:3001 or [::1]:9464"
        found = _ADDRESS.fullmatch(text) if isinstance(text, str) else None
        if found is None:
            raise Refused(f"is not a listen address; {hint}", shown(text))
        host, port = found[1].strip("[]"), int(found[2])
        if not host:
            raise Refused(f"names no host; {hint}", shown(text))
        if port > 65535:
            raise Refused("has a port over 65535", shown(text))
        if not (_is_ip(host) if found[1].startswith("[") else _is_host(host)):
            raise Refused(f"names a host that cannot be; {hint}", shown(text))
        return cls(host, port)

    def __str__(self) -> str:
        """Return the address as it is written in the configuration."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return is_loopback(self.host)

    def leads_here(self, url: str) -> bool:
        """Whether a base URL is this very address, as far as the texts tell; port 0 is none yet."""
        host, port = _place(url)
        if port != self.port:
            return False
        if self.host in _WILDCARD:
            return host in _WILDCARD or is_loopback(host)
        if self.loopback and host in _WILDCARD:  # to a client it is this machine
            return True
        named = "localhost" in {self.host, host}
        return host == self.host.lower() or (named and self.loopback and is_loopback(host))

    def overlaps(self, other: "HostPort") -> bool:
        """Whether both cannot be listened on at once, as far as the texts tell."""
        hosts = {self.host, other.host}
        same = len(hosts) == 1 or bool(hosts & _WILDCARD)
        return same and self.port == other.port != 0


def parse_http_url(text: object) -> str:
    """Return a base URL without its trailing slash. Raises `Refused`, which never shows a password.

    RFC 3986 with what a base URL may hold: scheme http or https, host, port and path; no user,
    query or fragment.
    """
    example = "write it like http://127.0.0.1:3002 or https://gateway.example.com/api"
    if not isinstance(text, str):
        raise Refused(f"is not a URL; {example}", shown(text))
    seen = None if "@" in text else shown(text)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise Refused(f"is not a URL; {example}", seen) from None
    if parts.scheme not in {"http", "https"} or not text.isascii() or not text.isprintable():
        raise Refused(f"is not an http or https URL; {example}", seen)
    if "@" in parts.netloc:
        raise Refused("holds a user or password, which a URL here must not")
    if "?" in text or "#" in text:
        raise Refused("holds a query or fragment, which a base URL must not", seen)
    host = parts.hostname or ""
    if not (_is_ip(host) if "[" in parts.netloc else _is_host(host)) or port == 0:
        raise Refused(f"names no host or port that can be; {example}", seen)
    path = parts.path.rstrip("/")
    if not _URL_PATH.fullmatch(path) or {".", ".."} & set(path.split("/")):
        raise Refused("has a path that can be read in more than one way", seen)
    return f"{parts.scheme}://{parts.netloc.removesuffix(':')}{path}"


def parse_origin(text: object) -> str:
    """Return a base URL that is scheme, host and port alone. Raises `Refused`."""
    url = parse_http_url(text)
    if urlsplit(url).path:
        seen = None if "@" in url else shown(text)
        raise Refused("has a path, which would be dropped; give scheme, host and port alone", seen)
    return url


def is_loopback(host: str) -> bool:
    """Whether a host, as a text, is this machine alone (a name: RFC 6761, 6.3)."""
    return ip_address(host).is_loopback if _is_ip(host) else host.lower() == "localhost"


def url_host(url: str) -> str:
    """Return the host of a base URL, without brackets and in lower case."""
    return _place(url)[0]


def _place(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return (parts.hostname or "").removesuffix("."), parts.port or (443 if parts.scheme == "https" else 80)


def parse_network(text: object) -> IPv4Network | IPv6Network:
    """Return the network of `10.0.0.0/8`, `fd00::/8` or one address. Raises `Refused`.

    One of IPv4 addresses in IPv6 (RFC 4291 section 2.5.5.2) is theirs, as which all addresses are compared.
    """
    try:
        if isinstance(text, str) and "%" not in text:
            return _unmapped(ip_network(text))
    except ValueError:
        try:
            wider = ip_network(str(text), strict=False)
        except ValueError:
            pass
        else:
            hint = f"; write {wider}"
            raise Refused("has bits beyond its prefix", shown(text), hint) from None
    raise Refused("is not a network; write it like 10.0.0.0/8 or fd00::/8", shown(text))


def _unmapped(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    if mapped is None or network.prefixlen < _MAPPED:
        return network
    return IPv4Network((mapped, network.prefixlen - _MAPPED))


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_host(text: str) -> bool:
    """Whether it is an IPv4 address or a name, whose last label is no number (WHATWG URL, 3.5)."""
    labels = text.removesuffix(".").split(".")
    if labels[-1].isdigit():
        return _is_ip(text)
    return len(text) <= 253 and all(_LABEL.fullmatch(label) for label in labels)


Listen = Annotated[
    HostPort,
    read_by(HostPort.parse, HostPort),
    written_like(r"(\[[0-9A-Fa-f:.]+(%[A-Za-z0-9_.-]+)?\]|[A-Za-z0-9._-]+):[0-9]{1,5}", "0.0.0.0:3001"),
]

HttpUrl = Annotated[
    str,
    read_by(parse_http_url),
    written_like(r"https?://[^/?#@\s]+(/[^?#\s]*)?", "http://localhost:3000/api"),
]

Origin = Annotated[
    str,
    read_by(parse_origin),
    written_like(r"https?://[^/?#@\s]+/?", "http://127.0.0.1:3002"),
]

Network = Annotated[
    IPv4Network | IPv6Network,
    read_by(parse_network, IPv4Network, IPv6Network),
    written_like("[0-9A-Fa-f:.]+(/[0-9]{1,3})?", "10.0.0.0/8", "fd00::/8"),
]
