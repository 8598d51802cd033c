"""No request, however it is encoded, reaches another path than its route's."""

import posixpath
import re
from collections.abc import Callable
from urllib.parse import quote, unquote

import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st

from proxy.inputs import InvalidInput, query_values, read_inputs
from proxy.paths import (
    AMBIGUOUS,
    CallTemplate,
    PathIndex,
    PathPattern,
    canonical_segments,
    other_readings,
    split_target,
    without_discord_prefix,
)
from proxy.route import Route
from tests.tables import DIALECTS, JSON_VALUES, Dialect, a_route, index, rendered, routes, stays_within

PLAIN = ("api", "kaltura", "video", "videos", "search", "session", "play", "details", "token", "1_e0000003")
DANGEROUS = (
    *(
        "%2e",
        "%2E%2e",
        ".",
        "..",
        "...",
        "%2f",
        "%2F",
        "%5c",
        "\\",
        "%00",
        "%0d%0a",
        "//",
        ";",
        "..;",
        ";a=b",
    ),
    *(
        "%252e%252e",
        "%252f",
        "%25",
        "%255c",
        "%",
        "%zz",
        "%c0%ae",
        "%ff",
        "%ef%bc%8f",
        "\uff0f",
        "\u2024\u2024",
    ),
    *(
        "#",
        "?",
        "&",
        "=",
        "+",
        " ",
        "%20",
        "%3f",
        "%23",
        "é",
        "%C3%A9",
        "\u212aaltura",
        "API",
        "VIDEO",
        ".proxy",
    ),
    *("{videoId}", "%7BvideoId%7D", "{{now}}", "@evil.test", ":80", "http://evil.test", "~", "*", "'", '"'),
)
PIECES = st.one_of(
    st.sampled_from(PLAIN),
    st.sampled_from(DANGEROUS),
    st.text(max_size=4),
    st.text("./%25eEfFcC\\;#?", max_size=6),
)
CALLS = st.sampled_from(
    [
        ("GET", "/api/kaltura/video/1_e0000003"),
        ("HEAD", "/api/kaltura/video/1_e0000003/"),
        ("GET", "/api/kaltura/video/1_e0000003/details"),
        ("GET", "/api/kaltura/videos?page=2&pageSize=3"),
        ("GET", "/api/kaltura/videos/search?query=cats&page=1"),
        ("POST", "/api/kaltura/session"),
        ("POST", "/api/kaltura/video/1_e0000003/play"),
        ("POST", "/api/token"),
    ]
)
METHODS = st.sampled_from(["GET", "HEAD", "POST", "PUT", "OPTIONS"])


@st.composite
def disturbed_calls(draw: st.DrawFn) -> tuple[str, str]:
    """A client's call with pieces put in, in place of, or left out somewhere."""
    method, target = draw(CALLS)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(target)))
        end = min(len(target), start + draw(st.integers(0, 4)))
        target = target[:start] + draw(PIECES) + target[end:]
    return method, draw(st.sampled_from(["", "/.proxy", "/"])) + target


@st.composite
def made_up_calls(draw: st.DrawFn) -> tuple[str, str]:
    """A target out of nothing but pieces."""
    separator = draw(st.sampled_from(["/", "//", "%2f", ""]))
    return draw(METHODS), "/" + separator.join(draw(st.lists(PIECES, max_size=8)))


@st.composite
def ids_of_all_sorts(draw: st.DrawFn) -> tuple[str, str]:
    """A call of the video or of its play URL with anything at all where the id stands."""
    odd = "".join(draw(st.lists(PIECES, min_size=1, max_size=4)))
    odd = draw(st.sampled_from([odd, quote(odd, safe=""), quote(quote(odd, safe=""), safe="")]))
    return draw(
        st.sampled_from([("GET", f"/api/kaltura/video/{odd}"), ("POST", f"/api/kaltura/video/{odd}/play")])
    )


TARGETS = disturbed_calls() | made_up_calls() | ids_of_all_sorts()


def called(route: Route, path: str) -> bool:
    """Whether the gateway, which does not mind letter case, takes a path for the route's own call."""
    assert route.call is not None
    calls = [
        PathPattern.parse(str(other.call).partition("?")[0])
        for dialect in DIALECTS
        for other in routes(dialect).values()
        if other.call is not None
    ]
    found = PathIndex.of([(pattern, str(pattern)) for pattern in calls]).find(route.call.method, path)
    own = PathPattern.parse(str(route.call).partition("?")[0])
    return isinstance(found, tuple) and found[0] == str(own)


@pytest.mark.parametrize("dialect", DIALECTS)
@given(call=TARGETS, body=JSON_VALUES)
@example(call=("GET", "/api/kaltura/video/search"), body=None)
@example(call=("GET", "/api/kaltura/video/%53eArch/"), body=None)
@example(call=("GET", "/api/kaltura/video/%252e%252e"), body=None)
@example(call=("GET", "/api/kaltura/video/..%3b"), body=None)
@example(call=("POST", "/api/kaltura/video/1_a%23/play"), body=None)
def test_no_target_reaches_another_path(dialect: Dialect, call: tuple[str, str], body: object) -> None:
    """A request is refused, passed through, or calls its route's own path with one segment a slot."""
    path, query = split_target(without_discord_prefix(call[1]))
    found = index(dialect).find(call[0], path)
    if not isinstance(found, tuple):
        event("passed" if found is None else "ambiguous")
        return
    route, parameters = found
    try:
        values = read_inputs(route.inputs, parameters, query_values(query), {"videoId": body})
    except InvalidInput:
        event("refused")
        return
    event(f"route {route.name}")
    if route.call is not None:
        target = rendered(route, values)
        stays_within(route, target)
        assert called(route, target.partition("?")[0])


