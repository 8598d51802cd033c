"""What a request may ask for: targets, methods, hosts (RFC 9110 sections 7.2 and 9.3, RFC 9112 section 3)."""

from pathlib import Path

import pytest

from tests.hostile import attacked
from tests.origins import request

END = b"Connection: close"


def asking(start: bytes, *hosts: bytes, version: bytes = b"1.1") -> bytes:
    """Write a request with these Host fields, after which the connection ends."""
    fields = b"".join(b"Host: " + host + b"\r\n" for host in hosts)
    return start + b" HTTP/" + version + b"\r\n" + fields + END + b"\r\n\r\n"


@pytest.mark.parametrize(
    "start",
    [b"CONNECT evil.example:443", b"CONNECT /x", b"TRACE /x", b"TRACE http://activity.example/x"],
)
async def test_connect_and_trace_are_not_for_this_server(start: bytes, tmp_path: Path) -> None:
    """No tunnel to elsewhere is made, and nothing echoes the cookies that a browser hides from scripts."""
    async with attacked(tmp_path) as stage:
        answer = await stage.refused(request(start, b"Cookie: s3cr3t", END), 405)
    assert b"s3cr3t" not in answer
    assert b"\r\nAllow: GET, " in answer


@pytest.mark.parametrize(
    "target",
    [
        b"http://evil.example/x",
        b"http://activity.example:81/x",
        b"http://u:p@activity.example/x",
        b"http:///x",
        b"ftp://activity.example/x",
        b"//evil.example/x#y",
        b"/x#y",
        b"evil.example:443",
        b"x",
        b"*",
    ],
)
async def test_a_target_that_is_no_path_of_this_host_reaches_nobody(target: bytes, tmp_path: Path) -> None:
    """Only a path, or an absolute form that names the Host itself, is served."""
    async with attacked(tmp_path) as stage:
        await stage.refused(request(b"GET " + target, END))


async def test_an_absolute_target_goes_on_as_its_path(tmp_path: Path) -> None:
    """The Activity server never sees an authority other than the Host."""
    async with attacked(tmp_path) as stage:
        message = await stage.passed(request(b"GET HTTP://Activity.Example/x?y=http://z/", END))
    assert (message.target, message.one("Host")) == (b"/x?y=http://z/", b"activity.example")


@pytest.mark.parametrize(
    "hosts",
    [
        [],
        [b"a", b"b"],
        [b"a", b"a"],
        [b"a, b"],
        [b"a b"],
        [b"a/b"],
        [b"a\\b"],
        [b"a?b"],
        [b"a#b"],
        [b"a@b"],
        [b"u:p@a"],
        [b"a:80x"],
        [b"a:80:81"],
        [b"http://a"],
        [b"[::1"],
        [b"::1"],
        [b"a%zz"],
        [b"<a>"],
        [b"\xc3\xa9"],
    ],
)
async def test_a_host_that_is_none_or_more_than_one_reaches_nobody(
    hosts: list[bytes], tmp_path: Path
) -> None:
    """HTTP/1.1 wants exactly one, and that a host with a port at most."""
    async with attacked(tmp_path) as stage:
        await stage.refused(asking(b"GET /x", *hosts))


@pytest.mark.parametrize(
    "host", [b"a", b"A.b-c_d~e:8080", b"127.0.0.1:", b"[::1]:3001", b"[fe80::1]", b"a%2Eb", b""]
)
async def test_a_sound_host_goes_on_as_it_came(host: bytes, tmp_path: Path) -> None:
    """The Activity server sees the Host that the client asked, to the byte."""
    async with attacked(tmp_path) as stage:
        message = await stage.passed(asking(b"GET /x", host))
    assert (message.one("Host"), message.one("X-Forwarded-Host")) == (host, host)


async def test_http_1_0_may_have_no_host_but_not_two(tmp_path: Path) -> None:
    """Nothing is invented as the Host that was asked."""
    async with attacked(tmp_path) as stage:
        await stage.refused(asking(b"GET /x", b"a", b"b", version=b"1.0"))
        stage.activity.received.clear()
        message = await stage.passed(asking(b"GET /x", version=b"1.0"))
    assert message.one("X-Forwarded-Host") is None


async def test_connection_names_no_field_away_that_all_need(tmp_path: Path) -> None:
    """Neither the Host nor the length of a body, nor what a trusted proxy said of the client."""
    named = b"Connection: close, Host, Content-Length, X-Forwarded-For, x-forwarded-proto, Via, X-Own"
    fields = [b"X-Forwarded-For: 198.51.100.7", b"X-Forwarded-Proto: https", b"Via: 1.1 edge", b"X-Own: 1"]
    async with attacked(
        tmp_path, "gateway: {token: t, dialect: plan}\ntrusted_proxies: [127.0.0.0/8]"
    ) as stage:
        message = await stage.passed(request(b"POST /x", named, *fields, b"Content-Length: 1", body=b"a"))
    assert message.one("Host") == b"activity.example"
    assert (message.one("Content-Length"), message.body) == (b"1", b"a")
    assert message.one("X-Forwarded-For") == b"198.51.100.7, 127.0.0.1"
    assert message.one("X-Forwarded-Proto") == b"https"
    assert message.one("Via") == b"1.1 edge, 1.1 activity-proxy"
    assert message.one("X-Own") is None


async def test_what_a_client_says_in_another_s_name_is_dropped(tmp_path: Path) -> None:
    """Neither as a proxy before this one, nor as this one, in any spelling."""
    claims = [b"X-Forwarded-For", b"x-forwarded-HOST", b"X_Forwarded_For", b"X-Forwarded-User", b"Forwarded"]
    claims += [b"X-Real-IP", b"Activity-Proxy-Source", b"activity_proxy_user"]
    async with attacked(tmp_path) as stage:
        message = await stage.passed(request(b"GET /x", END, *(name + b": evil" for name in claims)))
    assert b"evil" not in {value for _, value in message.fields}
    assert message.one("X-Forwarded-For") == b"127.0.0.1"


@pytest.mark.parametrize(
    "path",
    [
        b"/api/kaltura/video/..%2fsearch",
        b"/api/kaltura/video/%2e%2e/videos",
        b"/api/kaltura/video/1_a%2fplay",
        b"/api/kaltura/video/1_a%5cplay",
        b"/api/kaltura/video/1_a\\play",
        b"/api/kaltura/./video/1_a",
        b"/api/kaltura/x/../video/1_a",
        b"/api//kaltura/video/1_a",
        b"/.proxy/api/kaltura/x/../video/1_a",
        b"/api/kaltura/video/1_a%00",
        b"/api/kaltura/video/1_a%0d%0aX:%20y",
        b"/api/kaltura/video/%252e%252e",
        b"/api/kaltura/video/search",
    ],
)
async def test_a_path_with_two_readings_reaches_nobody(path: bytes, tmp_path: Path) -> None:
    """Dot segments, encoded slashes and ids that are none are refused before anyone is asked."""
    async with attacked(tmp_path) as stage:
        await stage.refused(request(b"GET " + path, END))
