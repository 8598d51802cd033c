"""A pytest plugin that looks for secrets in whatever the sidecar shows while the tests run.

Secrets are what the stand-ins hand out, what configurations hold, every token that a gateway gives, what
`secrets` makes, and constants of test modules whose name says so. Looked through are the lines of the
log at every level, metrics, `/status` and the rest of the admin listener, error bodies, the headers that
tell where an answer is from, `repr`s of the sidecar, and what tests and commands print. A run that shows
one fails.
"""

import logging
import re
import secrets
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any
from urllib.parse import quote

import pytest
from pydantic import SecretStr

import proxy.admin
import proxy.call
import proxy.errors
import proxy.grant
import proxy.listener
import proxy.logs
import proxy.metrics
import proxy.provenance
import proxy.refusal
import proxy.sandbox_express
import proxy.sandbox_kaltura
import proxy.sandbox_library
import proxy.sandbox_tokens
import proxy.sidecar
import proxy.tokens
from proxy.access_line import JsonAccessLines, by_record
from proxy.events import Event, RequestEnded
from proxy.log_format import JsonFormatter, TextFormatter
from proxy.log_lines import line_of

SHORTEST = 8
"""Characters; what is shorter, words of tests mostly, would be found where it is none."""
REMEMBERED = 500
"""Secrets of earlier tests that are looked for too."""
MOST = 20_000
"""Secrets of one test that are looked for: the latest."""
PILE = 1_000_000
"""Characters of text that are kept until they are looked through."""
_KEYS = frozenset({"token", "access_token", "refresh_token", "api_token", "ks", "secret", "code"})
_NAMES = re.compile(r"(?:[A-Z]+_)?(?:SECRET|TOKEN|KS|CODE|COOKIE|PASSWORD)")
_TELLING = frozenset({"proxy-status", "cache-status", "activity-proxy-source", "x-request-id"})


@dataclass
class Watch:
    """What is secret and what was seen. `found` are the places where the two met."""

    found: list[str] = field(default_factory=list)
    looked_through: int = 0
    _lasting: set[str] = field(default_factory=set)
    _secrets: dict[str, None] = field(default_factory=dict)
    _before: deque[str] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    _seen: list[tuple[str, str]] = field(default_factory=list)
    _size: int = 0

    def secret(self, value: object, *, lasting: bool = False) -> None:
        """Keep a secret: for this test and the next ones, or for the whole run."""
        text = value.decode("latin-1") if isinstance(value, bytes) else value
        if not isinstance(text, str) or len(text) < SHORTEST:
            return
        forms = {text, quote(text, safe="")}
        if lasting:
            self._lasting |= forms
            return
        self._secrets.update(dict.fromkeys(forms))
        while len(self._secrets) > MOST:
            del self._secrets[next(iter(self._secrets))]

    def hand_out(self, content: object) -> None:
        """Keep what in a stand-in's JSON answer is secret."""
        if isinstance(content, Mapping):
            if content.get("objectType") == "KalturaAPIException":
                return  # its code is a word of Kaltura's, no Discord code
            for key, value in content.items():
                self.secret(value) if key in _KEYS else self.hand_out(value)
        elif isinstance(content, list | tuple):
            for value in content:
                self.hand_out(value)

    def see(self, where: str, shown: object) -> None:
        """Take something that is shown."""
        text = shown.decode("utf-8", "replace") if isinstance(shown, bytes) else str(shown)
        self._seen.append((where, text))
        self._size += len(text)
        if self._size > PILE:
            self.look()

    def look(self) -> None:
        """Look all that was seen through, and forget it."""
        known = {*self._lasting, *self._secrets, *self._before}
        self.looked_through += self._size
        whole = "\n".join(text for _, text in self._seen)
        # By their beginnings: the time that takes does not depend on how many there are.
        begun = {secret[:SHORTEST] for secret in known}.intersection(
            whole[at : at + SHORTEST] for at in range(len(whole) - SHORTEST + 1)
        )
        for secret in (secret for secret in known if secret[:SHORTEST] in begun and secret in whole):
            for where in sorted({where for where, text in self._seen if secret in text}):
                self.found.append(f"{where}: {secret[:4]}… ({len(secret)} characters)")
        self._seen.clear()
        self._size = 0

    def end_of(self, test: str) -> None:
        """Look through what a test showed, and name it where that holds a secret."""
        count = len(self.found)
        self.look()
        self.found[count:] = [f"{test}: {found}" for found in self.found[count:]]
        self._before.extend(self._secrets)
        self._secrets.clear()


class SecretsWatch:
    """The plugin."""

    def __init__(self) -> None:
        self.watch = Watch()
        self._undo = pytest.MonkeyPatch()

    def pytest_sessionstart(self) -> None:
        """Put the watch at the places where secrets are made, and where things are shown."""
        _listen_for_secrets(self.watch, self._undo)
        _read_the_log(self.watch, self._undo)
        _look_over_shoulders(self.watch, self._undo)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Take the constants of tests that are called secret."""
        for module in {item.module for item in session.items if isinstance(item, pytest.Function)}:
            for name, value in vars(module).items():
                if _NAMES.fullmatch(name) and isinstance(value, str | bytes):
                    self.watch.secret(value, lasting=True)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Look through what a test has shown, its output and its log included."""
        if report.when == "teardown":
            for name, content in report.sections:
                self.watch.see(name, content)
            self.watch.end_of(report.nodeid)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail a run that showed a secret."""
        self._undo.undo()
        self.watch.look()
        if self.watch.found:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say where."""
        if self.watch.found:
            terminalreporter.section("secrets were shown", red=True)
            for found in self.watch.found:
                terminalreporter.line(found)
        else:
            size = self.watch.looked_through // 1024
            terminalreporter.line(f"no secret in {size} KiB of logs, metrics, errors, status and output")


