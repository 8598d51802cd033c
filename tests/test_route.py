"""Routes: what a table may say, and the two tables that are shipped."""

from itertools import permutations
from typing import Any

import pytest
from pydantic import ValidationError

from proxy.inputs import ID_PATTERN
from proxy.misfits import Misfits
from proxy.route import Route
from proxy.shape import FieldPath
from proxy.tables import trespass
from proxy.template import BUILT_IN
from tests.tables import DIALECTS, Dialect, a_route, mocks, raw_routes, routes

PAGING = {
    "page": {"from": "query", "type": "integer", "default": 1},
    "pageSize": {"from": "query", "type": "integer", "default": 30},
}


def problems(**changes: Any) -> list[tuple[tuple[str | int, ...], str]]:
    """What is wrong with a route that does not go together: at which keys, and in what words."""
    with pytest.raises(ValidationError) as caught:
        a_route(**changes)
    (error,) = caught.value.errors()
    assert error["loc"] == ()
    misfits = error["ctx"]["error"]
    assert isinstance(misfits, Misfits)
    return [(problem.path, problem.message) for problem in misfits.problems]


@pytest.mark.parametrize(
    ("changes", "place", "message"),
    [
        ({"call": None, "reply": None}, ("match",), "nothing can answer: give a call or a fallback"),
        ({"reply": None}, ("call",), "a call wants a reply mapping"),
        (
            {"call": None, "fallback": ["activity"]},
            ("reply",),
            "has no meaning without a call",
        ),
        (
            {"call": None, "reply": None, "send": {}, "fallback": ["activity"]},
            ("send",),
            "has no meaning without a call",
        ),
        (
            {"call": None, "reply": None, "require": ["id"], "fallback": ["activity"]},
            ("require",),
            "has no meaning without a call",
        ),
        (
            {"call": None, "reply": None, "types": {"id": "string"}, "fallback": ["activity"]},
            ("types",),
            "has no meaning without a call",
        ),
        ({"fallback": ["canned"]}, ("fallback", 0), "the route has no canned file"),
        ({"fallback": ["activity", "activity"]}, ("fallback", 1), "activity is named twice"),
        ({"call": "GET /v1/{x}"}, ("call",), "x is no input of this route"),
        ({"call": "GET /v1?a={partnerId}"}, ("call",), "partnerId is no input of this route"),
        ({"call": "POST /v1", "send": {"a": "{{x}}"}}, ("send",), "x is no input of this route"),
        ({"reply": "{a: value('x')}"}, ("reply",), "x is no input of this route"),
        ({"reply": "{a: value('now')}"}, ("reply",), "now is no input of this route"),
        (
            {"input": {"x": {"from": "path"}}},
            ("input", "x"),
            "no such parameter in match",
        ),
        (
            {"input": {"id": {"from": "query", "default": "", "pattern": "a*"}}},
            ("input", "id", "from"),
            "id stands in match: it is from the path",
        ),
        (
            {"input": {"now": {"from": "query", "default": ""}}},
            ("input", "now"),
            "now is the name of a built-in value",
        ),
        (
            {"input": {"subject.username": {"from": "query", "default": ""}}},
            ("input", "subject.username"),
            "subject.username is the name of a built-in value",
        ),
        (
            {"match": "GET /things/{partnerId}", "call": "GET /v1"},
            ("match",),
            "partnerId is the name of a built-in value",
        ),
        (
            {"input": {"x": {"from": "body", "default": ""}}},
            ("input", "x", "from"),
            "a GET has no body",
        ),
        (
            {"input": {"id": {"from": "path"}}},
            ("input", "id"),
            "a value in the gateway's path wants a pattern",
        ),
        (
            {
                "match": "POST /things",
                "call": "POST /v1/{x}",
                "input": {"x": {"from": "body", "default": ""}},
            },
            ("input", "x"),
            "a value in the gateway's path wants a pattern",
        ),
        ({"call": "POST /v1", "retry": True}, ("retry",), "a POST must not be repeated"),
        ({"send": {}}, ("send",), "a GET has no body"),
        ({"group": "token"}, ("group",), "token is the token endpoint's own breaker"),
        ({"group": "kaltura"}, ("group",), "kaltura is Kaltura's own breaker"),
        ({"stale_if_error": 1.0}, ("stale_if_error",), "has no meaning without max_age"),
        ({"stale_while_revalidate": 1.0}, ("stale_while_revalidate",), "has no meaning without max_age"),
        ({"max_age": 1.0, "as": "user"}, ("max_age",), "a user's answer is never kept for others"),
        ({"max_age": 1.0, "credential": True}, ("max_age",), "a user's answer is never kept for others"),
        (
            {"max_age": 1.0, "call": "POST /v1"},
            ("max_age",),
            "only the answer to a GET of the gateway can be kept",
        ),
        ({"max_age": 1.0, "fallback": ["stale"]}, ("fallback", 0), "the route has no stale_if_error"),
        (
            {"paging": "things", "input": {**PAGING, "page": {"from": "query", "default": "1"}}},
            ("paging",),
            "paging wants an integer input page that is 1 or more",
        ),
        (
            {"paging": "things", "input": {**PAGING, "pageSize": {**PAGING["pageSize"], "minimum": 0}}},
            ("paging",),
            "paging wants an integer input pageSize that is 1 or more",
        ),
    ],
)
def test_settings_that_do_not_go_together(
    changes: dict[str, Any], place: tuple[str | int, ...], message: str
) -> None:
    """Each contradiction within a route is told at the key that is wrong."""
    assert problems(**changes) == [(place, message)]


