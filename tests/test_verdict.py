"""What an answer of the gateway is worth: recorded answers, broken ones, and any at all."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from proxy.call import FailureKind
from proxy.paths import PathPattern, canonical_segments
from proxy.route import Route
from proxy.shape import JsonType
from proxy.verdict import Failed, Missing, Refused, Usable, Verdict, judge
from tests.recordings import Exchange, Recording, load
from tests.tables import DIALECTS, PARTNER, Dialect, a_route, routes

GATEWAYS: tuple[Recording, ...] = (
    "gateway-older-kaltura",
    "gateway-newer-kaltura",
    "gateway-newer-development",
)
SCOPE = {"partnerId": PARTNER, "page": 2, "pageSize": 3, "query": "cats", "videoId": "1_a", "userId": "u"}
VIDEO = {"id": "1_a", "title": "T"}


def of(name: str, body: object, status: int = 200, dialect: Dialect = "newer") -> Verdict:
    """Judge a JSON answer to a shipped route's call."""
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return judge(routes(dialect)[name], status, raw, SCOPE)


def violation(field: str, detail: str) -> Failed:
    """The verdict on an answer that breaks the contract."""
    return Failed(FailureKind.CONTRACT, detail, 200, counts=True, retryable=True, field=field)


def callers(exchange: Exchange) -> Iterator[Route]:
    """The shipped routes that make the call which is recorded in an exchange."""
    path = exchange.path.removeprefix("/api").partition("?")[0]
    for dialect in DIALECTS:
        for route in routes(dialect).values():
            called = str(route.call).partition("?")[0] if route.call else "POST /none"
            segments = canonical_segments(path) or ()
            pattern = PathPattern.parse(called)
            values = pattern.match(segments) if pattern.method == exchange.method else None
            if values is not None and all(is_value(route, name, text) for name, text in values.items()):
                yield route


def is_value(route: Route, name: str, text: str) -> bool:
    """Whether a text may stand for an input of a route."""
    pattern = route.inputs[name].pattern
    return pattern is None or pattern.fullmatch(text) is not None


def recorded() -> Iterator[Any]:
    """Every recorded answer with each route that would meet it."""
    for name in GATEWAYS:
        for exchange in load(name):
            for number, route in enumerate(callers(exchange)):
                yield pytest.param(route, exchange, id=f"{name} {exchange} {route.name} {number}")


def flat(video: dict[str, Any]) -> dict[str, Any]:
    """The client's video out of the gateway's."""
    return {**video, "partnerId": PARTNER}


def worth(route: Route, exchange: Exchange) -> Verdict:
    """What a recorded answer is worth, told from what the contract says of it."""
    status = exchange.status
    if status == 200:
        return worth_of_content(route, exchange.answer)
    if status == 400:
        return Refused(400, exchange.answer["error"])
    kind, detail = {
        401: (FailureKind.UNAUTHORIZED, "the gateway refused the token"),
        404: (FailureKind.NO_SUCH_ROUTE, "the gateway has no such call"),
        500: (FailureKind.STATUS, "the gateway answered 500"),
    }[status]
    return Failed(kind, detail, status, counts=status == 500, retryable=status == 500)


def worth_of_content(route: Route, answer: dict[str, Any]) -> Verdict:
    """What a recorded 200 is worth."""
    if "video" in answer:
        return Usable(flat(answer["video"])) if "id" in answer["video"] else Missing()
    if "videos" in answer:
        videos = [flat(video) for video in answer["videos"]]
        return Usable({"videos": videos, "page": 2, "pageSize": 3, "totalCount": len(videos)})
    if route.name == "session":
        return Usable({"ks": answer["kalturaSession"]["ks"]})
    return Usable({"playUrl": answer["playUrl"]})


@pytest.mark.parametrize(("route", "exchange"), list(recorded()))
def test_recorded_answer_is_judged_rightly(route: Route, exchange: Exchange) -> None:
    """Every answer that a gateway really gave to a route's call is worth what the contract says."""
    answer = exchange.answer
    body = answer.encode() if isinstance(answer, str) else orjson.dumps(answer)
    assert judge(route, exchange.status, body, SCOPE) == worth(route, exchange)


def test_recordings_hold_every_kind_of_answer() -> None:
    """The recorded answers try each verdict, on every route that calls the gateway."""
    judged = [(route, exchange) for case in recorded() for route, exchange in [case.values]]
    assert {route.name for route, _ in judged} == {
        name for name, route in routes("plan").items() if route.call is not None
    }
    kinds = Counter(type(worth(route, exchange)).__name__ for route, exchange in judged)
    assert kinds.keys() == {"Usable", "Missing", "Refused", "Failed"}
    left_out = {it.path for name in GATEWAYS for it in load(name) if not list(callers(it))}
    assert left_out == {
        "/api/auth/refresh",
        "/api/auth/validate",
        "/api/health",
        "/health",
        "/api/gateway/health",
    }


