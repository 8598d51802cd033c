"""The look-out for secrets: that it sees them wherever they are shown, and nothing where there are none."""

from pathlib import Path

import pytest

pytest_plugins = "pytester"

ROOT = Path(__file__).parent.parent
CONFTEST = """
from tests.secrets_watch import SecretsWatch

def pytest_configure(config):
    config.pluginmanager.register(SecretsWatch())
"""
LEAKS = """
import random
import subprocess
import sys

from prometheus_client import CollectorRegistry

from proxy.admin import Admin
from proxy.call import Answer, Failure, FailureKind
from proxy.clock import SystemClock
from proxy.errors import error_body
from proxy.events import AnsweredAtOnce, Crashed, RequestEnded, SourceFailedEvent
from proxy.logs import EventLog
from proxy.metrics import Metrics
from proxy.provenance import provenance
from proxy.sandbox_express import answer
from proxy.sandbox_library import Library
from proxy.sandbox_tokens import Tokens, User
from proxy.tokens import Token
from pydantic import SecretStr

SECRET = "planted-{0}-secret"
log = EventLog(SystemClock())

def test_log():
    log(SourceFailedEvent("video", Failure("gateway", FailureKind.STATUS, SECRET), "r1"))

def test_access_line():
    log(RequestEnded("public", "none", "GET", 200, "error", 0.0, "r1", "/a/" + SECRET, "", 0))

def test_line_of_an_event_that_only_the_log_hears_of():
    log.wants[SourceFailedEvent](SourceFailedEvent("x", Failure("gateway", FailureKind.STATUS, SECRET), "r1"))

def test_line_that_is_kept_back():
    for detail in ("first", SECRET):
        failure = Failure("kaltura", FailureKind.STATUS, detail)
        log.wants[SourceFailedEvent](SourceFailedEvent("y", failure, "r1"))

def test_access_line_of_an_event_that_only_the_log_hears_of():
    log.wants[AnsweredAtOnce](
        AnsweredAtOnce("public", "none", "GET", 200, "error", 0.0, "r1", "/b/" + SECRET, "", 0)
    )

def test_traceback():
    try:
        raise ValueError(SECRET)
    except ValueError as error:
        log(Crashed("r1", error))

def test_metric():
    registry = CollectorRegistry()
    metrics = Metrics(registry, mode="auto", version=SECRET)
    metrics.exposition("")

def test_error_body():
    error_body("error", SECRET, "code", "r1")

def test_header():
    provenance(Answer(502, b"", None, failures=(Failure("gateway", FailureKind.STATUS, SECRET),)), "r1")

async def test_status():
    told = {{"token": SECRET}}
    admin = Admin(lambda: True, lambda _: (b"", ""), lambda: told, True, SystemClock(), lambda _: None)

    class Request:
        path, method, headers = "/status", "GET", {{"Host": "localhost"}}

    await admin._reply(Request(), "r1")

def test_output():
    print(SECRET)

def test_command():
    subprocess.run([sys.executable, "-c", "print('" + SECRET + "')"], capture_output=True)

def test_token_of_a_gateway():
    print(Token("token-of-the-gateway", 1).value)

def test_token_of_the_stand_in():
    print(Tokens(SystemClock(), 60).issue(User("1", "one", "viewer")))

def test_answer_of_the_stand_in():
    answer({{"user": {{"access_token": "from-discord-itself"}}}})
    print("from-discord-itself")

def test_ks():
    print(Library(random.Random(42)).ks("anonymous", "sview:*"))

def test_setting():
    print(SecretStr("of-the-configuration").get_secret_value())

def test_of_the_one_before():
    print("token-of-the-gateway")
"""
CLEAN = """
SECRET = "planted-{0}-secret"

def test_nothing_is_shown():
    print("planted", len(SECRET))
"""


def watched(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, text: str) -> pytest.RunResult:
    """Run a file of tests with the look-out in a process of their own."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_planted=text.format("here"))
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:cov", "--asyncio-mode=auto")


def test_a_secret_is_found_wherever_it_is_shown(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each test that shows one passes by itself, and fails the run, which says where and not what."""
    result = watched(pytester, monkeypatch, LEAKS)
    planted = [line.split("(")[0] for line in LEAKS.splitlines() if "def test_" in line]
    names = [name.split("def ")[1] for name in planted]
    result.assert_outcomes(passed=len(names))
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    told = result.stdout.str().partition("secrets were shown")[2]
    assert [name for name in names if f"::{name}: " not in told] == []
    assert "planted-here-secret" not in told


def test_where_no_secret_is_shown_none_is_found(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run without a leak passes, and says that it was looked through."""
    result = watched(pytester, monkeypatch, CLEAN)
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["no secret in * of logs, metrics, errors, status and output"])
