"""JSON templates: what they may hold, and that values stay values."""

import json
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.template import BUILT_IN, JsonTemplate, iso_time
from tests.tables import JSON_VALUES

NOW = 1_795_395_189.59
SCOPE = {"now": NOW, "partnerId": "5896392", "page": 2, "query": "cats", "subject.roles": ("a", "b")}

PLAIN_TEXTS = st.text().filter(lambda text: "{{" not in text)
PLAIN_TREES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | PLAIN_TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(PLAIN_TEXTS, inner),
    max_leaves=8,
)


def render(tree: object, **values: object) -> object:
    """Compile and render."""
    return JsonTemplate.compile(tree).render({**SCOPE, **values})


@pytest.mark.parametrize(
    ("tree", "rendered"),
    [
        ("{{page}}", 2),
        ("{{ page }}", 2),
        ("page {{page}}", "page 2"),
        ("{{page}} of {{query}}", "2 of cats"),
        ("{{page}}{{page}}", "22"),
        ("{{query}}", "cats"),
        ("{{subject.roles}}", ("a", "b")),
        ("{{partnerId}}", "5896392"),
        ("{page}", "{page}"),
        ("}} and {", "}} and {"),
        ("{{{page}}}", "{2}"),
        ("", ""),
        ({"a": ["{{page}}", {"b": "x{{page}}"}], "c": None}, {"a": [2, {"b": "x2"}], "c": None}),
        ([True, 1, 1.5, None, "x"], [True, 1, 1.5, None, "x"]),
        (("{{page}}",), [2]),
        ({1: 2}, {"1": 2}),
    ],
)
def test_slots_are_filled_in(tree: object, rendered: object) -> None:
    """A leaf that is one slot keeps the value's type; within a text the value is written out."""
    assert render(tree) == rendered


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("{{now}}", "2026-11-23T00:53:09.589Z"),
        ("{{now-0s}}", "2026-11-23T00:53:09.589Z"),
        ("{{now-9s}}", "2026-11-23T00:53:00.589Z"),
        ("{{now-53m}}", "2026-11-23T00:00:09.589Z"),
        ("{{now - 36h}}", "2026-11-21T12:53:09.589Z"),
        ("{{now-9d}}", "2026-11-14T00:53:09.589Z"),
        ("{{now-36500d}}", "1926-12-18T00:53:09.589Z"),
        ("{{nowMs}}", 1_795_395_189_589),
        ("ks_{{nowMs}}", "ks_1795395189589"),
    ],
)
def test_time_is_told_as_the_services_do(text: str, rendered: object) -> None:
    """`now` is ISO 8601 in UTC with milliseconds, moved back as asked; `nowMs` is epoch milliseconds."""
    assert render(text, now=1_795_395_189.5899) == rendered


@pytest.mark.parametrize(
    ("tree", "problem"),
    [
        ("{{}}", "is not like"),
        ("{{page", "is not like"),
        ("{{page}", "is not like"),
        ("{{1}}", "is not like"),
        ("{{page|safe}}", "is not like"),
        ("{{page}} {{", "is not like"),
        ("{{ {{page}}", "is not like"),
        ("{{{{page}}}}", "is not like"),
        ("{{now+1d}}", "is not like"),
        ("{{now-1w}}", "is not like"),
        ("{{now-d}}", "is not like"),
        ("{{page-1d}}", "only now can be moved back"),
        ("{{nowMs-1d}}", "only now can be moved back"),
        ("{{now-36601d}}", "a hundred years"),
        ("{{now-99999d}}", "a hundred years"),
        ("{{now-100000s}}", "is not like"),
        ({"{{page}}": 1}, "cannot be a key"),
        ([{"a": {"x{{page}}": 1}}], "cannot be a key"),
        ({"a": datetime(2026, 11, 23, tzinfo=UTC)}, "datetime is no JSON value"),
        ([b"x"], "bytes is no JSON value"),
    ],
)
def test_malformed_template_is_refused(tree: object, problem: str) -> None:
    """What looks like a slot and is none, a slot for a key, and what JSON cannot hold are refused."""
    with pytest.raises(ValueError, match=problem):
        JsonTemplate.compile(tree)


def test_template_tells_what_it_wants() -> None:
    """The names of all slots are known without rendering, each once."""
    template = JsonTemplate.compile({"a": ["{{page}}", "x{{query}}{{now-1d}}"], "b": "{{page}}"})
    assert template.names == {"page", "query", "now"}
    assert JsonTemplate.compile([1, "x"]).names == frozenset()
    assert {"now", "nowMs", "partnerId"} == BUILT_IN


def test_missing_value_is_an_error() -> None:
    """A value that is not there is never left out quietly."""
    with pytest.raises(KeyError, match="absent"):
        render("{{absent}}")


@pytest.mark.parametrize("text", ["{{now}}", "{{nowMs}}"])
def test_time_must_be_a_time(text: str) -> None:
    """A `now` that is no number is a defect, not a date."""
    with pytest.raises(TypeError, match="now is not a time"):
        render(text, now="2026-11-23")


@given(tree=PLAIN_TREES)
def test_tree_without_slots_stays_as_it_is(tree: object) -> None:
    """Whatever JSON holds no slot is rendered unchanged."""
    assert render(tree) == tree


@given(
    value=JSON_VALUES | st.sampled_from(["{{now}}", "{{partnerId}}", '"}, "x": "', "\n", "\\", "{{", "}}"])
)
def test_value_stays_a_value(value: object) -> None:
    """Nothing that a client sends is read as a template or changes the tree around it."""
    template = {"a": "{{value}}", "b": ["{{value}}", "{{page}}"], "c": "1"}
    assert render(template, value=value) == {"a": value, "b": [value, 2], "c": "1"}


@given(
    value=st.text()
    | st.lists(st.sampled_from(["{{now}}", "{{", "}}", '"', "\\", "\n", "query"])).map("".join)
)
def test_text_around_a_value_stays(value: str) -> None:
    """Within a longer text the value is put between its neighbours as it is, also when it is JSON again."""
    written = orjson.dumps(render({"title": '{{page}}: "{{value}}"!'}, value=value))
    assert json.loads(written) == {"title": f'2: "{value}"!'}


def test_renderings_are_independent() -> None:
    """Changing one rendered tree changes neither the template nor the next one."""
    template = JsonTemplate.compile({"a": ["{{page}}"], "b": {"c": 1}})
    first: Any = template.render(SCOPE)
    first["a"].append("x")
    first["b"]["c"] = 2
    assert template.render(SCOPE) == {"a": [2], "b": {"c": 1}}


@given(epoch=st.integers(-(10**9), 4 * 10**9), ms=st.integers(0, 999))
def test_iso_time_is_read_back(epoch: int, ms: int) -> None:
    """The written time has milliseconds and a Z, and means the moment it was made from."""
    text = iso_time(epoch + ms / 1000 + 0.0001)
    assert text.endswith(f".{ms:03d}Z")
    assert datetime.fromisoformat(text).timestamp() == pytest.approx(epoch + ms / 1000, abs=1e-4)
