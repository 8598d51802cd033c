"""What a route table is made of: whatever the text, it is compiled or refused with a reason."""

from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.headers import Hop, as_text, client_address, end_to_end, forwarded_headers
from proxy.mapping import ReplyMapping, UnmappableReply
from proxy.paths import CallTemplate, PathPattern
from proxy.template import JsonTemplate
from tests.tables import JSON_VALUES

PIECES = """
{ } {{ }} {{now}} {{now-1d}} {{nowMs}} {{query}} {videoId} GET POST / // .. %2f %zz ? & = # \\ ' "
videos[].{ id: id } value('page') value( ) || && ! @ * [*] [::0] [0] length( sort_by(x,&y) `1` `{` | . , :
"""
# Quoteless strings in backquotes are JMESPath of yore.
pytestmark = pytest.mark.filterwarnings("ignore:deprecated string literal syntax")
TEXTS = st.lists(st.sampled_from(PIECES.split()) | st.text(max_size=4), max_size=8).map("".join) | st.lists(
    st.sampled_from(PIECES.split()), max_size=6
).map(" ".join)
SCOPE = {"page": 1, "query": "q", "videoId": "1_a", "partnerId": "42", "now": 0.0}


@pytest.mark.parametrize("parse", [PathPattern.parse, CallTemplate.parse, ReplyMapping.compile])
def test_a_text_is_compiled_or_refused(parse: Callable[[str], object]) -> None:
    """Refused means with a reason; nothing else comes of a text."""

    @given(TEXTS)
    def holds(text: str) -> None:
        try:
            reason = str(parse(text))
        except ValueError as error:
            reason = "".join(str(error).splitlines()[:1])
        assert reason

    holds()


@given(text=TEXTS, content=JSON_VALUES)
def test_a_mapping_maps_or_says_that_it_cannot(text: str, content: object) -> None:
    """No answer makes a mapping fail in another way than the one that is provided for."""
    with suppress(ValueError):
        mapping = ReplyMapping.compile(text)
        if mapping.names <= SCOPE.keys():
            with suppress(UnmappableReply):
                mapping(content, SCOPE)


@given(st.recursive(TEXTS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=6))
def test_a_template_is_compiled_or_refused(tree: object) -> None:
    """What is compiled can be rendered with the values that it says it wants."""
    with suppress(ValueError):
        template = JsonTemplate.compile(tree)
        template.render({**dict.fromkeys(template.names, "x"), "now": 0.0})


NAMES = st.sampled_from(
    [b"Connection", b"Via", b"X-Forwarded-For", b"X_Forwarded_Host", b"Forwarded", b"Host"]
)
FIELDS = st.lists(st.tuples(NAMES | st.binary(max_size=6), st.binary(max_size=20)), max_size=8)


@given(FIELDS, st.none() | st.text(max_size=20), st.booleans())
def test_any_fields_are_passed_on(
    fields: list[tuple[bytes, bytes]], peer: str | None, believed: bool
) -> None:
    """No field and no peer makes the forwarding fail, and what is told of the peer is told once."""
    trusted = (ip_network("0.0.0.0/0"),) if believed else ()
    hop = Hop(peer, "http", None, "1.1")
    passed = as_text(forwarded_headers(end_to_end(fields), hop, trusted))
    assert [name for name, _ in passed].count("X-Forwarded-For") >= 1
    values = [value.decode("latin-1") for name, value in fields if name == b"X-Forwarded-For"]
    assert client_address(peer, values, trusted)
