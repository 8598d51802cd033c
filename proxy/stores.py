"""Opens the storage that the configuration names, for answers and for sessions."""

import ssl

from proxy.clock import Clock
from proxy.memory_sessions import MemorySessions
from proxy.memory_store import LARGEST_PART, MemoryStore
from proxy.sessions import SessionStore
from proxy.store import OnTrouble, Store
from proxy.store_url import RedisAddress, parse_store_url
from proxy.units import Refused


def open_store(
    url: str,
    max_size: int,
    clock: Clock,
    on_trouble: OnTrouble,
    tls: ssl.SSLContext | None = None,
) -> Store:
    """Return the store at `memory://` or `redis://[user:password@]host[:port][/db]` (`rediss` with TLS).

    Nothing is connected yet: a Redis that is away keeps nobody from starting.

    Args:
        url: Where to keep the answers; a password in it is never shown.
        max_size: Bytes. All that the memory may take; no single entry is over a quarter of it, in a
            Redis neither, whose whole is bounded by its own `maxmemory`.
        clock: For times to live, and for pauses when a Redis is away.
        on_trouble: Told each time a Redis fails. Requests never are.
        tls: What to make of the certificate of a `rediss`; None for what the system trusts.

    Raises:
        Refused: The URL is not one of these, or the package for it is not installed.
    """
    address = parse_store_url(url)
    if address is None:
        return MemoryStore(max_size, clock)
    try:
        from proxy.redis_store import RedisStore  # noqa: PLC0415  (an optional extra)
    except ImportError:
        raise _no_extra(address) from None
    return RedisStore(address, max_size // LARGEST_PART, clock, on_trouble, tls=tls)


def open_sessions(
    url: str, key: str, clock: Clock, on_trouble: OnTrouble, tls: ssl.SSLContext | None = None
) -> SessionStore:
    """Return the store of sessions at the same place, in a Redis encrypted with `key`.

    Raises:
        Refused: As for `open_store`.
    """
    address = parse_store_url(url)
    if address is None:
        return MemorySessions(clock)
    try:
        from proxy.redis_link import PATIENCE, RedisLink  # noqa: PLC0415  (an optional extra)
        from proxy.redis_sessions import NAMESPACE, RedisSessions  # noqa: PLC0415
        from proxy.seal import Seal  # noqa: PLC0415
    except ImportError:
        raise _no_extra(address) from None
    return RedisSessions(RedisLink(address, NAMESPACE, clock, on_trouble, PATIENCE, tls), Seal(key))


def _no_extra(address: RedisAddress) -> Refused:
    return Refused("needs the packages redis and cryptography, this one's extra [redis]", str(address))
