"""Matching paths, and writing those of the gateway's calls."""

import pytest

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
from tests.tables import DIALECTS, Dialect, index

VIDEO = "/api/kaltura/video/1_e0000003"


def name_found(dialect: Dialect, method: str, path: str) -> str | None:
    """The name of the route that a request is for."""
    found = index(dialect).find(method, path)
    return found[0].name if isinstance(found, tuple) else None


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/a/b", "/a/b", ""),
        ("/a?b=c", "/a", "b=c"),
        ("/a?b=c?d", "/a", "b=c?d"),
        ("/a?", "/a", ""),
    ],
)
def test_target_is_split_at_the_first_question_mark(target: str, path: str, query: str) -> None:
    """The query begins behind the first question mark and may hold others."""
    assert split_target(target) == (path, query)


@pytest.mark.parametrize(
    ("target", "bare"),
    [
        ("/.proxy/api/token", "/api/token"),
        ("/.proxy/api/token?x=/.proxy/y", "/api/token?x=/.proxy/y"),
        ("/.proxy/.proxy/api/token", "/.proxy/api/token"),
        ("/.proxy//api/token", "//api/token"),
        ("/.proxy/", "/"),
        ("/.proxy", "/"),
        ("/.proxy?x=1", "/?x=1"),
        ("/.proxyfoo/api/token", "/.proxyfoo/api/token"),
        ("/.PROXY/api/token", "/.PROXY/api/token"),
        ("/api/.proxy/token", "/api/.proxy/token"),
        ("/%2eproxy/api/token", "/%2eproxy/api/token"),
        ("/api/token", "/api/token"),
        ("/", "/"),
    ],
)
def test_discord_prefix_goes_once_and_only_as_a_segment(target: str, bare: str) -> None:
    """`/.proxy/X` is `/X`, taken off once, only in front and only as Discord writes it."""
    assert without_discord_prefix(target) == bare


@pytest.mark.parametrize(
    ("path", "segments"),
    [
        ("/a/b", ("a", "b")),
        ("/a/b/", ("a", "b")),
        ("/%61/%7Eb", ("a", "~b")),
        ("/caf%C3%A9", ("café",)),
        ("/a%20b", ("a b",)),
        ("/a;b=1", ("a;b=1",)),
        ("/...", ("...",)),
        ("/%252e%252e", ("%2e%2e",)),
    ],
)
def test_plain_path_has_one_reading(path: str, segments: tuple[str, ...]) -> None:
    """Escapes are decoded once and one trailing slash does not count."""
    assert canonical_segments(path) == segments


@pytest.mark.parametrize(
    "path",
    [
        "",
        "*",
        "a/b",
        "/",
        "//",
        "//a",
        "/a//b",
        "/a//",
        "/./a",
        "/a/.",
        "/a/..",
        "/a/%2e%2E",
        "/a/.%2e/b",
        "/a%2fb",
        "/a%2Fb",
        "/a\\b",
        "/a%5cb",
        "/a%00",
        "/a%0d%0ab",
        "/a%7f",
        "/a%c2%a0b",
        "/a%zz",
        "/a%",
        "/a%2",
        "/a%ff",
        "/a%c0%ae",
        "/a#b",
    ],
)
def test_doubtful_path_has_no_one_reading(path: str) -> None:
    """Dot segments, empty segments, encoded slashes, controls, bad escapes and fragments are doubtful."""
    assert canonical_segments(path) is None


@pytest.mark.parametrize(
    ("path", "reading"),
    [
        ("/a//b", ("a", "b")),
        ("/a%2fb", ("a/b",)),
        ("/a%2fb", ("a", "b")),
        ("/a\\b", ("a", "b")),
        ("/a/../b", ("b",)),
        ("/a/../b", ("a", "..", "b")),
        ("/a/./b", ("a", "b")),
        ("/../a", ("a",)),
        ("/a//../b", ("a", "b")),
        ("/a//../b", ("b",)),
        ("/a/b%2fc/../d", ("a", "d")),
        ("/a/b%2fc/../d", ("a", "b", "d")),
        ("/a#/b", ("a",)),
        ("/a#/b", ("a#", "b")),
    ],
)
def test_other_servers_readings_are_known(path: str, reading: tuple[str, ...]) -> None:
    """Whatever a server does with slashes, escapes, dots and fragments is among the readings."""
    assert reading in other_readings(path)


