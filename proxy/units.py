"""Quantities and addresses as people write them: `250ms`, `64MiB`, `20%`, `0.0.0.0:3001`.

Each has a function that reads it and a type for pydantic models. A model that is filled by code
takes plain numbers (seconds, bytes, parts of one); one that is filled from a file
(`context=WRITTEN`) does not, because nobody can see whether `timeout: 3` means seconds.
"""

import json
import re
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from pydantic import PlainValidator, ValidationInfo, WithJsonSchema

from proxy.frozen import frozen

WRITTEN: Final = {"written": True}
"""Validation context of values that come from a file, where a number must have its unit."""

_NUMBER = r"([0-9]{1,9}(?:\.[0-9]{1,6})?)"
_DURATION = re.compile(_NUMBER + r"(ms|s|m|h|d)")
_SIZE = re.compile(r"([0-9]{1,12})(B|KiB|MiB|GiB)")
_SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)%")
_FREQUENCY = re.compile(r"([0-9]{1,7})/(s|m|h)")
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9_.-]+)?\]|[A-Za-z0-9._-]*):([0-9]{1,5})")
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_URL_PATH = re.compile(r"(/([A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+)*")

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_SHOWN_LENGTH = 60
_MAPPED = 96
_WILDCARD = frozenset({"0.0.0.0", "::"})  # nosec B104 # noqa: S104  (compared, not bound)


class Refused(ValueError):
    """A text is not what it should be.

    `why` reads after the value or in place of it, and never holds it. `hint` may hold parts of it.
    """

    def __init__(self, why: str, value: str | None = None, hint: str = "") -> None:
        self.why = why
        super().__init__(f"{'' if value is None else value + ' '}{why}{hint}")


def shown(value: object) -> str:
    """Return a value as an error shows it: as YAML writes it, on one line and not too long."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, str):
        short = value if len(value) <= _SHOWN_LENGTH else value[:_SHOWN_LENGTH] + "…"
        return json.dumps(short, ensure_ascii=not short.isprintable())
    return json.dumps(value, default=str)


def parse_duration(text: object) -> float:
    """Return the seconds of `250ms`, `3s`, `5m`, `12h` or `1d`. Raises `Refused`."""
    found = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise Refused(f"is not a duration; {_unit(text, 'write it like 250ms, 3s, 5m or 12h')}", shown(text))
    return float(found[1]) * _SECONDS[found[2]]


def parse_size(text: object) -> int:
    """Return the bytes of `512B`, `16KiB`, `64MiB` or `1GiB`. Raises `Refused`."""
    found = _SIZE.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise Refused(f"is not a size; {_unit(text, 'write it like 512B, 16KiB or 64MiB')}", shown(text))
    return int(found[1]) * _BYTES[found[2]]


def parse_share(text: object) -> float:
    """Return `20%` as 0.2; from 0% to 100%. Raises `Refused`."""
    found = _SHARE.fullmatch(text) if isinstance(text, str) else None
    if found is None or float(found[1]) > 100:
        raise Refused(f"is not a share; {_unit(text, 'write it like 20%, from 0% to 100%')}", shown(text))
    return float(found[1]) / 100


def parse_frequency(text: object) -> float | None:
    """Return `50/s`, `100/m` or `1000/h` as times a second; `off` as None. Raises `Refused`."""
    if text == "off" or text is False:  # which is the same to YAML 1.1
        return None
    found = _FREQUENCY.fullmatch(text) if isinstance(text, str) else None
    if found is None or not int(found[1]):
        raise Refused("is not a rate; write it like 50/s or 100/m, or off", shown(text))
    return int(found[1]) / _SECONDS[found[2]]


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


def _unit(value: object, hint: str) -> str:
    bare = isinstance(value, int | float) and not isinstance(value, bool)
    return f"it has no unit, {hint}" if bare else hint


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


def _read(parse: Callable[[object], Any], *known: type) -> PlainValidator:
    """Return a validator that parses texts and lets finished values of code through."""

    def read(value: object, info: ValidationInfo) -> object:
        finished = isinstance(value, known) and not isinstance(value, bool | str)
        return value if finished and info.context is not WRITTEN else parse(value)

    return PlainValidator(read)


def _schema(pattern: str, *examples: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": f"^{pattern}$", "examples": list(examples)})


Duration = Annotated[
    float,
    _read(parse_duration, float, int),
    _schema(r"[0-9]{1,9}(\.[0-9]{1,6})?(ms|s|m|h|d)", "250ms", "3s", "5m", "12h"),
]
"""Seconds."""

Size = Annotated[int, _read(parse_size, int), _schema("[0-9]{1,12}(B|KiB|MiB|GiB)", "16KiB", "64MiB")]
"""Bytes."""

Share = Annotated[
    float,
    _read(parse_share, float, int),
    _schema(r"(100(\.0{1,6})?|[0-9]{1,2}(\.[0-9]{1,6})?)%", "20%"),
]
"""Parts of one, 0.0 to 1.0."""

Frequency = Annotated[
    float | None,
    _read(parse_frequency, float, int, type(None)),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string", "pattern": r"^(off|[1-9][0-9]{0,6}/(s|m|h))$"}, {"const": False}],
            "examples": ["50/s", "100/m", "off"],
        }
    ),
]
"""Times a second; None: off."""

Listen = Annotated[
    HostPort,
    _read(HostPort.parse, HostPort),
    _schema(r"(\[[0-9A-Fa-f:.]+(%[A-Za-z0-9_.-]+)?\]|[A-Za-z0-9._-]+):[0-9]{1,5}", "0.0.0.0:3001"),
]

HttpUrl = Annotated[
    str,
    _read(parse_http_url),
    _schema(r"https?://[^/?#@\s]+(/[^?#\s]*)?", "http://localhost:3000/api"),
]

Origin = Annotated[
    str,
    _read(parse_origin),
    _schema(r"https?://[^/?#@\s]+/?", "http://127.0.0.1:3002"),
]

Network = Annotated[
    IPv4Network | IPv6Network,
    _read(parse_network, IPv4Network, IPv6Network),
    _schema("[0-9A-Fa-f:.]+(/[0-9]{1,3})?", "10.0.0.0/8", "fd00::/8"),
]