@pytest.mark.parametrize(
    ("name", "body", "field"),
    [
        ("video", b"", "body"),
        ("video", b"<!DOCTYPE html><html></html>", "body"),
        ("video", b"\xff\xfe", "body"),
        ("video", b"\xef\xbb\xbf{}", "body"),
        ("video", b'{"video": {"id": "1_a", "title": NaN}}', "body"),
        ("video", {}, "body"),
        ("video", None, "body"),
        ("video", [], "body"),
        ("video", 3, "body"),
        ("video", "video", "body"),
        ("video", True, "body"),
        ("video", {"video": None}, "body"),
        (
            "video",
            {"objectType": "KalturaAPIException", "code": "INVALID_KS", "message": "Invalid KS"},
            "body",
        ),
        ("video", {"video": {"id": "1_a"}}, "title"),
        ("video", {"video": {"title": "T"}}, "id"),
        ("video", {"video": {**VIDEO, "id": 7}}, "id"),
        ("video", {"video": {**VIDEO, "title": ["T"]}}, "title"),
        ("video", {"video": {**VIDEO, "duration": "111"}}, "duration"),
        ("video", {"video": {**VIDEO, "views": True}}, "views"),
        ("video", {"video": {**VIDEO, "createdAt": 5}}, "createdAt"),
        ("video", {"video": {**VIDEO, "playUrl": {"a": 1}}}, "playUrl"),
        ("videos", {}, "body"),
        ("videos", {"videos": None}, "body"),
        ("videos", {"videos": 3}, "body"),
        ("videos", {"videos": "none"}, "videos"),
        ("videos", {"videos": VIDEO}, "videos"),
        ("videos", {"videos": [{"duration": 0}]}, "videos[].id"),
        ("videos", {"videos": [{"duration": 0}, {"id": "1_a"}]}, "videos[].id"),
        ("videos", {"videos": [1, "x", []]}, "videos[].id"),
        ("search", {"videos": [{**VIDEO, "title": 3}]}, "videos[].title"),
        ("session", {"kalturaSession": None}, "ks"),
        ("session", {}, "ks"),
        ("session", {"kalturaSession": {"ks": 3}}, "ks"),
        ("play", {"videoId": "1_a"}, "playUrl"),
        ("play", {"playUrl": None}, "playUrl"),
        ("play", [], "playUrl"),
    ],
)
def test_garbage_is_the_gateways_failure(name: str, body: object, field: str) -> None:
    """A 200 that the route cannot use counts against the gateway, and names the field that is wrong."""
    verdict = of(name, body)
    assert isinstance(verdict, Failed)
    assert (verdict.kind, verdict.field, verdict.status) == (FailureKind.CONTRACT, field, 200)
    assert (verdict.counts, verdict.retryable) == (True, True)
    assert field in routes("newer")[name].fields
    assert verdict.detail.isascii()


def test_truncated_answer_is_garbage() -> None:
    """A body that ends early is no answer, wherever it was cut."""
    whole = orjson.dumps({"video": VIDEO})
    assert isinstance(of("video", whole), Usable)
    for end in range(len(whole)):
        assert of("video", whole[:end]) == violation("body", "the gateway's answer is not JSON")


@pytest.mark.parametrize("depth", [300, 1000, 2000, 100_000])
@pytest.mark.parametrize("field", ["partnerId", "title", "extra"])
def test_deep_answer_does_not_crash(depth: int, field: str) -> None:
    """However deep an answer is nested, it is judged, and what is usable can be written out."""
    deep = b"[" * depth + b"]" * depth
    verdict = of("video", b'{"video":{"id":"1_a","title":"T","%s":%s}}' % (field.encode(), deep))
    if field == "extra" and depth <= 1000:
        assert isinstance(verdict, Usable)
    else:
        assert isinstance(verdict, Failed)
        assert verdict.field == ("title" if field == "title" and depth < 254 else "body")


def test_huge_numbers_are_numbers() -> None:
    """Integers of any size pass for numbers, and what is usable can be written out."""
    verdict = of("video", b'{"video":{"id":"1_a","title":"T","views":18446744073709551616,"duration":1e300}}')
    assert isinstance(verdict, Usable)
    assert orjson.loads(orjson.dumps(verdict.reply))["views"] == 2**64


