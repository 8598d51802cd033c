"""Every mistake at its own line, in our own words, all at once, and no secret in any of them."""

from pathlib import Path

import pytest

from proxy.configuration import ConfigurationError, load
from proxy.diagnosis import dotted, known_keys, near
from proxy.route import Route
from proxy.settings import Settings
from tests.configurations import Folder

SOURCES = "stale, kaltura, activity, canned"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """An empty directory."""
    return Folder(tmp_path)


def test_all_mistakes_are_told_at_once_each_at_its_key(folder: Folder) -> None:
    """Block and flow mappings, lists, and every kind of mistake."""
    text = """\
        mode: livee
        enviroment: production
        listen: 5
        limits:
        trusted_proxies:
          - 10.0.0.0/8
          - inside
        gateway:
          url: http://me:hunter2@gateway/
          dialect: newr
          timeout: {connectt: 1s, attempt: 3,
                    total: 3 sec}
          retry: {attempts: 11, initial: 1.5, max: many}
          breaker:
            minimum_calls: ten
            failure_rate: 150%
          login: {roles: x, username: 5, discord_id: ''}
        kaltura: []
        routes:
          vide: {}
          play: null
        """
    assert folder.problems(text) == [
        'proxy.yaml:1:1: mode: "livee" is none of auto, live, offline (did you mean live?)',
        "proxy.yaml:2:1: unknown key enviroment (did you mean environment?)",
        "proxy.yaml:3:1: listen: 5 is not a listen address; write it like 0.0.0.0:3001 or [::1]:9464",
        "proxy.yaml:4:1: limits: is empty; give it a value or leave the key out",
        'proxy.yaml:7:5: trusted_proxies[1]: "inside" is not a network; write it like 10.0.0.0/8 or fd00::/8',
        "proxy.yaml:9:3: gateway.url: holds a user or password, which a URL here must not",
        'proxy.yaml:10:3: gateway.dialect: "newr" is no dialect and no file (did you mean newer?)',
        "proxy.yaml:11:13: unknown key gateway.timeout.connectt (did you mean connect?)",
        (
            "proxy.yaml:11:27: gateway.timeout.attempt: 3 is not a duration; "
            "it has no unit, write it like 250ms, 3s, 5m or 12h"
        ),
        (
            'proxy.yaml:12:13: gateway.timeout.total: "3 sec" is not a duration; '
            "write it like 250ms, 3s, 5m or 12h"
        ),
        "proxy.yaml:13:11: gateway.retry.attempts: must be at most 10",
        (
            "proxy.yaml:13:25: gateway.retry.initial: 1.5 is not a duration; "
            "it has no unit, write it like 250ms, 3s, 5m or 12h"
        ),
        'proxy.yaml:13:39: gateway.retry.max: "many" is not a duration; write it like 250ms, 3s, 5m or 12h',
        "proxy.yaml:15:5: gateway.breaker.minimum_calls: must be a whole number",
        (
            'proxy.yaml:16:5: gateway.breaker.failure_rate: "150%" is not a share; '
            "write it like 20%, from 0% to 100%"
        ),
        "proxy.yaml:17:11: gateway.login.roles: must be a list, like [a, b]",
        "proxy.yaml:17:21: gateway.login.username: must be a text; put it in quotes",
        "proxy.yaml:17:34: gateway.login.discord_id: must not be empty",
        "proxy.yaml:18:1: kaltura: must be a mapping (key: value)",
        "proxy.yaml:21:3: routes.play: is empty; give it a value or leave the key out",
    ]


