"""aiocache's interface without the backends that aiocache imports wherever their packages are.

Who keeps answers in memory would else pay for a Redis client at each start: 40 ms and 10 MiB.
"""

import sys

# A name that stands for nothing cannot be imported, which aiocache takes for a package that is not installed.
_SPARED = [name for name in ("redis", "aiomcache") if name not in sys.modules]
sys.modules.update(dict.fromkeys(_SPARED))  # type: ignore[arg-type]  # None is what says so
try:
    from aiocache.base import BaseCache
    from aiocache.serializers import NullSerializer
finally:
    for name in _SPARED:
        del sys.modules[name]

__all__ = ("BaseCache", "NullSerializer")
