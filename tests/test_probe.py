"""What `probe` finds out of each release."""

import shutil
from pathlib import Path

import pytest

from proxy.lookup import carried_directory
from proxy.probe import probe
from proxy.sandbox import Sandbox
from proxy.sandbox_faults import Fault, Faults
from proxy.sandbox_releases import GatewayManner
from tests.running import configured
from tests.token_bench import jwt


async def probed(folder: Path, sandbox: Sandbox, text: str = "") -> tuple[int, list[str]]:
    """The exit status of a probe and its lines, with single blanks."""
    said: list[str] = []
    configuration = configured(folder, text, gateway=sandbox.gateway_url)
    status = await probe(configuration, said.append)
    return status, [" ".join(line.split()) for line in said]


@pytest.mark.parametrize(
    ("manner", "fits", "details"),
    [
        ("plan", "plan (auto chooses it by itself)", "supported"),
        ("older", "newer (auto chooses it by itself)", "supported"),
        ("newer", "newer (auto chooses it by itself)", "not usable: the gateway has no such call"),
        ("development", "newer (auto chooses it by itself)", "not usable: the gateway has no such call"),
    ],
)
async def test_it_says_which_dialect_fits_and_what_there_is(
    tmp_path: Path, manner: GatewayManner, fits: str, details: str
) -> None:
    """Each release is told by its table and by whether it has the details call."""
    async with Sandbox(manner=manner) as sandbox:
        status, lines = await probed(tmp_path, sandbox)
    assert status == 0
    assert lines[-1] == f"fits {fits}"
    assert f"details GET /kaltura/video/{{videoId}} {details} (plan)" in lines
    assert "token got by logging in" in lines
    assert [line for line in lines if line.startswith("health well")]


async def test_it_shows_no_token_and_no_url_with_a_ks(tmp_path: Path) -> None:
    """Nothing that the gateway gave is in the output."""
    async with Sandbox() as sandbox:
        _, lines = await probed(tmp_path, sandbox)
    assert "eyJ" not in "\n".join(lines)
    assert "ks=" not in "\n".join(lines)


async def test_a_gateway_that_is_away_is_a_failure(tmp_path: Path) -> None:
    """Without a gateway the probe says so and ends with 1."""
    async with Sandbox() as sandbox:
        await sandbox.gateway.offline()
        status, lines = await probed(tmp_path, sandbox)
    assert status == 1
    assert "health no answer on /health" in lines
    assert lines[-1].startswith("token none: ")


async def test_a_gateway_whose_calls_fail_is_a_failure(tmp_path: Path) -> None:
    """A login that works is not enough: the calls are judged, and what is not known is not guessed."""
    async with Sandbox() as sandbox:
        sandbox.gateway.faults = Faults(routes=Fault(status=503))
        status, lines = await probed(tmp_path, sandbox)
    assert status == 1
    assert "video GET /videos/{videoId} not usable: the gateway answered 503 (plan, newer)" in lines
    assert lines[-1].startswith("fits not known")


async def test_a_gateway_that_hangs_ends_the_probe_all_the_same(tmp_path: Path) -> None:
    """A call without an answer is told as such, after the attempt's time."""
    async with Sandbox() as sandbox:
        sandbox.gateway.faults = Faults(routes=Fault(answer="hang"))
        text = "gateway: {timeout: {connect: 20ms, attempt: 20ms}, token: a-fixed-one}"
        status, lines = await probed(tmp_path, sandbox, text)
    assert status == 1
    assert "token as configured" in lines
    assert "play POST /videos/{videoId}/play no answer (plan, newer)" in lines


async def test_a_call_that_is_refused_is_told(tmp_path: Path) -> None:
    """A 400 from the gateway is told as a refusal."""
    async with Sandbox() as sandbox:
        sandbox.gateway.faults = Faults(routes=Fault(status=400))
        _, lines = await probed(tmp_path, sandbox)
    assert "video GET /videos/{videoId} refused with 400 (plan, newer)" in lines


