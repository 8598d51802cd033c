"""A request that has come by this proxy before is not sent round again."""

import pytest

from tests.listener_fakes import listening

VIDEO = "/api/kaltura/video/1_cats"


@pytest.mark.parametrize("target", [VIDEO, "/index.html", "/api/token", "/api//kaltura/videos"])
@pytest.mark.parametrize(
    "via",
    [
        "1.1 activity-proxy",
        "1.0 edge, 1.1 activity-proxy",
        "HTTP/1.1 activity-proxy (of ours), 1.1 edge",
        "1.1 Activity-Proxy",
    ],
)
async def test_a_loop_is_refused(target: str, via: str) -> None:
    """`Via` that names this proxy is a 508 for all routes, and nobody is asked."""
    async with listening() as it:
        assert await it.refused("GET", target, headers={"Via": via}) == (508, "loop_detected")
        ended = await it.ended()
    assert not it.passed.targets
    assert not it.source.calls
    assert (ended.status, ended.source) == (508, "error")


async def test_a_loop_is_seen_in_any_of_the_fields() -> None:
    """The field may be there more than once."""
    async with listening() as it:
        got = await it.raw(b"GET " + VIDEO.encode(), b"Via: 1.1 edge", b"Via: 1.1 activity-proxy")
    assert got.status == 508


@pytest.mark.parametrize(
    "via", ["", ",", "1.1", "1.1 edge", "1.1 activity-proxy-2", "1.1 edge activity-proxy"]
)
async def test_other_proxies_are_no_loop(via: str) -> None:
    """What came by others, or holds the name elsewhere, goes its way."""
    async with listening() as it:
        assert (await it.send("GET", VIDEO, headers={"Via": via})).status == 200
        assert (await it.send("GET", "/", headers={"Via": via})).status == 204
