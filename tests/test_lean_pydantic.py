"""pydantic without its search for plugins."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
ASKED = """
import sys
from proxy.cli import main
assert main(["check", "-c", "config/proxy.yaml"]) == 0
print([name for name in ("importlib.metadata", "zipfile", "csv") if name in sys.modules])
from importlib.metadata import version
print(version("pydantic").partition(".")[0])
"""


def test_what_plugins_are_found_with_is_not_imported() -> None:
    """By nothing that a configuration needs; who asks for it afterwards gets it."""
    environment = {name: text for name, text in os.environ.items() if name != "PYDANTIC_DISABLE_PLUGINS"}
    done = subprocess.run(  # noqa: S603  (our own)
        [sys.executable, "-c", ASKED],
        cwd=ROOT,
        # What measures coverage imports it as well.
        env={name: text for name, text in environment.items() if not name.startswith("COVERAGE")},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines()[-2:] == ["[]", "2"]