def test_a_mistake_in_a_merged_anchor_is_told_where_it_is_written(folder: Folder) -> None:
    """Not where it is merged in; a key that overrides it is its own."""
    text = """\
        gateway:
          timeout: &slow {connect: 1s, atempt: 2s}
          retry:
            <<: *slow
            max: 1
        """
    assert folder.problems(text) == [
        "proxy.yaml:2:19: unknown key gateway.retry.connect",
        "proxy.yaml:2:32: unknown key gateway.retry.atempt (did you mean attempts?)",
        "proxy.yaml:2:32: unknown key gateway.timeout.atempt (did you mean attempt?)",
        (
            "proxy.yaml:5:5: gateway.retry.max: 1 is not a duration; "
            "it has no unit, write it like 250ms, 3s, 5m or 12h"
        ),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "gateway:\n  timeout:\n    attempt: 9s",
            ["proxy.yaml:3:5: gateway.timeout.attempt: attempt is over total"],
        ),
        (
            "gateway:\n  timeout:\n    total: 2s",
            ["proxy.yaml:3:5: gateway.timeout.total: attempt is over total"],
        ),
        (
            "gateway:\n  timeout:\n    total: 5s\n    attempt: 6s",
            ["proxy.yaml:4:5: gateway.timeout.attempt: attempt is over total"],
        ),
        (
            "gateway: {timeout: {connect: 500ms, attempt: 1s, total: 1s}}",
            ["proxy.yaml:1:50: gateway.timeout.total: breaker.slow_call is over timeout.total"],
        ),
        ("listen: '[::]:9464'", ["proxy.yaml:1:1: listen: listen and admin are the same address"]),
    ],
)
def test_a_pair_that_cannot_be_is_told_at_the_key_that_the_user_wrote(
    folder: Folder, text: str, expected: list[str]
) -> None:
    """The other one may be a default, and a default is not the user's mistake."""
    assert folder.problems(text) == expected


SECRET = "hunter2 sec"
SHOWN = "what a route calls and sends is shown in /status and by explain"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "mode: ${S}\nlisten: a${S}",
            [
                "proxy.yaml:1:1: mode: the value of ${S} is none of auto, live, offline",
                (
                    "proxy.yaml:2:1: listen: the value of ${S} is not a listen address; "
                    "write it like 0.0.0.0:3001 or [::1]:9464"
                ),
            ],
        ),
        (
            "admin_token: ${S}",
            [
                "proxy.yaml:1:1: admin_token: the value of ${S} must be one word of visible ASCII characters",
            ],
        ),
        (
            "gateway:\n  dialect: ${S}\n  url: http://${S}/\n  retry:\n    attempts: ${S}",
            [
                "proxy.yaml:2:3: gateway.dialect: the value of ${S} is no dialect and no file",
                (
                    "proxy.yaml:3:3: gateway.url: the value of ${S} names no host or port that can be; "
                    "write it like http://127.0.0.1:3002 or https://gateway.example.com/api"
                ),
                "proxy.yaml:5:5: gateway.retry.attempts: the value of ${S} must be a whole number",
            ],
        ),
        (
            "trusted_proxies:\n- ${N}\n- ${file:secret}",
            [
                "proxy.yaml:2:3: trusted_proxies[0]: the value of ${N} has bits beyond its prefix",
                (
                    "proxy.yaml:3:3: trusted_proxies[1]: the value of ${file:secret} is not a network; "
                    "write it like 10.0.0.0/8 or fd00::/8"
                ),
            ],
        ),
        (
            "routes:\n  video:\n    match: ${S}\n    reply: ${S}\n    canned: ${S}\n    fallback: ['${S}']",
            [
                "proxy.yaml:3:5: routes.video.match: the value of ${S} is not what belongs here",
                "proxy.yaml:4:5: routes.video.reply: the value of ${S} is not what belongs here",
                f"proxy.yaml:6:16: routes.video.fallback[0]: the value of ${{S}} is none of {SOURCES}",
            ],
        ),
        (
            (
                "routes:\n  video:\n    canned: ${S}\n  session:\n    send:\n      a: '{{${S}'\n"
                "  search:\n    call: ${C}"
            ),
            [
                "proxy.yaml:3:5: routes.video.canned: the value of ${S} is no file",
                "proxy.yaml:5:5: routes.session.send: the value of ${S} is not what belongs here",
                f"proxy.yaml:6:10: routes.session.send: takes no ${{S}}: {SHOWN}",
                "proxy.yaml:8:5: routes.search.call: the value of ${C} does not fit here",
                f"proxy.yaml:8:11: routes.search.call: takes no ${{C}}: {SHOWN}",
            ],
        ),
    ],
)
def test_no_message_shows_what_was_put_in(folder: Folder, text: str, expected: list[str]) -> None:
    """The variable or the file is named instead."""
    folder.write("secret", SECRET)
    environ = {"S": SECRET, "N": "10.11.12.13/8", "C": "GET /x/{hunter2}"}
    found = folder.problems(text, environ)
    assert found == expected
    assert not any("hunter2" in line or "10.11" in line for line in found)


