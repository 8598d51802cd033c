"""Header fields on their way through a proxy (RFC 9110 section 7.6), and who the client behind others is.

Fields are the raw pairs of bytes that came over the wire, so that what is relayed is relayed to the byte.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache, partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import NamedTuple

from multidict import MultiMapping

from proxy.credentials import without_session

Field = tuple[bytes, bytes]
Network = IPv4Network | IPv6Network

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Fields for one connection only, whatever `Connection` names."""

FOR_EVERYONE = frozenset({b"content-length", b"forwarded", b"host", b"via"})
"""Fields that `Connection` cannot take away, nor any `X-Forwarded-*`: each server on the way needs them."""

_OWN = b"activity-proxy-"
"""How the fields begin that only this proxy may say."""

VIA = b"activity-proxy"
"""The pseudonym that `Via` carries (RFC 9110 section 7.6.3)."""

_COMMON = frozenset(
    name
    for spelled in (
        b"Accept Accept-Encoding Accept-Language Access-Control-Allow-Origin Authorization Cache-Control "
        b"Content-Encoding Content-Length Content-Security-Policy Content-Type Cookie DNT Date ETag Host "
        b"If-None-Match Last-Modified Origin Pragma Priority Range Referer Sec-Fetch-Dest Sec-Fetch-Mode "
        b"Sec-Fetch-Site Server Set-Cookie Strict-Transport-Security User-Agent Vary X-Content-Type-Options "
        b"X-Frame-Options X-Powered-By X-Request-Id"
    ).split()
    for name in (spelled, spelled.lower())
)
"""Names as they are mostly spelled, of fields that go on as they are: most fields need no closer look."""

_PLAIN = HOP_BY_HOP | {b"close"}
"""What `Connection` mostly says, naming no further field."""

_OF_OTHERS = frozenset({b"forwarded", b"x-real-ip"})

