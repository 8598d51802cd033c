"""What routes take from the client, held against the Activity server's own ways."""

import json
import re
import unicodedata
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from proxy.inputs import Input, InvalidInput, called_with, query_values, read_inputs
from tests.recordings import Exchange, load
from tests.tables import DIALECTS, JSON_VALUES, Dialect, a_route, rendered, request, routes

LISTS = ("videos", "search")
SPACES = "".join(chr(code) for code in range(0x10000) if unicodedata.category(chr(code)) == "Zs")
REWRITTEN = re.compile(r"/api/(kaltura/|token)")


def an_input(**raw: Any) -> Input:
    """An input as a route table declares it."""
    return Input.model_validate({"from": "query", "default": "", **raw})


def number(text: object, **raw: Any) -> int:
    """What an integer input makes of a value."""
    value = an_input(**{"type": "integer", "default": 30, "maximum": 500, **raw}).read("n", text)
    assert isinstance(value, int)
    return value


def rewritten_exchanges() -> list[Exchange]:
    """The exchanges of the Activity server that are rewritten calls with a body that is JSON, if any."""
    return [
        exchange
        for exchange in load("activity-server")
        if exchange.method in {"GET", "POST"}
        and REWRITTEN.match(exchange.path)
        and exchange.sent != b"{not json"
    ]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("exchange", rewritten_exchanges(), ids=str)
def test_agrees_with_the_activity_server(dialect: Dialect, exchange: Exchange) -> None:
    """Each recorded request is taken or refused as the Activity server did, in its own words."""
    sent = json.loads(exchange.sent) if exchange.sent else {}
    if exchange.status == 400:
        with pytest.raises(InvalidInput) as caught:
            request(dialect, exchange.method, exchange.path, sent)
        assert exchange.answer == {"error": str(caught.value)}
        return
    route, values = request(dialect, exchange.method, exchange.path, sent)
    if route.name in LISTS:
        assert values["page"] == exchange.answer["page"]
        assert values["pageSize"] == exchange.answer["pageSize"]
    if route.name == "session":
        ks = f"mock_ks_{values['videoId']}_{values['userId']}_"
        assert exchange.answer["ks"].startswith(ks)


def test_recorded_requests_cover_every_route() -> None:
    """The agreement with the Activity server is tried on all calls that it answers itself."""
    found = {
        request("plan", it.method, it.path, {"videoId": "1"})[0].name for it in rewritten_exchanges()[:5]
    }
    assert found == {"video", "videos", "search"}
    assert len(rewritten_exchanges()) == 12


