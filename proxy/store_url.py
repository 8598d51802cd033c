"""The address of the cache's storage as the configuration writes it, which may hold a password."""

from dataclasses import field
from typing import Final
from urllib.parse import unquote, urlsplit

from proxy.endpoints import HostPort
from proxy.frozen import frozen
from proxy.units import Refused, shown

_HINT: Final = "write it like memory:// or redis://127.0.0.1:6379/0"
_LAST_DB: Final = 9999


@frozen
class RedisAddress:
    """Which Redis, and as whom. Its texts never show the password."""

    host: str
    port: int
    db: int
    tls: bool
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        """Return the URL without user and password."""
        return f"{'rediss' if self.tls else 'redis'}://{HostPort(self.host, self.port)}/{self.db}"


def parse_store_url(text: object) -> RedisAddress | None:
    """Return where `redis://[user:password@]host[:port][/db]` is (`rediss` with TLS), None for `memory://`.

    Port 6379 and database 0 unless it says otherwise. Raises `Refused`, which never shows a password.
    """
    if text == "memory://":
        return None
    seen = shown(text) if not isinstance(text, str) or "@" not in text else None
    if not isinstance(text, str) or not text.startswith(("redis://", "rediss://")):
        raise Refused(f"is not the address of a cache; {_HINT}", seen)
    if not text.isascii() or not text.isprintable() or "?" in text or "#" in text:
        raise Refused(f"holds what the address of a Redis cannot; {_HINT}", seen)
    try:
        parts = urlsplit(text)
        user_info, _, place = parts.netloc.rpartition("@")
        at = HostPort.parse(place if _has_port(place) else f"{place}:6379")
    except ValueError:
        raise Refused(f"names no host or port that can be; {_HINT}", seen) from None
    number = parts.path.removeprefix("/") or "0"
    if at.port == 0 or not number.isdigit() or int(number) > _LAST_DB:
        raise Refused(f"names no port or database that can be; {_HINT}", seen)
    username, _, password = (unquote(part) for part in user_info.partition(":"))
    tls = parts.scheme == "rediss"
    return RedisAddress(at.host, at.port, int(number), tls, username or None, password or None)


def _has_port(place: str) -> bool:
    return ":" in place.rpartition("]")[2]
