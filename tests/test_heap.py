"""When the garbage collector works."""

import gc

from proxy.heap import THRESHOLDS, settled


def test_what_the_start_made_is_left_alone() -> None:
    """New cycles go on being collected, at a distance; at the end all is as it was."""
    before = gc.get_threshold()
    with settled():
        assert gc.get_freeze_count() > 1000
        assert gc.get_threshold() == THRESHOLDS
    assert (gc.get_freeze_count(), gc.get_threshold()) == (0, before)