@pytest.mark.parametrize(
    ("dialect", "target"),
    [
        ("plan", "/videos?page=1&pageSize=30&limit=30"),
        ("newer", "/videos/search?q=&limit=30&page=1"),
    ],
)
def test_odd_paging_is_echoed_but_not_called(dialect: Dialect, target: str) -> None:
    """A page size of -1 is what the client reads in the answer, and the default is what is asked for."""
    route, values = request(dialect, "GET", "/api/kaltura/videos?page=abc&pageSize=-1")
    assert values == {"page": 1, "pageSize": -1}
    assert called_with(route.inputs, values) == {"page": 1, "pageSize": 30}
    assert rendered(route, values) == target


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("query", "values"),
    [
        ("", (1, 30)),
        ("page=3&pageSize=7", (3, 7)),
        ("page=2x&pageSize=1e3", (2, 1)),
        ("page=0&pageSize=0", (1, 30)),
        ("page=2.9&pageSize=%2B5", (2, 5)),
        ("page=2&page=3&pageSize=4&pageSize=5", (2, 4)),
        ("page=&page=3", (1, 30)),
        ("page=1000001&pageSize=501", (1_000_000, 500)),
        ("page=99999999999999999999&pageSize=000000000000000000000000007", (1_000_000, 7)),
        ("page[]=3&PAGE=4", (1, 30)),
    ],
)
def test_paging_is_read_as_javascript_does(dialect: Dialect, query: str, values: tuple[int, int]) -> None:
    """Leading digits count, zero and no number are the default, what is too much counts as the most."""
    _, found = request(dialect, "GET", f"/api/kaltura/videos?{query}")
    assert (found["page"], found["pageSize"]) == values


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("query", "value", "escaped"),
    [
        ("query=cats", "cats", "cats"),
        ("query=a+b%26c%3Dd", "a b&c=d", "a%20b%26c%3Dd"),
        ("query=%7B%7Bnow%7D%7D", "{{now}}", "%7B%7Bnow%7D%7D"),
        ("query=%2e%2e%2f", "../", "..%2F"),
        ("query=%ff", "\ufffd", "%EF%BF%BD"),
        ("query=0", "0", "0"),
        ("query=caf%C3%A9", "café", "caf%C3%A9"),
    ],
)
def test_query_goes_on_as_one_value(dialect: Dialect, query: str, value: str, escaped: str) -> None:
    """What is searched for is decoded once and enters the gateway's query as one escaped value."""
    route, values = request(dialect, "GET", f"/api/kaltura/videos/search?{query}&page=2")
    assert values["query"] == value
    assert rendered(route, values) == f"/videos/search?q={escaped}&limit=30&page=2"


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "videoId is required"),
        ({"videoId": ""}, "videoId is required"),
        ({"videoId": None}, "videoId is required"),
        ({"videoId": 0}, "videoId is required"),
        ({"videoId": False}, "videoId is required"),
        ({"videoId": True}, "videoId is required"),
        ({"videoId": ["1_a"]}, "videoId is required"),
        ({"videoId": {"toString": "1_a"}}, "videoId is required"),
        ({"VideoId": "1_a"}, "videoId is required"),
        ({"videoId": "../x"}, "videoId is not valid"),
        ({"videoId": "1_a\n"}, "videoId is not valid"),
        ({"videoId": "x" * 65}, "videoId is not valid"),
        ({"videoId": "x" * 1001}, "videoId is too long"),
        ({"videoId": 1.5}, "videoId is not valid"),
        ({"videoId": "1_a", "userId": ["x"]}, "userId must be a text"),
        ({"videoId": "1_a", "userId": "x" * 129}, "userId is too long"),
    ],
)
def test_odd_session_is_refused(dialect: Dialect, body: dict[str, object], message: str) -> None:
    """A body without a usable id is the caller's mistake, told in the Activity server's words."""
    with pytest.raises(InvalidInput) as caught:
        request(dialect, "POST", "/api/kaltura/session", body)
    assert str(caught.value) == message


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("user", "read"),
    [("Nelly", "Nelly"), (80351110224678912, "80351110224678912"), (None, "anonymous"), ("", "anonymous")],
)
def test_user_of_a_session_has_a_default(dialect: Dialect, user: object, read: str) -> None:
    """A session without a user is anonymous, and a number for a user is read as its text."""
    _, values = request(dialect, "POST", "/api/kaltura/session", {"videoId": "1_a", "userId": user})
    assert values == {"videoId": "1_a", "userId": read}


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("path", ["a.b", "a%20b", "%C3%A9", "x" * 65, "a%252fb", "{videoId}"])
def test_path_takes_only_ids(dialect: Dialect, path: str) -> None:
    """A path parameter is an id, unless the route table says otherwise."""
    pattern = routes(dialect)["video"].inputs["videoId"].pattern
    assert pattern is not None
    assert pattern.fullmatch("1_e0000003")
    with pytest.raises(InvalidInput, match="videoId is not valid"):
        request(dialect, "GET", f"/api/kaltura/video/{path}")


def parse_int(text: str) -> int | None:
    """JavaScript's `parseInt` in base ten; None for NaN."""
    text = text.lstrip("\t\n\v\f\r\u2028\u2029\ufeff" + SPACES)
    sign = -1 if text.startswith("-") else 1
    digits = ""
    for letter in text[1:] if text[:1] in {"+", "-"} else text:
        if letter not in "0123456789":
            break
        digits += letter
    return sign * int(digits) if digits else None


NUMBERS = st.builds(
    "".join,
    st.lists(
        st.sampled_from(
            [*"0123456789+-.eExX \t\n", "\ufeff", "\x1c", "\x85", "٣", "²", "abc", "500", "Infinity"]
        ),
        max_size=12,
    ),
)


@given(text=NUMBERS | st.integers().map(str) | st.text())
def test_numbers_are_read_as_parse_int_does(text: str) -> None:
    """Any text gives the number that `parseInt(text) || default` gives, up to the maximum."""
    parsed = parse_int(text)
    assume(parsed is None or parsed > -(10**15))
    assert number(text) == min(parsed or 30, 500)


@pytest.mark.parametrize(
    ("found", "read"),
    [
        (7, 7),
        (-7, -7),
        (0, 30),
        (2.9, 2),
        (1e21, 1),
        (True, 30),
        (None, 30),
        ([3], 30),
        ({"a": 3}, 30),
        ("9" * 9000, 500),
    ],
)
def test_numbers_of_a_body_are_read_alike(found: object, read: int) -> None:
    """A number in a body is taken as it is, anything else that is no text is none."""
    assert number(found) == read


def test_number_without_default_is_required() -> None:
    """Where there is no default, no number and one under the minimum are refused."""
    wanted = {"type": "integer", "default": None, "required": "n is required", "minimum": 2}
    assert number("2", **wanted) == 2
    for text in ("1", "-3", "abc", None):
        with pytest.raises(InvalidInput, match="n is required"):
            number(text, **wanted)
    with pytest.raises(InvalidInput, match="n is not valid"):
        an_input(**{"from": "path", "type": "integer", "default": None}).read("n", "abc")