def test_all_contradictions_are_told_at_once() -> None:
    """Nothing hides behind the first mistake."""
    found = problems(
        fallback=["canned"], call="GET /v1/{x}", reply="{a: value('y')}", paging="things", send={}
    )
    assert [place for place, _ in found] == [
        ("fallback", 0),
        ("call",),
        ("reply",),
        ("paging",),
        ("paging",),
        ("send",),
    ]


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"match": "GET things"}, ("match",)),
        ({"match": 3}, ("match",)),
        ({"call": "GET /v1/x{id}"}, ("call",)),
        ({"send": "text", "call": "POST /v1"}, ("send",)),
        ({"send": ["{{id}}"], "call": "POST /v1"}, ("send",)),
        ({"send": {"a": "{{}}"}, "call": "POST /v1"}, ("send",)),
        ({"reply": "{a:"}, ("reply",)),
        ({"reply": ["a"]}, ("reply",)),
        ({"require": ["a.b"]}, ("require", 0)),
        ({"require": "id"}, ("require",)),
        ({"types": {"id": "text"}}, ("types", "id")),
        ({"as": "nobody"}, ("as",)),
        ({"as_": "user"}, ("as_",)),
        ({"input": {"x": {"where": "query", "from": "query", "default": ""}}}, ("input", "x", "where")),
        ({"absent": "fine"}, ("absent",)),
        ({"fallback": ["gateway"]}, ("fallback", 0)),
        ({"credential": "yes"}, ("credential",)),
        ({"retry": 1}, ("retry",)),
        ({"group": "No Group"}, ("group",)),
        ({"rollout": "25%"}, ("rollout",)),
    ],
)
def test_malformed_setting_is_refused_at_its_key(
    changes: dict[str, Any], place: tuple[str | int, ...]
) -> None:
    """A key of the wrong form, and one that does not exist, is refused by itself."""
    with pytest.raises(ValidationError) as caught:
        a_route(**changes)
    assert [error["loc"][: len(place)] for error in caught.value.errors()] == [place]


@pytest.mark.parametrize(
    ("text", "parts"),
    [("title", ("title", None)), ("videos[].title", ("videos", "title"))],
)
def test_field_path_has_one_level(text: str, parts: tuple[str, str | None]) -> None:
    """A field is one of the reply, or one of each element of a list in it."""
    assert FieldPath.parse(text).parts == parts


@pytest.mark.parametrize("text", ["", "a.b", "a[]", "a[].", "[].a", "a[].b[].c", "a[0].b", "a b", 3, None])
def test_deeper_field_path_is_refused(text: object) -> None:
    """What is no field of the reply or of its elements is refused."""
    with pytest.raises(ValueError, match=r"is not a field|a text is wanted"):
        FieldPath.parse(text)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_no_shipped_call_can_become_another_routes(dialect: Dialect) -> None:
    """No value that a client may send makes one route's gateway call that of another route."""
    table = routes(dialect).values()
    assert [(a.name, b.name) for a, b in permutations(table, 2) if trespass(a, b)] == []


@pytest.mark.parametrize(
    ("changes", "call", "name"),
    [
        ({}, "GET /v1/things/search", "id"),
        ({}, "GET /V1/Things/Search?q=", "id"),
        ({}, "GET /v1/things/se%61rch", "id"),
        ({}, "GET /v1/things/a.b", None),
        ({}, "GET /v1/things/x/search", None),
        ({}, "GET /v1/parts/search", None),
        ({}, "GET /v1/things/{id}", None),
        ({}, "GET /{id}/things/search", "id"),
        ({}, "POST /v1/things/search", None),
        ({"input": {"id": {"from": "path", "pattern": "(?!search$)[a-z]+"}}}, "GET /v1/things/search", None),
        ({"input": {"id": {"from": "path", "pattern": "(?!search$)[A-z]+"}}}, "GET /v1/things/search", "id"),
        ({"input": {"id": {"from": "path", "type": "integer"}}}, "GET /v1/things/search", None),
        ({"input": {"id": {"from": "path", "type": "integer"}}}, "GET /v1/things/7", "id"),
        ({"call": "GET /v1/things/search"}, "GET /v1/things/{id}", None),
        ({"call": None, "reply": None, "fallback": ["activity"]}, "GET /v1/things/search", None),
    ],
)
def test_call_that_can_become_another(changes: dict[str, Any], call: str, name: str | None) -> None:
    """A value that is a literal of another call, in any letter case, is told by the input's name."""
    other = a_route(name="other", call=call)
    assert trespass(a_route(**changes), other) == name
    assert trespass(a_route(), a_route(name="none", call=None, reply=None, fallback=["activity"])) is None