def test_what_was_found_last_is_found_again() -> None:
    """Without another search, and never in another one's place."""
    index = PathIndex.of([(PathPattern.parse("GET /a/{x}"), "a"), (PathPattern.parse("POST /a/{x}"), "b")])
    found = index.find("GET", "/a/1")
    assert index.find("GET", "/a/1") is found == ("a", {"x": "1"})
    for method, path, wanted in (
        ("POST", "/a/1", ("b", {"x": "1"})),
        ("GET", "/a/2", ("a", {"x": "2"})),
        ("GET", "/other", None),
        ("GET", "/a/1", ("a", {"x": "1"})),
    ):
        assert index.find(method, path) == wanted


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("GET", VIDEO, "video"),
        ("HEAD", VIDEO, "video"),
        ("GET", VIDEO + "/", "video"),
        ("GET", "/API/Kaltura/VIDEO/1_e0000003", "video"),
        ("GET", "/api/kaltura/%76ideo/1_e0000003", "video"),
        ("GET", "/api/kaltura/videos", "videos"),
        ("GET", "/api/kaltura/videos/", "videos"),
        ("GET", "/api/kaltura/videos/search", "search"),
        ("POST", "/api/kaltura/session", "session"),
        ("POST", VIDEO + "/play", "play"),
        ("POST", "/api/token", "token"),
    ],
)
def test_rewritten_calls_find_their_route(dialect: Dialect, method: str, path: str, name: str) -> None:
    """Each of the Activity server's calls finds its route, in any letter case and with a trailing slash."""
    assert name_found(dialect, method, path) == name


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("OPTIONS", "/api/kaltura/session"),
        ("GET", "/api/kaltura/session"),
        ("HEAD", "/api/kaltura/session"),
        ("DELETE", VIDEO),
        ("get", VIDEO),
        ("GET", VIDEO + "/play"),
        ("GET", "/api/kaltura/video"),
        ("GET", "/api/kaltura/video/"),
        ("GET", "/api/kaltura/videos/search/more"),
        ("GET", "/api/health"),
        ("GET", "/.proxy/api/kaltura/videos"),
        ("GET", "/"),
        ("OPTIONS", "*"),
        ("GET", "/assets//logo.png"),
        ("GET", "/a/%2e%2e/b"),
        ("GET", "/api/kaltura/session/../other"),
    ],
)
def test_other_requests_are_no_concern(dialect: Dialect, method: str, path: str) -> None:
    """Another method or another path is passed through, also a doubtful one that no route could be."""
    assert index(dialect).find(method, path) is None


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/kaltura/video/%2e%2e"),
        ("GET", "/api/kaltura/video/.."),
        ("GET", "/api/kaltura/video/a%2fb"),
        ("GET", "/api/kaltura/video/a%5Cb"),
        ("GET", "/api/kaltura/video/a\\b"),
        ("GET", "/api/kaltura/video/a%00"),
        ("GET", "/api/kaltura/video/a%ff"),
        ("GET", "/api/kaltura/video/a%zz"),
        ("HEAD", "/api/kaltura/video/a%zz"),
        ("GET", "/api//kaltura/videos"),
        ("GET", "//api/kaltura/videos"),
        ("GET", "/api/kaltura/videos//"),
        ("GET", "/api/kaltura/./videos"),
        ("GET", "/x/../api/kaltura/videos"),
        ("GET", "/x%2f..%2fapi/kaltura/videos"),
        ("GET", "/api\\kaltura\\videos"),
        ("POST", "/api/kaltura//../session"),
        ("POST", "/api/kaltura/session#"),
        ("POST", "/api/kaltura/session#/play"),
        ("POST", "/api/token#x"),
    ],
)
def test_doubtful_path_that_may_be_a_route_is_ambiguous(dialect: Dialect, method: str, path: str) -> None:
    """A path that some server would read as a rewritten call is told from one that none would."""
    assert index(dialect).find(method, path) is AMBIGUOUS


def test_literal_segment_goes_before_a_parameter() -> None:
    """Of two patterns that match, the more literal one wins, whichever was declared first."""
    patterns = [PathPattern.parse(text) for text in ("GET /a/{x}", "GET /a/{y}/{z}", "GET /a/b", "POST /a/b")]
    for order in (patterns, patterns[::-1]):
        index_ = PathIndex.of([(pattern, str(pattern)) for pattern in order])
        assert index_.find("GET", "/a/B") == ("GET /a/b", {})
        assert index_.find("GET", "/a/c") == ("GET /a/{x}", {"x": "c"})
        assert index_.find("GET", "/a/b/c") == ("GET /a/{y}/{z}", {"y": "b", "z": "c"})


