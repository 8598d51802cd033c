"""The garbage collector of a process that runs.

Starting makes a hundred thousand objects that stay to the end, and requests make few cycles: to look through
all of it again and again is time that the start and every request pay for.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

THRESHOLDS: Final = (20_000, 20, 20)
"""New objects, and then collections of the younger ones, before a generation is looked through."""


@contextmanager
def seldom() -> Iterator[None]:
    """Collect seldom while the block lasts."""
    before = gc.get_threshold()
    gc.set_threshold(*THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)


@contextmanager
def settled() -> Iterator[None]:
    """Leave alone what is there when the block begins."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
