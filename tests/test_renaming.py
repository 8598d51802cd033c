"""Mappings as plain calls: the same as JMESPath's interpreter says, for every expression and value."""

from typing import Any

import jmespath
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jmespath import functions

from proxy.mapping import ReplyMapping, UnmappableReply
from proxy.renaming import plain
from tests.tables import DIALECTS, JSON_VALUES, Dialect, routes

SCOPE = {"page": 2, "partnerId": ""}
NAMES = st.sampled_from(["a", "b", "c"])
LEAVES = st.one_of(
    NAMES,
    st.sampled_from(["@", "''", "`0`", "`[]`", "`false`", "`{}`", "value('page')", "value('partnerId')"]),
)


def _grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pairs = st.dictionaries(NAMES, inner, min_size=1, max_size=3)
    selected = pairs.map(lambda found: "{" + ", ".join(f"{key}: {said}" for key, said in found.items()) + "}")
    below = st.one_of(NAMES, selected)
    return st.one_of(
        selected,
        st.tuples(inner, inner).map(lambda two: f"({two[0]} || {two[1]})"),
        st.tuples(NAMES, below).map(".".join),
        st.tuples(NAMES, NAMES, below).map(".".join),
        st.tuples(NAMES, below).map(lambda two: f"{two[0]}[].{two[1]}"),
        NAMES.map("{}[]".format),
        inner.map(lambda one: f"length({one})"),
    )


EXPRESSIONS = st.recursive(LEAVES, _grown, max_leaves=8)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-1, 2), st.sampled_from(["", "x"])),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=10,
)


class _WithValue(functions.Functions):
    @functions.signature({"types": ["string"]})
    def _func_value(self, name: str) -> object:
        return SCOPE[name]


def interpreted(text: str, value: object) -> Any:
    """What JMESPath's own interpreter says."""
    try:
        return jmespath.compile(text).search(value, options=jmespath.Options(custom_functions=_WithValue()))
    except jmespath.exceptions.JMESPathTypeError:
        return UnmappableReply


def called(text: str, value: object) -> Any:
    """What the mapping says, which is no call of the interpreter."""
    mapping = ReplyMapping.compile(text)
    assert plain(jmespath.compile(text).parsed) is not None
    try:
        return mapping(value, SCOPE)
    except UnmappableReply:
        return UnmappableReply


@given(EXPRESSIONS, VALUES)
def test_it_says_what_the_interpreter_says(text: str, value: object) -> None:
    """Whatever is picked, renamed, selected, flattened or fallen back to, types of numbers included."""
    said, expected = called(text, value), interpreted(text, value)
    assert said == expected
    assert repr(said) == repr(expected)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_shipped_mapping_is_a_plain_call(dialect: Dialect) -> None:
    """What goes along with the sidecar is what is worth being fast."""
    for route in routes(dialect).values():
        if route.reply is not None:
            assert plain(jmespath.compile(route.reply.text).parsed) is not None


@given(JSON_VALUES)
def test_shipped_mappings_say_what_the_interpreter_says(value: object) -> None:
    """Of anything that a gateway may answer."""
    for route in routes("plan").values():
        if route.reply is not None and "pageSize" not in route.reply.text:
            text = route.reply.text
            assert called(text, value) == interpreted(text, value)


@pytest.mark.parametrize(
    "text", ["a[0]", "a[?b]", "a | b", "sort_by(@, &a)", "a && b", "[a, b]", "a.*", "{b: c[1:2]}"]
)
def test_the_rest_is_left_to_the_interpreter(text: str) -> None:
    """An expression with any other node in it is interpreted as a whole."""
    assert plain(jmespath.compile(text).parsed) is None