@pytest.mark.parametrize("dialect", DIALECTS)
@given(video=JSON_VALUES | PIECES | st.lists(PIECES).map("".join), user=JSON_VALUES)
@example(video="1_e0000003", user="..")
def test_no_body_reaches_another_path(dialect: Dialect, video: object, user: object) -> None:
    """Whatever a session's body holds, the session's own path is called or the request is refused."""
    route = routes(dialect)["session"]
    try:
        values = read_inputs(route.inputs, {}, {}, {"videoId": video, "userId": user})
    except InvalidInput:
        return
    target = rendered(route, values)
    stays_within(route, target)
    assert re.fullmatch(r"/videos/[A-Za-z0-9_-]{1,64}/session|/auth/token", target)


LAX = a_route(
    match="POST /things/{id}",
    input={
        "id": {"from": "path", "pattern": "(?s).*"},
        "other": {"from": "body", "default": "none", "pattern": "(?s).*"},
        "q": {"from": "query", "default": ""},
    },
    call="GET /v1/{id}/parts/{other}?q={q}&all=true",
)


@given(id_=PIECES, other=st.text() | st.lists(PIECES).map("".join), q=st.text())
def test_a_lax_pattern_opens_no_path(id_: str, other: str, q: str) -> None:
    """Even where a route table lets any text through, a call keeps its route's path and query."""
    assert LAX.call is not None
    try:
        target = LAX.call.render({"id": id_, "other": other, "q": q})
    except ValueError:
        return
    stays_within(LAX, target)
    path, _, query = target.partition("?")
    assert [unquote(part) for part in path.split("/")] == ["", "v1", id_, "parts", other]
    assert query_values(query) == {"q": q, "all": "true"}


@given(value=st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True))
def test_an_id_goes_through_as_it_is(value: str) -> None:
    """What the services use for ids is neither refused nor changed."""
    template = CallTemplate.parse("GET /videos/{id}/play")
    assert template.render({"id": value}) == f"/videos/{value}/play"


@given(
    segments=st.lists(
        st.from_regex(r"[A-Za-z0-9_~.;=@!*+,' -]{1,12}", fullmatch=True), min_size=1, max_size=5
    )
)
def test_canonical_form_is_the_decoded_path(segments: list[str]) -> None:
    """A path in its plain form has the decoded segments, however its letters are escaped."""
    path = "".join("/" + quote(segment) for segment in segments)
    escaped = "".join("/" + "".join(f"%{ord(letter):02x}" for letter in segment) for segment in segments)
    wanted = None if {".", ".."} & set(segments) else tuple(segments)
    assert canonical_segments(path) == wanted
    assert canonical_segments(escaped) == wanted
    if wanted is not None:
        assert other_readings(path) >= {wanted}


def resolved(path: str) -> str:
    """Resolve dot segments and join slashes, as a file server does."""
    return posixpath.normpath("/" + path.lstrip("/"))


READERS: tuple[Callable[[str], str], ...] = (
    lambda path: path,
    resolved,
    lambda path: resolved(unquote(path)),
    lambda path: resolved(unquote(path).replace("\\", "/")),
    lambda path: resolved(path.replace("\\", "/")),
    lambda path: path.partition("#")[0],
    lambda path: re.sub(r"/+", "/", path),
    lambda path: re.sub(r"/+", "/", unquote(path)),
)


@pytest.mark.parametrize("dialect", DIALECTS)
@given(call=TARGETS)
def test_what_another_server_reads_as_a_route_is_not_passed_through(
    dialect: Dialect, call: tuple[str, str]
) -> None:
    """No common way of reading a path finds a rewritten route in a request that passes through."""
    method = "GET" if call[0] == "HEAD" else call[0]
    path, _ = split_target(call[1])
    if index(dialect).find(method, path) is not None:
        return
    for read in READERS:
        segments = tuple(part for part in read(path).split("/") if part)
        for pattern, route in index(dialect).entries.get((method, len(segments)), ()):
            assert pattern.match(segments) is None, route.name


def as_express_matches(route: Route) -> re.Pattern[str]:
    """The regular expression that Express makes of a path: any letter case, one trailing slash."""
    path = "".join(
        "/([^/]+?)" if name else "/" + re.escape(segment)
        for name, segment in zip(route.match.names, route.match.segments, strict=True)
    )
    return re.compile(f"{path}/?", re.IGNORECASE | re.ASCII)


@pytest.mark.parametrize("dialect", DIALECTS)
@given(call=TARGETS)
@example(call=("POST", "/api/kaltura/session#?"))
@example(call=("GET", "/api/kaltura/video/.."))
def test_the_activity_server_never_answers_a_rewritten_call_by_pass_through(
    dialect: Dialect, call: tuple[str, str]
) -> None:
    """What Express would match with a mock's handler is rewritten or refused, never passed through."""
    method = "GET" if call[0] == "HEAD" else call[0]
    path, _ = split_target(call[1])
    for route in routes(dialect).values():
        if route.match.method == method and as_express_matches(route).fullmatch(path.partition("#")[0]):
            assert index(dialect).find(call[0], path) is not None


@given(call=TARGETS)
def test_only_a_possible_route_is_ambiguous(call: tuple[str, str]) -> None:
    """Where there is no route at all, nothing is refused for its path."""
    nothing: PathIndex[str] = PathIndex.of([])
    elsewhere = PathIndex.of([(PathPattern.parse("GET /zzz/zzz/zzz/zzz/zzz/zzz/zzz/zzz/zzz/zzz/zzz"), "far")])
    path, _ = split_target(call[1])
    assert nothing.find(call[0], path) is None
    assert elsewhere.find(call[0], path) is not AMBIGUOUS
