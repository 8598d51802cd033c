"""What holds for all tests."""

import os

import pytest
from hypothesis import settings

from tests.secrets_watch import SecretsWatch

# Shared cores make single examples slow now and then; on the machine that guards main the same examples
# are tried each time, so that what passed here passes there.
settings.register_profile("shared", deadline=None)
settings.register_profile("guard", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("guard" if os.environ.get("CI") else "shared")


def pytest_configure(config: pytest.Config) -> None:
    """Look for secrets in what the tests make the sidecar show."""
    config.pluginmanager.register(SecretsWatch(), "secrets-watch")
