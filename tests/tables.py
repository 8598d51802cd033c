"""The shipped route tables and canned answers, read straight from their files, and what is made of them."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

from hypothesis import strategies as st
from yaml import safe_load

from proxy.call import Call, ClientRequest, Subject, Value
from proxy.headers import Hop
from proxy.inputs import called_with, query_values, read_inputs
from proxy.paths import PathIndex, split_target, without_discord_prefix
from proxy.route import Route
from proxy.template import JsonTemplate

Dialect = Literal["plan", "newer"]
DIALECTS: tuple[Dialect, ...] = ("plan", "newer")
PARTNER = "your_kaltura_partner_id"

_CONFIG = Path(__file__).parent.parent / "config"

JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def raw_routes(dialect: Dialect) -> dict[str, dict[str, Any]]:
    """What the file of a dialect says of its routes."""
    routes: dict[str, dict[str, Any]] = safe_load(
        (_CONFIG / "dialects" / f"{dialect}.yaml").read_text(encoding="utf-8")
    )["routes"]
    return routes


@cache
def routes(dialect: Dialect) -> Mapping[str, Route]:
    """The routes of a shipped dialect by their names."""
    return {name: Route.model_validate({"name": name, **raw}) for name, raw in raw_routes(dialect).items()}


@cache
def index(dialect: Dialect) -> PathIndex[Route]:
    """The routes of a shipped dialect by what they match."""
    return PathIndex.of([(route.match, route) for route in routes(dialect).values()])


@cache
def mocks() -> Mapping[str, JsonTemplate]:
    """The canned answers by the names of their routes."""
    return {
        name: JsonTemplate.compile(json.loads((_CONFIG / route.canned).read_text(encoding="utf-8")))
        for dialect in DIALECTS
        for name, route in routes(dialect).items()
        if route.canned is not None
    }


def a_route(**changes: Any) -> Route:
    """A sound small route with changes; None takes a key away."""
    raw: dict[str, Any] = {
        "name": "thing",
        "match": "GET /things/{id}",
        "call": "GET /v1/things/{id}",
        "reply": "{id: id}",
        **changes,
    }
    return Route.model_validate({key: value for key, value in raw.items() if value is not None})


def request(
    dialect: Dialect, method: str, target: str, body: Mapping[str, object] | None = None
) -> tuple[Route, dict[str, Value]]:
    """Find the route of a request that has one, and read its inputs. Raises `InvalidInput`."""
    path, query = split_target(without_discord_prefix(target))
    found = index(dialect).find(method, path)
    assert isinstance(found, tuple), f"{method} {target} is no rewritten call: {found}"
    route, parameters = found
    return route, read_inputs(route.inputs, parameters, query_values(query), body or {})


def rendered(route: Route, values: Mapping[str, Value]) -> str:
    """The target that the gateway is asked for."""
    assert route.call is not None
    return route.call.render(called_with(route.inputs, values))


def a_call(route: Route, values: Mapping[str, Value]) -> Call:
    """A call of a route, as the listener makes it."""
    return Call(
        route=route,
        values=values,
        subject=Subject("service", "activity-proxy", "Activity Proxy"),
        request=ClientRequest("GET", "/", Hop(None, "http", None, "1.1"), (), b""),
        request_id="r1",
        deadline=8.0,
    )


def stays_within(route: Route, target: str) -> None:
    """Hold a rendered call against its route: the same segments, one for each slot, however it is decoded."""
    assert route.call is not None
    path, _, query = target.partition("?")
    segments = path.split("/")[1:]
    assert len(segments) == len(route.call.path)
    for segment, (text, is_slot) in zip(segments, route.call.path, strict=True):
        if not is_slot:
            assert segment == text
            continue
        for reading in (segment, unquote(segment), unquote(unquote(segment))):
            assert reading not in {"", ".", ".."}
            assert not set(reading) & set("/\\\0\r\n")
        assert not set(segment) & set("?#;")
    pairs = query.split("&") if query else []
    assert [pair.partition("=")[0] for pair in pairs] == [key for key, _, _ in route.call.query]
    assert "#" not in target