def test_text_without_default_or_message() -> None:
    """A path parameter needs neither default nor message: it is always there."""
    wanted = an_input(**{"from": "path", "default": None})
    assert wanted.read("n", "x") == "x"


@given(value=JSON_VALUES)
def test_any_value_is_read_or_refused(value: object) -> None:
    """Whatever a body holds, an input gives a text that keeps its rules, a number in range, or says no."""
    text = an_input(pattern="[a-z]*", max_length=5, **{"from": "body"})
    with suppress(InvalidInput):
        read = text.read("x", value)
        assert isinstance(read, str)
        assert re.fullmatch("[a-z]{0,5}", read)
    assert number(value) <= 500


@pytest.mark.parametrize(
    ("query", "values"),
    [
        ("", {}),
        ("a=1&b=2", {"a": "1", "b": "2"}),
        ("a=1&a=2&a=3", {"a": ["1", "2", "3"]}),
        ("a=&a=", {"a": ["", ""]}),
        ("a&b=", {"a": "", "b": ""}),
        ("a=b=c", {"a": "b=c"}),
        ("a;b=1", {"a;b": "1"}),
        ("%61=%zz+", {"a": "%zz "}),
        ("&&=", {"": ""}),
    ],
)
def test_query_string_is_read(query: str, values: Mapping[str, object]) -> None:
    """Names and values are decoded, and a name that is given more than once has all its values."""
    assert query_values(query) == values


@given(pairs=st.lists(st.tuples(st.text(), st.text())))
def test_query_string_never_fails(pairs: list[tuple[str, str]]) -> None:
    """Any query string is read somehow."""
    query_values("&".join(f"{name}={value}" for name, value in pairs))


@pytest.mark.parametrize(
    ("raw", "place", "message"),
    [
        ({"default": None}, ("from",), "give `required`"),
        ({"default": 3}, ("default",), "the default is no string"),
        ({"type": "integer", "default": "3"}, ("default",), "the default is no integer"),
        ({"type": "integer", "default": 0}, ("default",), "not between minimum and maximum"),
        ({"type": "integer", "default": 9, "maximum": 8}, ("default",), "not between minimum and maximum"),
        ({"minimum": 3, "maximum": 2}, ("minimum",), "minimum is over maximum"),
    ],
)
def test_impossible_input_is_refused(raw: dict[str, Any], place: tuple[str, ...], message: str) -> None:
    """Settings of an input that do not go together are told at the key that is wrong."""
    with pytest.raises(ValidationError) as caught:
        an_input(**raw)
    problems = caught.value.errors()[0]["ctx"]["error"].problems
    assert [problem.path for problem in problems] == [place]
    assert message in problems[0].message


@pytest.mark.parametrize(
    "raw",
    [
        {"from": "header"},
        {"type": "number"},
        {"pattern": "("},
        {"pattern": 3},
        {"required": 3},
        {"minimum": "1"},
        {"pattern": "(" * 5000 + ")" * 5000},
        {"pattern": "a{99999999999999999999}"},
        {"max_length": 0},
        {"what": 1},
        {"default": True},
    ],
)
def test_unknown_setting_is_refused(raw: dict[str, Any]) -> None:
    """An input knows its keys and their types."""
    with pytest.raises(ValidationError):
        an_input(**raw)


def test_limits_are_inclusive() -> None:
    """The longest text is taken, one number is a range, and a text has up to a thousand characters."""
    assert an_input(max_length=3).read("x", "abc") == "abc"
    assert an_input().read("x", "a" * 1000) == "a" * 1000
    assert number("7", default=7, minimum=7, maximum=7) == 7


def test_called_values_leave_the_others_alone() -> None:
    """Only numbers under their minimum are replaced for the gateway."""
    route = a_route(input={"n": {"from": "query", "type": "integer", "default": 5, "minimum": 3}})
    values = read_inputs(route.inputs, {"id": "a"}, {"n": "2"}, {})
    assert values == {"id": "a", "n": 2}
    assert called_with(route.inputs, values) == {"id": "a", "n": 5}
    assert called_with(route.inputs, {"n": 3}) == {"n": 3}


def test_bytes_that_are_no_text_are_replaced() -> None:
    """A query with raw bytes that are not UTF-8 can be called, mapped and written like any other."""
    wanted = Input.model_validate({"from": "query", "default": ""})
    assert wanted.read("query", "caf\udce9") == "caf?"


@pytest.mark.parametrize("pattern", ["[", "(?P<", "[[a]", "[a--b]"])
def test_a_pattern_that_cannot_be_relied_on_is_refused(pattern: str) -> None:
    """What is no regular expression, and what Python warns will mean something else one day."""
    with pytest.raises(ValidationError, match="not a regular expression"):
        an_input(pattern=pattern)
