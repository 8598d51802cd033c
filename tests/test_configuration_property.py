"""Whatever stands in the files: a configuration, or `FILE:LINE:COLUMN: what is wrong`."""

import json
import re
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.configuration import ConfigurationError, load
from proxy.diagnosis import known_keys
from proxy.route import Route
from proxy.settings import Settings

LINE = re.compile(r".*\.(yaml|json)(:[1-9]\d*:[1-9]\d*)?: \S")
ENVIRON = {"A": "1", "B": "auto", "C": ""}

NAMES = st.sampled_from(
    sorted(
        {
            *known_keys(Settings, ()),
            *known_keys(Settings, ("gateway",)),
            *known_keys(Settings, ("gateway", "timeout")),
            *known_keys(Route, ()),
            *known_keys(Route, ("input", "x")),
            "video",
            "play",
            "session",
            "nope",
            "<<",
        }
    )
)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 10),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.sampled_from(
        [
            *("auto", "plan", "5s", "1ms", "10%", "1KiB", "127.0.0.1:80", "http://a", "10.0.0.0/8"),
            *(
                "GET /a/{b}",
                "POST /x",
                "{a: b}",
                "value('page')",
                "{{videoId}}",
                "canned",
                "mocks/video.json",
            ),
            *(
                "canned",
                "${A}",
                "${B}",
                "${C}",
                "${D}",
                "${file:proxy.yaml}",
                "${",
                "query",
                "integer",
                "[a-z](",
            ),
        ]
    ),
)
TREES = st.recursive(
    VALUES,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=5)),
    max_leaves=20,
)


def told(text: str | bytes, environ: dict[str, str]) -> str:
    """Load a configuration with this text, and return what is told, nothing if it is sound."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "proxy.yaml"
        path.write_bytes(text.encode("utf-8", "replace") if isinstance(text, str) else text)
        try:
            load(path, environ)
        except ConfigurationError as error:
            return str(error)
        return ""


def sound_or_told(text: str) -> None:
    """Check that a configuration with this text is sound, or that each problem has its place."""
    found = told(text, ENVIRON)
    assert not found or all(LINE.match(line) for line in found.splitlines())


@given(st.one_of(st.text(), st.text("gatewyurl:{}[]\n -&*<!${}'\"#|>")))
@settings(max_examples=50, deadline=None)
def test_any_text(text: str) -> None:
    """Noise is told of, or is a sound configuration by chance."""
    sound_or_told(text)


@given(st.dictionaries(NAMES, TREES, max_size=6))
@settings(max_examples=100, deadline=None)
def test_any_tree(tree: dict[str, object]) -> None:
    """Known keys in wrong places with values of every kind."""
    sound_or_told(json.dumps(tree))


@given(
    st.dictionaries(st.sampled_from(["video", "play", "search"]), st.dictionaries(NAMES, TREES, max_size=5))
)
@settings(max_examples=100, deadline=None)
def test_any_change_to_the_routes(changes: dict[str, object]) -> None:
    """A route is compiled from what the user wrote."""
    sound_or_told(json.dumps({"routes": changes}))


@given(st.text())
@settings(max_examples=50, deadline=None)
def test_any_secret_stays_one(secret: str) -> None:
    """Whatever a variable holds, a configuration that refuses it does not show it."""
    text = """
admin_token: <${S}>
listen: ${S}!
gateway:
  url: ${S}
routes:
  video:
    call: ${S}
"""
    assert "hunter2" not in told(text, {"S": f"hunter2{secret}"})
