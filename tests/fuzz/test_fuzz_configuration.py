"""Configurations that were sound once: what a slip of the hand makes of them is told, not a traceback."""

import re
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.cli import main

CONFIG = Path(__file__).parent.parent.parent / "config"
SOUND = {name: (CONFIG / name).read_text() for name in ("proxy.yaml", "dialects/plan.yaml")}
LINE = re.compile(r".+\.(yaml|json)(:[1-9]\d*:[1-9]\d*)?: \S")
WORDS = """
[ ] { } " ' # &a *a !!python/object:os | > null ~ on 12:30:00 1e999 0x10 ${ ${A} ${file:/} << --- ... {{ }}
{videoId} (?< 5s 10% ..
"""
BLANKS = [
    "",
    " ",
    "  ",
    "\t",
    ": ",
    "- ",
    "&a ",
    "---\n",
    "\0",
    "\ufeff",
    "\u2028",
    "\U0001f4a9",
    "9" * 400,
    "a" * 5000,
]
PIECES = st.sampled_from([*WORDS.split(), *BLANKS])


@st.composite
def slips(draw: st.DrawFn, text: str) -> str:
    """The text with some lines moved, doubled or gone, and some pieces put in or taken out."""
    lines = text.splitlines(keepends=True)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(lines) - 1))
        match draw(st.integers(0, 4)):
            case 0:
                del lines[at]
            case 1:
                lines.insert(at, lines[draw(st.integers(0, len(lines) - 1))])
            case 2:
                lines[at] = " " * draw(st.integers(0, 6)) + lines[at].lstrip()
            case _:
                where = draw(st.integers(0, len(lines[at])))
                gone = draw(st.integers(0, 3))
                lines[at] = lines[at][:where] + draw(PIECES) + lines[at][where + gone :]
        if not lines:
            return ""
    return "".join(lines)


@pytest.mark.parametrize("name", SOUND)
def test_a_slip_of_the_hand_is_told_with_its_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`check` says that a file is sound, or each mistake as FILE:LINE:COLUMN; it never fails itself."""

    @settings(max_examples=150)
    @given(slips(SOUND[name]))
    def holds(text: str) -> None:
        with TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(text.encode("utf-8", "surrogatepass"))
            top = Path(folder) / "proxy.yaml"
            if top != path:
                top.write_text("gateway: {dialect: plan}")
            status = main(["check", "-c", str(top)])
            told = capsys.readouterr()
        assert status in {0, 2}
        assert "Traceback" not in told.err
        if status == 2:
            assert all(LINE.match(line) for line in told.err.splitlines()), told.err

    holds()
