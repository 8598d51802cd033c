"""What holds for all tests."""

import os

from hypothesis import settings

# Shared cores make single examples slow now and then; on the machine that guards main the same examples
# are tried each time, so that what passed here passes there.
settings.register_profile("shared", deadline=None)
settings.register_profile("guard", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("guard" if os.environ.get("CI") else "shared")
