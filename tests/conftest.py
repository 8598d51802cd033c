"""What holds for all tests."""

import os
import sys

import pytest
from hypothesis import settings

from proxy.endpoints import is_loopback
from tests.secrets_watch import SecretsWatch

# Shared cores make single examples slow now and then; on the machine that guards main the same examples
# are tried each time, so that what passed here passes there.
settings.register_profile("shared", deadline=None)
settings.register_profile("guard", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("guard" if os.environ.get("CI") else "shared")


_HERE = frozenset({"0.0.0.0", "::"})
"""To a client these are this machine."""


def _stay_here(event: str, arguments: tuple[object, ...]) -> None:
    """Break off a connection that would leave this machine: a forgotten default leads to the real service."""
    if event != "socket.connect":
        return
    address = arguments[1]
    if isinstance(address, tuple) and str(address[0]) not in _HERE and not is_loopback(str(address[0])):
        raise RuntimeError(f"a test connects to {address[0]}")


sys.addaudithook(_stay_here)


def pytest_configure(config: pytest.Config) -> None:
    """Look for secrets in what the tests make the sidecar show."""
    config.pluginmanager.register(SecretsWatch(), "secrets-watch")
