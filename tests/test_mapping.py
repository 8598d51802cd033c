"""Reply mappings: JMESPath with one function more, checked before its first use."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given

from proxy.mapping import ReplyMapping, UnmappableReply
from tests.tables import DIALECTS, JSON_VALUES, Dialect, routes

SCOPE = {"page": 2, "partnerId": "5896392", "query": "cats"}
GATEWAY_VIDEO = {
    "id": "1_e0000003",
    "title": "Lecture 3",
    "description": "Recorded session 3",
    "thumbnailUrl": "https://cdn.test/3",
    "duration": 111,
    "createdAt": "2025-02-22T21:20:00.000Z",
    "views": 33,
    "userId": "teacher0@example.edu",
    "playUrl": "https://play.test/3",
}


@pytest.mark.parametrize(
    ("text", "body", "mapped"),
    [
        ("video.{id: id, name: title}", {"video": {"id": "1", "title": "T"}}, {"id": "1", "name": "T"}),
        ("videos[].id", {"videos": [{"id": "1"}, {"id": "2"}]}, ["1", "2"]),
        ("{n: length(videos)}", {"videos": [1, 2]}, {"n": 2}),
        ("{page: value('page'), other: other}", {}, {"page": 2, "other": None}),
        ("a || value('partnerId')", {"a": None}, "5896392"),
        ("a || value('partnerId')", {"a": "1"}, "1"),
        ("videos[].{id: id, q: value('query')}", {"videos": [{"id": 1}]}, [{"id": 1, "q": "cats"}]),
        ('value(`"page"`)', {}, 2),
        ("not_null(a, b, c)", {"c": 3}, 3),
        ("sort_by(@, &id)[0].id", [{"id": 2}, {"id": 1}], 1),
        ("a.b.c", {"a": [1]}, None),
    ],
)
def test_answer_is_mapped(text: str, body: object, mapped: object) -> None:
    """A mapping picks and renames, and takes from the request what the answer does not hold."""
    assert ReplyMapping.compile(text)(body, SCOPE) == mapped


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "not a JMESPath expression"),
        ("{id: }", "not a JMESPath expression"),
        ("a b", "not a JMESPath expression: .* column 2"),
        ("a[", "not a JMESPath expression"),
        ("(" * 4000, "nested too deep"),
        ("|".join("a" * 2000), "nested too deep"),
        ("a" * 4001, "longer than 4000 characters"),
        ("lenght(videos)", r"there is no function lenght\(\)"),
        ("videos[].{a: b(c)}", r"there is no function b\(\)"),
        ("sort_by(@, &nope(id))", r"there is no function nope\(\)"),
        ("value()", "takes one name in single quotes"),
        ("value('a', 'b')", "takes one name in single quotes"),
        ("value(page)", "takes one name in single quotes"),
        ('value("page")', "takes one name in single quotes"),
        ("value(`1`)", "takes one name in single quotes"),
        ("value(value('a'))", "takes one name in single quotes"),
        ("length(a, b)", r"length\(\) takes 1 arguments, not 2"),
        ("length()", r"length\(\) takes 1 arguments, not 0"),
        ("not_null()", r"not_null\(\) takes 1 arguments, not 0"),
    ],
)
def test_unsound_mapping_is_refused(text: str, problem: str) -> None:
    """A mistake shows when the mapping is read, on one line, and not in the middle of a call."""
    with pytest.raises(ValueError, match=problem) as caught:
        ReplyMapping.compile(text)
    assert "\n" not in str(caught.value)


def test_mapping_tells_what_it_wants() -> None:
    """The values that a mapping asks for are known without an answer, wherever in it they stand."""
    text = (
        "{a: value('page'), b: c[?id == value('id')].{d: not_null(x, value('partnerId'))}, e: sort_by(f, &g)}"
    )
    mapping = ReplyMapping.compile(text)
    assert mapping.names == {"page", "id", "partnerId"}
    assert mapping.text == text
    assert mapping == ReplyMapping.compile(text)


@pytest.mark.parametrize(
    ("text", "body"),
    [
        ("length(videos)", {}),
        ("length(videos)", {"videos": 3}),
        ("sort(a)", {"a": [1, "x"]}),
        ("abs(a)", {"a": True}),
        ("a < 'x'", {"a": 1}),
        ("max_by(@, &id)", [{"id": 1}, {"id": "x"}]),
        ("ceil(to_number(a))", {"a": "inf"}),
        ("a[::0]", {"a": [1]}),
    ],
)
def test_answer_of_another_type_is_unmappable(text: str, body: object) -> None:
    """Where an operand has a type that is not taken the answer is of another shape, and nothing crashes."""
    with pytest.raises(UnmappableReply):
        ReplyMapping.compile(text)(body, SCOPE)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_shipped_mapping_gives_the_contracts_video(dialect: Dialect) -> None:
    """The flat video of the contract has all its fields, the partner from the configuration."""
    reply = routes(dialect)["video"].reply
    assert reply is not None
    assert reply({"video": GATEWAY_VIDEO}, SCOPE) == {**GATEWAY_VIDEO, "partnerId": "5896392"}
    bare = {"id": "1", "title": "T"}
    assert reply({"video": {**bare, "partnerId": "77"}}, SCOPE) == {
        **bare,
        "partnerId": "77",
        "description": "",
        "duration": 0,
        "thumbnailUrl": "",
        "createdAt": None,
        "views": 0,
        "playUrl": None,
        "userId": None,
    }


@pytest.mark.parametrize("dialect", DIALECTS)
@given(body=JSON_VALUES)
def test_any_answer_is_mapped_or_unmappable(dialect: Dialect, body: Any) -> None:
    """Whatever JSON a gateway answers with, every shipped mapping gives something or says that it cannot."""
    for bodies in (body, {"video": body}, {"videos": body}, {"videos": [body]}, {"kalturaSession": body}):
        for route in routes(dialect).values():
            if route.reply is None:
                continue
            with suppress(UnmappableReply):
                route.reply(bodies, {**SCOPE, "pageSize": 30})
