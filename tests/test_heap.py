"""When the garbage collector works."""

import gc

import pytest

from proxy.cli import BAD_USAGE, main
from proxy.configuration import ConfigurationError
from proxy.heap import THRESHOLDS, seldom, settled


def test_what_the_start_made_is_left_alone() -> None:
    """What is there before the block is never looked through within it, and is again after it."""
    with settled():
        assert gc.get_freeze_count() > 1000
    assert gc.get_freeze_count() == 0


def test_new_cycles_are_collected_at_a_distance() -> None:
    """New cycles go on being collected, but seldom; at the end all is as it was."""
    before = gc.get_threshold()
    with seldom():
        assert gc.isenabled()
        assert gc.get_threshold() == THRESHOLDS
    assert gc.get_threshold() == before


def test_it_is_seldom_from_the_start_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading the configuration and importing what serves it are not broken off by collections either."""
    found = []

    def load(*_: object, **__: object) -> None:
        found.append(gc.get_threshold())
        raise ConfigurationError([])

    monkeypatch.setattr("proxy.configuration.load", load)
    before = gc.get_threshold()
    assert main(["run", "-c", "proxy.yaml"]) == BAD_USAGE
    assert (found, gc.get_threshold()) == ([THRESHOLDS], before)