def test_few_shells_are_left_out_of_a_list() -> None:
    """Elements without their required fields are dropped and named once; the sound ones stay."""
    shells = [
        {"thumbnailUrl": "x/undefined"},
        {"id": "1_b"},
        {**VIDEO, "views": "many"},
        {"duration": 0},
        "x",
    ]
    verdict = of("videos", {"videos": [VIDEO, *shells, {"id": "1_c", "title": "U"}]})
    assert isinstance(verdict, Usable)
    videos: Any = verdict.reply["videos"]
    assert [video["id"] for video in videos] == ["1_a", "1_c"]
    assert verdict.violations == ("videos[].id", "videos[].title", "videos[].views")


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", ["videos", "search"])
def test_empty_list_is_an_answer(dialect: Dialect, name: str) -> None:
    """No videos at all is neither missing nor garbage."""
    verdict = of(name, {"videos": []}, dialect=dialect)
    assert verdict == Usable({"videos": [], "page": 2, "pageSize": 3, "totalCount": 0})


def test_what_is_absent_may_be_a_violation() -> None:
    """Whether an answer without any required field means that the thing is missing is the table's to say."""
    for absent, verdict in (
        ("missing", Missing()),
        ("violation", violation("id", "the gateway's answer has no id")),
    ):
        route = a_route(reply="{id: id, n: n}", require=["id", "n"], absent=absent)
        assert judge(route, 200, b"{}", SCOPE) == verdict


OF_TYPE: dict[JsonType, list[object]] = {
    "string": ["", "x"],
    "number": [0, -1.5, 2**64],
    "boolean": [True, False],
    "array": [[], ["x"]],
    "object": [{}, {"x": 1}],
}


@pytest.mark.parametrize("wanted", OF_TYPE)
@pytest.mark.parametrize("given", OF_TYPE)
def test_field_has_its_type_or_is_not_there(wanted: JsonType, given: JsonType) -> None:
    """Each JSON type is told from all others, and null is of any type."""
    route = a_route(reply="{id: id, x: x}", require=["id"], types={"x": wanted})
    for value in [None, *OF_TYPE[given]]:
        verdict = judge(route, 200, json.dumps({"id": "1", "x": value}).encode(), SCOPE)
        if value is None or wanted == given:
            assert verdict == Usable({"id": "1", "x": value})
        else:
            assert verdict == violation("x", f"x in the gateway's answer is no {wanted}")


def test_two_lists_have_rules_of_their_own() -> None:
    """Each list of a reply is held against its own fields only, and against all of them."""
    route = a_route(
        reply="{a: a, b: b}",
        require=["a", "a[].id", "b[].name"],
        types={"a": "array", "a[].n": "number", "b[].m": "number"},
    )
    body = {
        "a": [{"id": 1, "m": "x"}, {"name": "x"}, {"id": 2, "n": "x"}],
        "b": [{"name": "y", "n": "x"}, {"id": 1}, {"name": "z", "m": "x"}],
    }
    assert judge(route, 200, orjson.dumps(body), SCOPE) == Usable(
        {"a": [{"id": 1, "m": "x"}], "b": [{"name": "y", "n": "x"}]}, ("a[].id", "a[].n", "b[].name", "b[].m")
    )


LISTS = {"reply": "{parts: parts}", "types": {"parts[].n": "number"}}


@pytest.mark.parametrize(
    ("changes", "body", "verdict"),
    [
        ({}, {}, Usable({"parts": None})),
        ({}, {"parts": "x"}, violation("parts[].n", "parts in the gateway's answer is no list")),
        ({}, {"parts": [{}, {"n": 1.5}]}, Usable({"parts": [{}, {"n": 1.5}]})),
        ({}, {"parts": [{"n": "1"}, {"n": 1}]}, Usable({"parts": [{"n": 1}]}, ("parts[].n",))),
        (
            {"require": ["parts[].id"]},
            {},
            violation("parts[].id", "parts in the gateway's answer is no list"),
        ),
        ({"require": ["parts[].id"]}, {"parts": []}, Usable({"parts": []})),
        (
            {"require": ["parts[].id"]},
            {"parts": [{"n": 1}]},
            violation("parts[].id", "no element has a sound parts[].id"),
        ),
    ],
)
def test_lists_are_checked_by_their_elements(changes: dict[str, Any], body: object, verdict: Verdict) -> None:
    """To require a field of elements is to require the list; types alone bind only what is there."""
    assert judge(a_route(**LISTS, **changes), 200, orjson.dumps(body), SCOPE) == verdict


def test_route_without_a_call_has_no_verdict() -> None:
    """To judge an answer to a call that is never made is a defect."""
    with pytest.raises(ValueError, match="route token maps no reply"):
        of("token", {})
