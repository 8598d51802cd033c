"""What `explain` says of requests."""

import json
import re
from pathlib import Path

import pytest

from proxy.explain import explain
from tests.running import configured

SESSION_BODY = '{"videoId": "1_abc", "userId": "80351110224678912"}'


def said(folder: Path, method: str, target: str, body: str = "", text: str = "") -> list[str]:
    """The lines of an explanation, with single blanks."""
    lines = explain(configured(folder, text), method, target, body)
    return [" ".join(line.split()) for line in lines]


def test_the_key_of_a_kept_answer_is_told(tmp_path: Path) -> None:
    """Spellings of the same call have one key; a session has none, nor has anything in mode live."""

    def key(method: str, target: str, body: str = "", text: str = "") -> str | None:
        lines = said(tmp_path, method, target, body, text)
        return next((line for line in lines if line.startswith("cache key")), None)

    found = key("GET", "/api/kaltura/videos?page=1&utm=x")
    assert found is not None
    assert re.fullmatch(r"cache key videos:[0-9a-f]{16}:page=1&pageSize=30", found)
    assert key("GET", "/api/kaltura/videos") == found
    assert key("POST", "/api/kaltura/session", SESSION_BODY) is None
    assert key("GET", "/api/kaltura/videos", text="mode: live") is None


def test_a_rewritten_call_is_explained_from_route_to_ladder(tmp_path: Path) -> None:
    """A video's lines name route, table, values, call, masked headers and ladder."""
    lines = said(tmp_path, "GET", "/.proxy/api/kaltura/video/1_abc?x=1")
    assert [line for line in lines if not line.startswith("cache key")] == [
        "route video: GET /api/kaltura/video/{videoId}",
        "dialect plan and newer",
        "values videoId='1_abc'",
        "call GET http://127.0.0.1:1/api/videos/1_abc",
        "headers Accept: application/json; Authorization: Bearer **** (service); X-Request-Id",
        "repeated yes",
        "breaker catalog",
        "ladder gateway -> stale -> canned -> honest error (mode auto)",
    ]


def test_a_route_that_auto_chooses_is_explained_by_both_tables(tmp_path: Path) -> None:
    """The session's two ways are both there, with the bodies that would be sent."""
    lines = said(tmp_path, "POST", "/api/kaltura/session", SESSION_BODY)
    assert [line for line in lines if line.startswith("call")] == [
        "call POST http://127.0.0.1:1/api/videos/1_abc/session",
        "call POST http://127.0.0.1:1/api/auth/token",
    ]
    assert 'body {"userId":"80351110224678912","type":0,"privileges":"sview:1_abc"}' in lines
    assert 'body {"discordId":"activity-proxy","username":"Activity Proxy","roles":[]}' in lines
    assert lines.count("repeated only if the connection was never made") == 2


def test_who_is_signed_in_is_explained_with_their_own_id(tmp_path: Path) -> None:
    """A claimed user id is shown where it counts, and the viewer's own where that would be sent."""
    claimed, known = '"userId":"80351110224678912"', '"userId":"DISCORD_ID"'
    rest = ',"type":0,"privileges":"sview:1_abc"}'
    login = '{"discordId":"DISCORD_ID","username":"USERNAME","roles":["r"]}'
    lines = said(tmp_path, "POST", "/api/kaltura/session", SESSION_BODY, "identity: {roles: [r]}")
    assert [line for line in lines if line.startswith(("body", "signed in"))] == [
        f"body {{{claimed}{rest}",
        f"signed in {{{known}{rest}",
        'body {"discordId":"activity-proxy","username":"Activity Proxy","roles":[]}',
        f"signed in {login}",
    ]
    production = said(tmp_path, "POST", "/api/kaltura/session", SESSION_BODY, "environment: production")
    assert f'body {{"userId":"anonymous"{rest}' in production
    only = "identity: {required: true, roles: [r]}"
    required = said(tmp_path, "POST", "/api/kaltura/session", SESSION_BODY, only)
    values = "values videoId='1_abc', userId='DISCORD_ID'"
    assert [line for line in required if line.startswith(("values", "body", "signed in"))] == [
        values,
        f"body {{{known}{rest}",
        values,
        f"body {login}",
    ]


@pytest.mark.parametrize(
    ("method", "target", "body", "expected"),
    [
        ("GET", "/index.html", "", "passes GET http://127.0.0.1:1/index.html"),
        ("GET", "http://h/index.html", "", "passes GET http://127.0.0.1:1/index.html"),
        ("GET", "/a\udcff?b=\udcff", "", "passes GET http://127.0.0.1:1/a\\udcff?b=\\udcff"),
        (
            "GET",
            "/api/kaltura/videos#x",
            "",
            "refused 400 invalid_target: '/api/kaltura/videos#x' is not a path",
        ),
        (
            "GET",
            "/api/kaltura/video/\udcff",
            "",
            "refused 400 ambiguous_path: the path can be read in more than one way",
        ),
        ("DELETE", "/api/kaltura/videos", "", "passes DELETE http://127.0.0.1:1/api/kaltura/videos"),
        ("GET", "index.html", "", "refused 400 invalid_target: 'index.html' is not a path"),
        (
            "GET",
            "/api/kaltura/video/a%2fb",
            "",
            "refused 400 ambiguous_path: the path can be read in more than one way",
        ),
        (
            "GET",
            "/api/kaltura/videos/search",
            "",
            "refused 400 invalid_request: query parameter is required",
        ),
        ("POST", "/api/kaltura/session", "", "refused 400 invalid_request: videoId is required"),
        ("POST", "/api/kaltura/session", "[]", "refused 400 invalid_request: the body is not a JSON object"),
    ],
)
def test_what_is_not_called_is_said_to_be(
    tmp_path: Path, method: str, target: str, body: str, expected: str
) -> None:
    """Pass-through and refusals are told with their reason, last."""
    assert said(tmp_path, method, target, body)[-1] == expected