def test_a_bad_variable_of_the_carried_file_is_told_at_its_line(folder: Folder) -> None:
    """The user's own file need not hold it."""
    (line,) = folder.problems("", {"API_GATEWAY_URL": "gateway:3000"})
    assert "config/proxy.yaml:" in line
    assert "gateway.url: the value of ${API_GATEWAY_URL} is not an http or https URL" in line


def test_a_value_that_could_not_be_had_is_told_of_once(folder: Folder) -> None:
    """What a model says of the gap would only confuse."""
    text = """\
        mode: ${A}
        gateway:
          timeout:
            attempt: ${B}
            total: 1s
        routes:
          video: ${C}
          play:
            canned: ${D}
        """
    assert folder.problems(text) == [
        f"proxy.yaml:{place}: the variable {name} is not set, and ${{{name}}} has no default"
        for place, name in [("1:7", "A"), ("4:14", "B"), ("7:10", "C"), ("9:13", "D")]
    ]


def test_a_file_that_is_no_configuration_is_told_of_without_a_traceback(folder: Folder) -> None:
    """Missing, a directory, binary, not YAML, not a mapping."""
    for name, expected in [
        ("none.yaml", "none.yaml: cannot be read: No such file or directory"),
        (".", ": cannot be read: Is a directory"),
        ("a\0b", "a\0b: cannot be read: embedded null byte"),
    ]:
        with pytest.raises(ConfigurationError) as caught:
            load(folder.path / name, {})
        assert str(caught.value).endswith(expected)
    assert folder.problems(b"\x00\x01\xff") == ["proxy.yaml:1:3: is not UTF-8 text"]
    assert folder.problems("a: [") == [
        "proxy.yaml:1:5: this is not YAML: did not find expected node content while parsing a flow node"
    ]
    assert folder.problems("- a") == ["proxy.yaml:1:1: a mapping is wanted here (key: value)"]


def test_problems_come_in_the_order_of_the_file_and_once(folder: Folder) -> None:
    """Sorted by file, line and column."""
    found = folder.problems("b: 1\nroutes: {video: {nope: 1}}\na: 1")
    assert found == [
        "proxy.yaml:1:1: unknown key b",
        "proxy.yaml:2:18: unknown key routes.video.nope",
        "proxy.yaml:3:1: unknown key a",
    ]


def test_the_nearest_word_is_one_that_is_alike_or_begins_alike() -> None:
    """Nothing is suggested that is far off."""
    assert near("vide", ["video", "play"]) == " (did you mean video?)"
    assert near("prod", ["development", "production"]) == " (did you mean production?)"
    assert near("MODE", ["mode"]) == " (did you mean mode?)"
    assert near("zzz", ["mode"]) == ""
    assert near("p", ["play"]) == ""


def test_paths_are_shown_as_people_write_them() -> None:
    """Odd keys are quoted, so that a message stays one line."""
    assert dotted(("a", "b", 1, "c")) == "a.b[1].c"
    assert dotted(("a", "b c\n")) == 'a."b c\\n"'


def test_known_keys_follow_sections_and_stop_elsewhere() -> None:
    """Where a key can have any name nothing is known."""
    assert known_keys(Settings, ("gateway", "timeout")) == ["attempt", "connect", "total"]
    assert known_keys(Settings, ("routes", "video")) == []
    assert known_keys(Settings, ("nope",)) == []
    assert known_keys(Route, ("require", 0)) == known_keys(Route, ("call",)) == []
    assert known_keys(Route, ("input", "page"))[0] == "default"