async def test_a_configured_token_that_is_refused_is_replaced(tmp_path: Path) -> None:
    """What `run` would do with a refused token the probe does too, and says so."""
    async with Sandbox() as sandbox:
        status, lines = await probed(tmp_path, sandbox, "gateway: {token: not-the-gateways}")
    assert status == 0
    assert [line for line in lines if line.startswith("token")] == [
        "token the configured one is refused; got by logging in"
    ]
    assert "video GET /videos/{videoId} supported (plan, newer)" in lines


async def test_a_configured_token_that_is_over_is_replaced(tmp_path: Path) -> None:
    """A token from last week is not taken for a good one."""
    async with Sandbox() as sandbox:
        status, lines = await probed(tmp_path, sandbox, f"gateway: {{token: {jwt(exp=1)}}}")
    assert status == 0
    assert "token the configured one is over; got by logging in" in lines


async def test_a_refused_token_without_a_login_is_a_failure(tmp_path: Path) -> None:
    """Where no login helps the probe ends with 1."""
    async with Sandbox() as sandbox:
        sandbox.gateway.faults = Faults(auth=Fault(status=503))
        status, lines = await probed(tmp_path, sandbox, "gateway: {token: not-the-gateways}")
    assert status == 1
    assert lines[-1].startswith("token none: ")


@pytest.mark.parametrize(
    ("dialect", "said"),
    [
        ("newer", "configured newer: all its calls are supported"),
        ("plan", "configured plan: not supported: details, session"),
        ("mine.yaml", "configured mine.yaml: all its calls are supported"),
        ("auto", "fits newer (auto chooses it by itself)"),
    ],
)
async def test_it_says_how_the_configured_dialect_fits(tmp_path: Path, dialect: str, said: str) -> None:
    """A named table, a file of one's own too, is held against what the gateway has."""
    shutil.copy(carried_directory() / "dialects" / "newer.yaml", tmp_path / "mine.yaml")
    async with Sandbox(manner="newer") as sandbox:
        _, lines = await probed(tmp_path, sandbox, f"gateway: {{dialect: {dialect}}}")
    assert lines[-1] == said


def directly(sandbox: Sandbox, secret: str) -> str:
    """Return a configuration with direct Kaltura at the sandbox."""
    url, partner = sandbox.kaltura.url, sandbox.kaltura.partner_id
    return f"kaltura: {{enabled: true, url: '{url}', partner_id: {partner}, admin_secret: {secret}}}"


async def test_direct_kaltura_is_asked_too(tmp_path: Path) -> None:
    """Where it is switched on, each kind of call is made once, and its outcome told; else none is."""
    async with Sandbox() as sandbox:
        status, lines = await probed(tmp_path, sandbox, directly(sandbox, sandbox.kaltura.secret))
        assert status == 0
        assert lines[-5:] == [
            "kaltura session for reading supported",
            "kaltura list (videos) supported",
            "kaltura search (search) supported",
            "kaltura video (video) supported",
            "kaltura session (session) supported",
        ]
        assert dict(sandbox.kaltura.calls) == {"session.start": 2, "media.list": 2, "media.get": 1}
        assert not [ks for ks in sandbox.kaltura.sessions if ks in "\n".join(lines)]
        sandbox.kaltura.calls.clear()
        assert (await probed(tmp_path, sandbox))[0] == 0
        assert not sandbox.kaltura.calls


async def test_a_kaltura_of_no_use_is_a_failure(tmp_path: Path) -> None:
    """A wrong secret and failing calls are told, whatever the gateway is, and neither shows the secret."""
    async with Sandbox() as sandbox:
        status, lines = await probed(tmp_path, sandbox, directly(sandbox, "n0t-the-secret"))
        assert status == 1
        assert lines[-1] == "kaltura session for reading none: Kaltura refused the call: START_SESSION_ERROR"
        assert "n0t-the-secret" not in "\n".join(lines)
        sandbox.kaltura.faults = Faults(routes=Fault(answer="html"))
        status, lines = await probed(tmp_path, sandbox, directly(sandbox, sandbox.kaltura.secret))
        assert status == 1
        assert "kaltura video (video) not usable: Kaltura's answer is not JSON" in lines