def test_parameter_keeps_its_letter_case() -> None:
    """Ids differ by letter case, though literal segments do not."""
    found = PathPattern.parse("GET /Things/{thingId}").match(("tHINGS", "AbC"))
    assert found == {"thingId": "AbC"}


def test_pattern_knows_its_parameters() -> None:
    """A pattern tells its parameters in order and is written as it was read."""
    pattern = PathPattern.parse("POST /a/{one}/b/{two}")
    assert pattern.parameters == ("one", "two")
    assert str(pattern) == "POST /a/{one}/b/{two}"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("/a", "is not a method and a path"),
        ("FETCH /a", "is not a method and a path"),
        ("HEAD /a", "is not a method and a path"),
        ("get /a", "is not a method and a path"),
        ("GET a", "is not a method and a path"),
        ("GET", "is not a method and a path"),
        ("GET  /a", "is not a method and a path"),
        ("GET /a b", "printable ASCII"),
        ("GET /a\tb", "printable ASCII"),
        ("GET /é", "printable ASCII"),
        ("GET /a#b", "printable ASCII"),
        ("GET /a?b=c", "cannot hold a query"),
        ("GET /", "is not a plain path"),
        ("GET /a/", "is not a plain path"),
        ("GET /a//b", "is not a plain path"),
        ("GET /a/../b", "is not a plain path"),
        ("GET /a%2fb", "is not a plain path"),
        ("GET /a/x{id}", "a whole segment"),
        ("GET /a/{id}x", "a whole segment"),
        ("GET /a/{}", "a whole segment"),
        ("GET /a/{1}", "a whole segment"),
        ("GET /a/{id", "a whole segment"),
        ("GET /a/id}", "a whole segment"),
        ("GET /{a}/{b}/{a}", "{a} is given twice"),
    ],
)
def test_unsound_pattern_is_refused(text: str, problem: str) -> None:
    """A pattern that could not match as meant is refused, and it is said why."""
    with pytest.raises(ValueError, match=problem):
        PathPattern.parse(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("GET videos", "is not a method and a path"),
        ("GET /videos/", "is not a plain path"),
        ("GET /videos/..", "is not a plain path"),
        ("GET /videos/v{id}", "a slot stands alone"),
        ("GET /videos/{id", "a slot stands alone"),
        ("GET /videos/id}", "a slot stands alone"),
        ("GET /videos#x", "printable ASCII"),
        ("GET /videos?q=a#b", "printable ASCII"),
        ("GET /videos?q=a\nb", "printable ASCII"),
        ("GET /videos?q", "is not name=value"),
        ("GET /videos?=q", "is not name=value"),
        ("GET /videos?a=b&&c=d", "is not name=value"),
        ("GET /videos?{q}=a", "is not name=value"),
        ("GET /videos?q}=a", "is not name=value"),
        ("GET /videos?q=a{b}", "a slot stands alone"),
    ],
)
def test_unsound_call_is_refused(text: str, problem: str) -> None:
    """A call that could not be made as meant is refused, and it is said why."""
    with pytest.raises(ValueError, match=problem):
        CallTemplate.parse(text)


def test_call_is_rendered_with_escaped_values() -> None:
    """Each value becomes one segment or one query value, and the literals stay as they are written."""
    call = CallTemplate.parse("GET /videos/{id}/x%20y?q={query}&limit={n}&all=")
    assert call.names == {"id", "query", "n"}
    values = {"id": "1_é b", "query": "a&b=c#d?/%", "n": 3}
    assert call.render(values) == "/videos/1_%C3%A9%20b/x%20y?q=a%26b%3Dc%23d%3F%2F%25&limit=3&all="
    assert CallTemplate.parse("POST /videos").render({}) == "/videos"


@pytest.mark.parametrize("text", ["GET /videos/{id}/x?q={query}&limit=1", "POST /videos", "GET /v?q="])
def test_call_is_written_as_it_was_read(text: str) -> None:
    """A call tells itself in the words of the route table."""
    assert str(CallTemplate.parse(text)) == text


@pytest.mark.parametrize(
    "value", ["", ".", "..", "%2e", "%2E%2e", "%252e.", "a/b", "a%2fb", "a%252Fb", "a\\b", "%5c", "\0", "%00"]
)
def test_value_that_is_no_segment_is_refused(value: str) -> None:
    """A value that some server would read as more or less than one segment never enters a path."""
    with pytest.raises(ValueError, match="id cannot be a path segment"):
        CallTemplate.parse("GET /videos/{id}").render({"id": value})