def _listen_for_secrets(watch: Watch, patch: pytest.MonkeyPatch) -> None:
    def keep_first(_self: object, value: object, *_: object, **__: object) -> None:
        watch.secret(value)

    for made in (proxy.tokens.Token, proxy.grant.Grant, proxy.grant.Granted):
        _before(
            patch,
            made,
            "__init__",
            lambda _self, *args, **kw: watch.secret(args[0] if args else next(iter(kw.values()))),
        )
    _before(patch, SecretStr, "__init__", keep_first)
    for maker, name in (
        (proxy.sandbox_tokens.Tokens, "issue"),
        (proxy.sandbox_library.Library, "ks"),
        (proxy.sandbox_kaltura.Kaltura, "_start"),
        (secrets, "token_urlsafe"),
        (secrets, "token_hex"),
    ):
        _after(patch, maker, name, lambda made, *_: watch.secret(made))
    answer = proxy.sandbox_express.answer

    def handing_out(content: object, *args: Any, **kw: Any) -> object:
        watch.hand_out(content)
        return answer(content, *args, **kw)

    _everywhere(patch, answer, handing_out)


def _read_the_log(watch: Watch, patch: pytest.MonkeyPatch) -> None:
    lines = (JsonFormatter(), TextFormatter({}))

    quick = JsonAccessLines(by_record(lines[0]))

    def ended(_self: object, event: RequestEnded) -> None:
        watch.see("log", quick.line(0.0, event))
        for formatter in lines:
            watch.see("log", by_record(formatter)(0.0, event))

    def log(_self: object, event: Event) -> None:
        line = line_of(event)
        if line is not None:
            error = line.error
            cause = None if error is None else (type(error), error, error.__traceback__)
            record = logging.LogRecord("watch", line.level, "", 0, line.message, (), cause)
            record.fields = line.fields
            for formatter in lines:
                watch.see("log", formatter.format(record))

    # All that the log does with events, also with those that it keeps back.
    _before(patch, proxy.logs.EventLog, "_ended", ended)
    _before(patch, proxy.logs.EventLog, "_tell", log)
    _before(patch, proxy.logs.EventLog, "_source_failed", log)


def _look_over_shoulders(watch: Watch, patch: pytest.MonkeyPatch) -> None:
    _after(patch, proxy.metrics.Metrics, "exposition", lambda made, *_: watch.see("metrics", made[0]))
    _after(patch, subprocess.Popen, "communicate", lambda made, *_: watch.see("output of a command", made))
    error_body, provenance = proxy.errors.error_body, proxy.provenance.provenance

    def told(*args: Any, **kw: Any) -> bytes:
        body = error_body(*args, **kw)
        watch.see("error body", body)
        return body

    def telling(*args: Any, **kw: Any) -> Any:
        headers = provenance(*args, **kw)
        watch.see("headers", [(name, headers[name]) for name in headers if name.lower() in _TELLING])
        return headers

    _everywhere(patch, error_body, told)
    _everywhere(patch, provenance, telling)
    reply = proxy.admin.Admin._reply

    async def replying(self: Any, *args: Any) -> Any:
        said = await reply(self, *args)
        watch.see("admin listener", said.body)
        return said

    patch.setattr(proxy.admin.Admin, "_reply", replying)
    stop = proxy.sidecar.Sidecar.stop

    async def stopping(self: Any, **kw: Any) -> None:
        if self._parts is not None:
            watch.see("metrics", self._parts.metrics.exposition("")[0])
            watch.see("status", proxy.admin._json(self.status()).body)
            watch.see("repr", [self, self.configuration, self._parts, *vars(self).values()])
        await stop(self, **kw)

    patch.setattr(proxy.sidecar.Sidecar, "stop", stopping)


def _everywhere(patch: pytest.MonkeyPatch, function: object, other: object) -> None:
    """Replace a function in each module that has it by name."""
    for module in [module for name, module in sys.modules.items() if name.startswith("proxy")]:
        for name, value in list(vars(module).items()):
            if value is function:
                patch.setattr(module, name, other)


def _before(patch: pytest.MonkeyPatch, owner: type, name: str, look: Callable[..., None]) -> None:
    original = getattr(owner, name)

    def watched(*args: Any, **kw: Any) -> Any:
        look(*args, **kw)
        return original(*args, **kw)

    patch.setattr(owner, name, watched)


def _after(patch: pytest.MonkeyPatch, owner: type | ModuleType, name: str, look: Callable[..., None]) -> None:
    original = getattr(owner, name)

    def watched(*args: Any, **kw: Any) -> Any:
        made = original(*args, **kw)
        look(made, *args)
        return made

    patch.setattr(owner, name, watched)