def test_path_parameters_have_the_pattern_of_an_id() -> None:
    """What the table does not say of a path parameter, the default says."""
    route = a_route(match="GET /things/{id}/{part}", input={"part": {"from": "path", "pattern": "[ab]"}})
    patterns = {name: wanted.pattern.pattern for name, wanted in route.inputs.items() if wanted.pattern}
    assert patterns == {"id": ID_PATTERN, "part": "[ab]"}


@pytest.mark.parametrize(
    ("changes", "repeatable"),
    [
        ({}, True),
        ({"retry": False}, False),
        ({"retry": True}, True),
        ({"call": "POST /v1"}, False),
        ({"call": "POST /v1", "retry": False}, False),
        ({"call": None, "reply": None, "fallback": ["activity"]}, False),
    ],
)
def test_only_reading_is_repeated(changes: dict[str, Any], repeatable: bool) -> None:
    """A failed GET may be made again unless the table forbids it; no other call may."""
    assert a_route(**changes).repeatable is repeatable


def test_fields_are_a_closed_set() -> None:
    """What a violation can name is each declared field once, and the body."""
    route = a_route(require=["id", "parts[].id"], types={"id": "string", "parts": "array"})
    assert route.fields == ("id", "parts[].id", "parts", "body")


def test_route_is_read_once_and_stays() -> None:
    """A route cannot be changed, and its name does not come from the table."""
    route = a_route()
    with pytest.raises(ValidationError, match="frozen"):
        route.__setattr__("paging", "things")
    assert "name" not in route.model_dump(include={"name", "group"})


@pytest.mark.parametrize("dialect", DIALECTS)
def test_shipped_table_is_sound(dialect: Dialect) -> None:
    """Both tables serve the Activity server's calls, each with its canned answer where it has one."""
    assert {str(route.match) for route in routes(dialect).values()} >= {
        "POST /api/token",
        "POST /api/kaltura/session",
        "GET /api/kaltura/video/{videoId}",
        "GET /api/kaltura/videos",
        "GET /api/kaltura/videos/search",
        "POST /api/kaltura/video/{videoId}/play",
    }
    for name, route in routes(dialect).items():
        assert ("canned" in route.fallback) == (name in mocks()), name
        assert route.fallback or name in {"details", "logout"}
        if name in mocks():
            assert mocks()[name].names <= {*route.inputs, *BUILT_IN}


def test_shipped_tables_agree_on_the_client() -> None:
    """What a client may send, and what is a credential, does not hang on the gateway at hand."""
    plan, newer = routes("plan"), routes("newer")
    assert plan.keys() - newer.keys() == {"details"}
    for name, route in newer.items():
        other = plan[name]
        for key in ("match", "input", "require", "types", "canned", "fallback", "credential", "as_", "group"):
            assert getattr(route, key) == getattr(other, key), f"{name}.{key}"


def test_shipped_calls_are_those_of_the_contract() -> None:
    """The plan's seven calls and what the newer gateway has in place of two of them."""
    plan = {str(route.call) for route in routes("plan").values() if route.call}
    assert plan == {
        "GET /videos/{videoId}",
        "GET /kaltura/video/{videoId}",
        "GET /videos?page={page}&pageSize={pageSize}&limit={pageSize}",
        "GET /videos/search?q={query}&limit={pageSize}&page={page}",
        "POST /videos/{videoId}/session",
        "POST /videos/{videoId}/play",
    }
    newer = {str(route.call) for route in routes("newer").values() if route.call}
    assert newer - plan == {"GET /videos/search?q=&limit={pageSize}&page={page}", "POST /auth/token"}


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", ["session", "play"])
def test_credentials_are_the_users_and_asked_for_once(dialect: Dialect, name: str) -> None:
    """Sessions and play URLs are made for a user, are credentials, and are never asked for twice."""
    route = routes(dialect)[name]
    assert (route.as_, route.credential, route.repeatable) == ("user", True, False)


def test_sessions_body_is_the_contracts() -> None:
    """The session is asked for as the plan says, or by the subject's login."""
    values = {"videoId": "1_a", "userId": "{{now}}"}
    subject = {"subject.discordId": "8035", "subject.username": "Nelly", "subject.roles": ("Moderator",)}
    plan, newer = routes("plan")["session"].send, routes("newer")["session"].send
    assert plan is not None
    assert newer is not None
    assert plan.render(values) == {"userId": "{{now}}", "type": 0, "privileges": "sview:1_a"}
    assert newer.render(subject) == {"discordId": "8035", "username": "Nelly", "roles": ("Moderator",)}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_schema_names_every_key_that_a_table_uses(dialect: Dialect) -> None:
    """Editors are told of all keys, by the names that stand in the files, with a word on each."""
    schema = Route.model_json_schema(by_alias=True)
    keys = schema["properties"]
    for raw in raw_routes(dialect).values():
        assert raw.keys() <= keys.keys()
    assert keys["match"]["type"] == "string"
    described = [key for key, entry in keys.items() if "description" in entry]
    assert sorted([*described, "name"]) == sorted(keys)