def test_a_body_that_is_not_json_is_told(tmp_path: Path) -> None:
    """A broken body is refused with what is wrong in it."""
    assert "the body is not JSON" in said(tmp_path, "POST", "/api/kaltura/session", "{no")[-1]


def test_a_call_of_the_activity_servers_own_has_no_gateway(tmp_path: Path) -> None:
    """The token exchange names its ladder and no call."""
    lines = said(tmp_path, "POST", "/api/token")
    assert lines[-1] == "ladder activity -> honest error (mode auto)"
    assert not [line for line in lines if line.startswith("call")]


def test_no_secret_is_said(tmp_path: Path) -> None:
    """Neither token nor admin token is in an explanation."""
    text = "{gateway: {token: s3cret-one, dialect: plan}, admin_token: s3cret-two}"
    for method, target in (("GET", "/api/kaltura/video/1_abc"), ("POST", "/api/kaltura/session")):
        assert "s3cret" not in "\n".join(said(tmp_path, method, target, SESSION_BODY, text))


def test_bytes_that_are_no_text_are_explained(tmp_path: Path) -> None:
    """A search for them is called with what stands for them, and every line can be written out."""
    lines = said(tmp_path, "GET", "/api/kaltura/videos/search?query=\udcff")
    assert [line for line in lines if line.startswith("call")] == [
        "call GET http://127.0.0.1:1/api/videos/search?q=%3F&limit=30&page=1"
    ]
    assert "\n".join(lines).encode()


def test_a_route_of_one_table_says_so(tmp_path: Path) -> None:
    """The details, which only the plan has, come from there in any case."""
    lines = said(tmp_path, "GET", "/api/kaltura/video/1_abc/details")
    assert "dialect plan (auto takes it from there; not in newer)" in lines
    alone = said(tmp_path, "GET", "/api/kaltura/video/1_abc/details", text="gateway: {dialect: plan}")
    assert "dialect plan" in alone


def test_a_body_with_built_in_values_is_explained(tmp_path: Path) -> None:
    """Time and partner are there for a body, as they are for a real call."""
    send = "{at: '{{now}}', ms: '{{nowMs}}', partner: '{{partnerId}}', id: '{{videoId}}'}"
    text = f"{{kaltura: {{partner_id: 5896392}}, routes: {{play: {{send: {send}}}}}}}"
    (body,) = (
        line.removeprefix("body ")
        for line in said(tmp_path, "POST", "/api/kaltura/video/1_abc/play", text=text)
        if line.startswith("body")
    )
    sent = json.loads(body)
    assert (sent["partner"], sent["id"]) == ("5896392", "1_abc")
    assert sent["at"].endswith("Z")
    assert sent["ms"] > 1.7e12


def test_a_value_that_no_call_can_carry_is_refused(tmp_path: Path) -> None:
    """A segment that could be read in two ways is a 400, as it is for a real call."""
    text = "routes: {play: {input: {videoId: {from: path, pattern: '.+'}}}}"
    lines = said(tmp_path, "POST", "/api/kaltura/video/a%252fb/play", text=text)
    assert lines[-1].startswith("refused 400 invalid_request: ")


DIRECT = "kaltura: {enabled: true, partner_id: 42, admin_secret: the-admin-secret}\ngateway: {dialect: newer}"


def test_direct_kaltura_is_explained_with_its_form(tmp_path: Path) -> None:
    """What would be asked of Kaltura is there, with secret and KS masked; while it is off, nothing."""
    lines = said(tmp_path, "GET", "/api/kaltura/videos/search?query=cats&page=2", text=DIRECT)
    assert "kaltura POST https://www.kaltura.com/api_v3/service/media/action/list" in lines
    assert (
        "form format=1, ks=****, filter[objectType]=KalturaMediaEntryFilter, filter[freeText]=cats, "
        "filter[orderBy]=-createdAt, pager[pageSize]=30, pager[pageIndex]=2"
    ) in lines
    assert "ladder gateway -> stale -> kaltura -> canned -> honest error (mode auto)" in lines
    session = said(tmp_path, "POST", "/api/kaltura/session", SESSION_BODY, text=DIRECT)
    assert (
        "form format=1, partnerId=42, secret=****, type=0, expiry=14400, privileges=sview:1_abc, "
        "userId=80351110224678912"
    ) in session
    assert (
        "signed in format=1, partnerId=42, secret=****, type=0, expiry=14400, privileges=sview:1_abc, "
        "userId=discord_DISCORD_ID"
    ) in session
    assert "the-admin-secret" not in "\n".join([*lines, *session])
    off = said(tmp_path, "GET", "/api/kaltura/videos", text=DIRECT + "\nmode: live")
    assert not [line for line in off if line.startswith(("kaltura", "form"))]


def test_a_user_that_kaltura_would_misread_is_explained_as_refused(tmp_path: Path) -> None:
    """The 400 that the source would give is told in its place."""
    body = '{"videoId": "1_abc", "userId": "x;0;edit:*"}'
    lines = said(tmp_path, "POST", "/api/kaltura/session", body, text=DIRECT)
    assert "kaltura 400 invalid_request: userId is not valid" in lines