# RFC 9110 section 7.2: `uri-host [ ":" port ]`, and empty where the target has no authority.
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|(?:[\w.~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)(?::[0-9]*)?", re.ASCII)

# Characters of `X-Forwarded-For` that a chain of proxies may need; a client may send megabytes.
_REMEMBERED = 512
# Characters of a name (RFC 1035 section 2.3.4); a client may send a longer one.
_LONGEST_NAME = 255

UNKNOWN = "unknown"
"""Stands for a peer without an address, such as a Unix socket's (RFC 7239 section 6.2)."""


class Hop(NamedTuple):
    """The connection a request came by.

    `peer` is an address without port, None where there is none; `host` the `Host` field, None when absent;
    `version` the request's HTTP version, such as `1.1`.
    """

    peer: str | None
    scheme: str
    host: str | None
    version: str


def end_to_end(fields: Sequence[Field]) -> list[Field]:
    """Return the fields that are meant for the far end, in their order (RFC 9110 section 7.6.1).

    A client cannot name away what a proxy before this one says of it, nor the host that is asked.
    """
    kept: list[Field] = []
    options: set[bytes] = set()
    for field in fields:
        if field[0] in _COMMON or (folded := field[0].lower()) not in HOP_BY_HOP:
            kept.append(field)
        elif folded == b"connection":
            options.update(option.strip() for option in field[1].lower().split(b","))
    gone = {option for option in options - _PLAIN if not _is_for_everyone(option)}
    return [field for field in kept if field[0].lower() not in gone] if gone else kept


def forwarded_headers(fields: Sequence[Field], hop: Hop, trusted: Sequence[Network]) -> list[Field]:
    """Return the fields with `X-Forwarded-For`, `-Proto`, `-Host` and `Via` for the next server.

    What a trusted peer says of those before it is kept, and its own address appended. From any other peer
    every `X-Forwarded-*`, `Forwarded` and `X-Real-IP` is dropped, since a client can write there what it
    likes; `_` counts as `-`, as it does for many a server. `Activity-Proxy-*` is this proxy's own to say. The
    sidecar's own cookie stays here.
    """
    believed = is_trusted(hop.peer, trusted)
    kept: list[Field] = []
    chain: list[bytes] = []
    via: list[bytes] = []
    said: set[bytes] = set()
    for field in without_session(fields):
        name, value = field
        told = None if name in _COMMON else _told_by_proxies(name)
        if told is None:
            kept.append(field)
        elif told == b"via":
            via.append(value)
        elif believed and told == b"x-forwarded-for":
            chain.append(value)
        elif believed and not told.startswith(_OWN):
            said.add(told)
            kept.append(field)
    chain.append((hop.peer or UNKNOWN).encode())
    kept.append((b"X-Forwarded-For", b", ".join(filter(None, chain))))
    if b"x-forwarded-proto" not in said:
        kept.append((b"X-Forwarded-Proto", hop.scheme.encode()))
    if b"x-forwarded-host" not in said and hop.host is not None:
        kept.append((b"X-Forwarded-Host", hop.host.encode(errors="surrogateescape")))
    via.append(hop.version.encode() + b" " + VIA)
    kept.append((b"Via", b", ".join(via)))
    return kept


def _is_for_everyone(name: bytes) -> bool:
    return name in FOR_EVERYONE or name.startswith(b"x-forwarded-")


def _told_by_proxies(name: bytes) -> bytes | None:
    """Return the folded name of a field in which proxies tell of themselves or of clients, else None."""
    folded = name.lower()
    read = folded.replace(b"_", b"-")
    if read.startswith(_OWN):
        return read
    return folded if folded == b"via" or read in _OF_OTHERS or read.startswith(b"x-forwarded-") else None


def is_trusted(address: str | None, trusted: Sequence[Network]) -> bool:
    """Tell whether what this peer says of others is believed."""
    if not trusted or not address:
        return False
    parsed = _parse(address)
    return parsed is not None and _within(parsed, trusted)


def client_address(peer: str | None, forwarded_for: Iterable[str], trusted: Sequence[Network]) -> str:
    """Return the client's address: the right-most one that no trusted proxy has.

    Args:
        peer: The address at the other end of the connection, None where there is none.
        forwarded_for: The values of all `X-Forwarded-For` fields, in order.
        trusted: The networks whose word is believed.

    An entry that is no address ends the walk: what stands left of it is hearsay.
    """
    address = _parse(peer) if peer else None
    if address is None:
        return peer or UNKNOWN
    entries = [entry.strip() for value in forwarded_for for entry in value.split(",")]
    while entries and _within(address, trusted):
        before = _parse(_without_port(entries.pop()))
        if before is None:
            break
        address = before
    return str(address)


class Clients:
    """Tells clients' addresses, remembering the latest: reading one takes as long as finding a route."""

    def __init__(self, trusted: Sequence[Network]) -> None:
        self._trusted = trusted
        self._address = lru_cache(1024)(partial(client_address, trusted=trusted))

    def __call__(self, peer: str | None, headers: MultiMapping[str]) -> str:
        """Return the address of the client that sent a request with these fields."""
        said = tuple(headers.getall("X-Forwarded-For", ())) if self._trusted else ()
        if sum(map(len, said)) > _REMEMBERED:
            return client_address(peer, said, self._trusted)
        return self._address(peer, said)


def is_websocket_upgrade(headers: MultiMapping[str]) -> bool:
    """Tell whether a request asks for a WebSocket (RFC 6455 section 4.1), the one upgrade passed on."""
    if headers.get("Upgrade", "").lower() != "websocket":
        return False
    options = ",".join(headers.getall("Connection", ())).lower().split(",")
    return "upgrade" in (option.strip() for option in options)


def sound_host(host: str) -> bool:
    """Tell whether a `Host` field is one; empty, for an absent one, is."""
    if len(host) > _LONGEST_NAME:
        return _HOST.fullmatch(host) is not None
    return _sound_host(host)


@lru_cache(1024)
def _sound_host(host: str) -> bool:
    return _HOST.fullmatch(host) is not None


def as_text(fields: Iterable[Field]) -> list[tuple[str, str]]:
    """Return the fields as aiohttp's client wants them.

    A repeated name gets the spelling of its first, because the client keeps only the last of two
    spellings. A value that is not UTF-8 is read as Latin-1, because the client would leave bytes out.
    """
    spelling: dict[bytes, str] = {}
    return [
        (spelling.setdefault(name.lower(), name.decode("latin-1")), _text(value)) for name, value in fields
    ]


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _parse(address: str) -> IPv4Address | IPv6Address | None:
    try:
        parsed = ip_address(address)
    except ValueError:
        return None
    return getattr(parsed, "ipv4_mapped", None) or parsed


def _within(address: IPv4Address | IPv6Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)


def _without_port(entry: str) -> str:
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    host, colon, _ = entry.partition(":")
    return host if colon and ":" not in entry[len(host) + 1 :] else entry
