"""docs/security.md: what it promises is tested by what it names."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NAMED = re.compile(r"`((?:fuzz/)?test_\w+\.py)::(test_\w+)`")
# What the table must not lose.
THREATS = (
    "`Content-Length` with `Transfer-Encoding`",
    "two lengths",
    "odd `Transfer-Encoding`",
    "bad chunks",
    "HTTP/0.9",
    "obs-fold",
    "space before the colon",
    "NUL",
    "CR and LF in values",
    "Absolute-form",
    "`CONNECT` and `TRACE`",
    "Host confusion",
    "Dot segments and encoded slashes",
    "`X-Forwarded-*`",
    "`Authorization` and `Cookie` towards the gateway",
    "`Activity-Proxy-*`",
    "`Set-Cookie` towards clients",
    "`Set-Cookie` into the cache",
    "Response splitting",
    "Cache poisoning",
    "Decompression bombs from the gateway",
    "JSON of great depth",
    "Cross-user cache reads",
    "Timing of token comparison",
    "Open redirects",
    "SSRF by a configured URL",
    "SSRF by an id",
    "DNS names that resolve anew",
    "Secrets in logs",
    "Secrets in metrics",
    "Secrets in errors",
    "Secrets in tracebacks",
    "Secrets in `repr`s",
    "Secrets in `/status`",
    "acting by a link",
    "CSRF",
    "own session cookie",
    "Speaking for another",
    "DNS rebinding",
)


def rows() -> list[list[str]]:
    """The table's rows: threat, what happens, where tested."""
    lines = (ROOT / "docs" / "security.md").read_text().splitlines()
    table = [line for line in lines if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]


@pytest.mark.parametrize("threat", THREATS)
def test_each_threat_has_a_row(threat: str) -> None:
    """None of the known threats is passed over."""
    assert any(threat in row[0] for row in rows())


def test_each_row_is_tested_and_each_test_exists() -> None:
    """A row says what happens and names at least one test, and all that it names are there."""
    for row in rows():
        assert len(row) == 3, row
        named = NAMED.findall(row[2])
        assert row[1], row
        assert named, row
        assert NAMED.sub("", row[2]).strip(" ,") == "", row
        for file, test in named:
            text = (ROOT / "tests" / file).read_text()
            assert re.search(rf"^(?:async )?def {test}\(", text, re.MULTILINE), f"{file}::{test}"
