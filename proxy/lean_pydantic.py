"""pydantic's models without what pydantic looks for plugins with, where it is told to use none.

All the same it imports `importlib.metadata`, and with it zipfile, csv and more: 5 ms and 0.8 MiB of a start.
Whoever defines models has `BaseModel` from here.
"""

import os
import sys
from types import ModuleType

_METADATA = "importlib.metadata"


class _NoMetadata(ModuleType):
    """Stands for `importlib.metadata` until pydantic has taken from it what it will not call."""

    @staticmethod
    def entry_points(**_: object) -> tuple[object, ...]:
        return ()


_spared = os.environ.get("PYDANTIC_DISABLE_PLUGINS") == "__all__" and _METADATA not in sys.modules
if _spared:
    sys.modules[_METADATA] = _NoMetadata(_METADATA)
try:
    from pydantic import BaseModel

    class _First(BaseModel):
        """Made for its own sake: the first model is what pydantic imports it for."""
finally:
    if _spared:
        del sys.modules[_METADATA]

__all__ = ("BaseModel",)
