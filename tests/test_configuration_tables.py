"""Route tables: which files they come from, the user's changes over them, and their mistakes."""

import json
from pathlib import Path

import pytest

from proxy.lookup import carried_directory
from proxy.units import shown
from tests.configurations import Folder

OWN = "gateway: {dialect: own.yaml}\n"
TABLE = """\
    routes:
      video:
        match: GET /v/{id}
        call: GET /videos/{id}
        reply: video
      token:
        match: POST /t
        fallback: [activity]
    """
ADVICE = "give id a pattern that rules it out"
UNSET = "the variable NONE is not set, and ${NONE} has no default"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A directory with a route table of its own, own.yaml."""
    folder = Folder(tmp_path)
    folder.write("own.yaml", TABLE)
    return folder


@pytest.mark.parametrize(
    ("dialect", "names"), [("auto", ["plan", "newer"]), ("plan", ["plan"]), ("newer", ["newer"])]
)
def test_a_carried_dialect_is_called_by_its_name(folder: Folder, dialect: str, names: list[str]) -> None:
    """`auto` needs both."""
    assert list(folder.load(f"gateway: {{dialect: {dialect}}}").tables) == names


def test_a_table_of_ones_own_is_called_by_its_path(folder: Folder) -> None:
    """Beside the configuration, or anywhere by its full path."""
    assert list(folder.load(OWN).tables["own.yaml"]) == ["video", "token"]
    path = folder.write("else/where.yaml", TABLE)
    assert list(folder.load(f"gateway: {{dialect: {path}}}").tables) == [str(path)]
    assert folder.load("gateway:\n  dialect: ${D}", {"D": "own.yaml"}).tables.keys() == {"own.yaml"}


def test_a_dialect_beside_the_configuration_wins_over_the_carried_one(folder: Folder) -> None:
    """By its own name, so that nothing else has to change."""
    folder.write("dialects/plan.yaml", TABLE)
    assert folder.load("gateway: {dialect: plan}").tables["plan"].keys() == {"video", "token"}


def test_changes_go_over_the_table_key_by_key(folder: Folder) -> None:
    """What they leave out stays as the dialect has it, and the carried table is not altered."""
    text = OWN + "routes:\n  video: {match: GET /w/{id}, types: {title: string}}\n"
    route = folder.load(text.replace("GET /w/{id}", '"GET /w/{id}"')).tables["own.yaml"]["video"]
    assert (str(route.match), str(route.call), dict(route.types)) == (
        "GET /w/{id}",
        "GET /videos/{id}",
        {"title": "string"},
    )
    assert str(folder.load(OWN).tables["own.yaml"]["video"].match) == "GET /v/{id}"


def test_changes_under_auto_go_over_each_table_that_has_the_route(folder: Folder) -> None:
    """`details` is in one of them only."""
    tables = folder.load("routes: {play: {group: slow}, details: {group: slow}}").tables
    assert {name: table["play"].group for name, table in tables.items()} == {"plan": "slow", "newer": "slow"}
    assert tables["plan"]["details"].group == "slow"
    assert "details" not in tables["newer"]


def test_a_route_says_which_changes_are_the_users(folder: Folder) -> None:
    """A fallback that mocks a credential in production must be named by the operator."""
    settings = folder.load("routes: {play: {fallback: [canned]}}").settings
    assert settings.routes == {"play": {"fallback": ("canned",)}}


def test_mistakes_are_told_in_the_file_that_they_stand_in(folder: Folder) -> None:
    """Once each, though two tables have them; unknown names with the nearest."""
    text = """\
        routes:
          vide: {}
          video:
            fallback: [state, canned]
            as: usr
            name: x
            nope: 1
          play: {retry: true, require: [a.b.c], types: {a.b: string, title: sting}}
          session: {reply: "{ks: ", input: {x: {from: body, requird: x}}}
          pass: {}
        """
    found = folder.problems(text)
    assert [line for line in found if "JMESPath" in line] == [found[8]]
    assert found[8].startswith("proxy.yaml:9:13: routes.session.reply: not a JMESPath expression: ")
    assert found[:8] + found[9:] == [
        "proxy.yaml:2:3: there is no route vide (did you mean video?)",
        (
            'proxy.yaml:4:16: routes.video.fallback[0]: "state" is none of stale, kaltura, activity, canned '
            "(did you mean stale?)"
        ),
        'proxy.yaml:5:5: routes.video.as: "usr" is none of service, user (did you mean user?)',
        "proxy.yaml:6:5: unknown key routes.video.name",
        "proxy.yaml:7:5: unknown key routes.video.nope",
        "proxy.yaml:8:33: routes.play.require[0]: 'a.b.c' is not a field, like title or videos[].title",
        "proxy.yaml:8:49: routes.play.types.a.b: 'a.b' is not a field, like title or videos[].title",
        (
            'proxy.yaml:8:62: routes.play.types.title: "sting" is none of string, number, boolean, array, '
            "object (did you mean string?)"
        ),
        "proxy.yaml:9:53: unknown key routes.session.input.x.requird (did you mean required?)",
        "proxy.yaml:10:3: there is no route pass",
    ]


def test_what_does_not_fit_together_in_a_route_is_told_at_the_users_key(folder: Folder) -> None:
    """Or in the table, where the user wrote nothing of it."""
    text = """\
        gateway: {dialect: own.yaml}
        routes:
          token:
            fallback: []
          video:
            fallback: [canned]
            paging: videos
        """
    found = folder.problems(text)
    assert found[:2] == [
        "own.yaml:7:5: routes.token.match: nothing can answer: give a call or a fallback",
        "proxy.yaml:6:16: routes.video.fallback[0]: the route has no canned file",
    ]
    assert all(line.startswith("proxy.yaml:7:5: routes.video.paging: ") for line in found[2:])


def test_python_names_of_keys_are_no_keys(folder: Folder) -> None:
    """`as_` and `where` are only how the code calls `as` and `from`."""
    text = "routes:\n  video:\n    as_: user\n    input: {x: {where: query, default: a}}"
    assert folder.problems(text) == [
        "proxy.yaml:3:5: unknown key routes.video.as_ (did you mean as?)",
        "proxy.yaml:4:13: routes.video.input.x.from: is missing",
        "proxy.yaml:4:17: unknown key routes.video.input.x.where",
    ]


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("", ["own.yaml:1:1: routes: is missing"]),
        ("routes: [a]", ["own.yaml:1:1: routes: must be a mapping (key: value)"]),
        (
            "routes: ${NONE}",
            ["own.yaml:1:9: the variable NONE is not set, and ${NONE} has no default"],
        ),
        ("route: {}\nroutes: {}", ["own.yaml:1:1: unknown key route (did you mean routes?)"]),
        ("routes: {a: 5}", ["own.yaml:1:10: routes.a: must be a mapping (key: value)"]),
        (
            "routes:\n  a: ${NONE}",
            ["own.yaml:2:6: the variable NONE is not set, and ${NONE} has no default"],
        ),
        ("routes: {a: {call: GET /x, reply: y}}", ["own.yaml:1:10: routes.a.match: is missing"]),
        (
            "routes: {pass: {match: GET /x, fallback: [activity]}}",
            ["own.yaml:1:10: routes.pass: no route can have this name"],
        ),
        (
            (
                "routes:\n  a: {match: 'GET /x/{id}', fallback: [activity]}\n"
                "  b: {match: 'GET /X/{other}', fallback: [activity]}"
            ),
            ["own.yaml:3:7: routes.b.match: the route a matches this too"],
        ),
        (
            (
                "routes:\n  a: {match: 'GET /x/{id}', call: 'GET /v/{id}', reply: v}\n"
                "  b: {match: GET /y, call: GET /v/find, reply: v}"
            ),
            [f"own.yaml:2:29: routes.a.call: id can make it the call of b; {ADVICE}"],
        ),
        (
            "routes: {",
            ["own.yaml:1:10: this is not YAML: did not find expected node content while parsing a flow node"],
        ),
    ],
)
def test_a_table_that_is_none_is_told_of(folder: Folder, table: str, expected: list[str]) -> None:
    """In the table's own file."""
    folder.write("own.yaml", table)
    assert folder.problems(OWN) == expected


@pytest.mark.parametrize(
    ("dialect", "hint"),
    [
        ("newerr", " (did you mean newer?)"),
        ("owm.yaml", " (did you mean own.yaml?)"),
        ("x/y.yaml", ""),
        ("x" * 300, ""),
        ("a\0b", ""),
    ],
)
def test_a_dialect_that_is_not_there_is_told_with_what_is_near(
    folder: Folder, dialect: str, hint: str
) -> None:
    """Names of dialects and of files; the changes are checked all the same."""
    text = f"gateway: {{dialect: {json.dumps(dialect)}}}\nroutes: {{video: {{as: 5}}}}"
    assert folder.problems(text) == [
        f"proxy.yaml:1:11: gateway.dialect: {shown(dialect)} is no dialect and no file{hint}",
        "proxy.yaml:2:18: routes.video.as: 5 is none of service, user",
    ]


def test_a_dialect_of_the_wrong_type_is_told_of_once(folder: Folder) -> None:
    """It is not looked up as a file."""
    for text, why in [("5", "must be a text; put it in quotes"), ("''", "must not be empty")]:
        assert folder.problems(f"gateway: {{dialect: {text}}}") == [
            f"proxy.yaml:1:11: gateway.dialect: {why}"
        ]


def test_auto_wants_its_routes_in_both_tables_and_the_same_to_the_client(folder: Folder) -> None:
    """It chooses between them while clients call."""
    carried = (carried_directory() / "dialects" / "newer.yaml").read_text()
    folder.write(
        "dialects/newer.yaml",
        carried.replace("/api/kaltura/session", "/api/ks").replace("\n  videos:", "\n  vids:"),
    )
    folder.write("mocks/other.json", "{}")
    found = [line.split(": ", 1) for line in folder.problems("routes: {play: {}}")]
    assert [message for _, message in found] == [
        "routes.videos: is missing; the dialect auto asks for it",
        "routes.session.match: is not as in plan; auto wants the same in both",
    ]
    assert all(place.startswith("dialects/newer.yaml:") for place, _ in found)


def test_a_table_without_routes_is_one(folder: Folder) -> None:
    """By it an operator has everything passed through."""
    folder.write("own.yaml", "routes: {}")
    assert folder.load(OWN).tables == {"own.yaml": {}}


def test_nothing_is_put_into_what_a_route_calls_or_sends(folder: Folder) -> None:
    """In the user's changes and in a table alike: both are shown. A literal `${` may stand there."""
    folder.write(
        "own.yaml",
        """\
        routes:
          play:
            match: POST /p/{id}
            call: POST /p/{id}?key=${KEY}
            send: {a: [1, {b: "x${file:key}"}], c: "$${d"}
            reply: p
        """,
    )
    folder.write("key", "hunter2")
    shown_in = "what a route calls and sends is shown in /status and by explain"
    text = OWN + "routes:\n  play:\n    send:\n      d: ${KEY}"
    found = folder.problems(text, {"KEY": "hunter2"})
    assert found == [
        f"own.yaml:4:11: routes.play.call: takes no ${{KEY}}: {shown_in}",
        f"own.yaml:5:23: routes.play.send: takes no ${{file:key}}: {shown_in}",
        f"proxy.yaml:5:10: routes.play.send: takes no ${{KEY}}: {shown_in}",
    ]
    folder.write("own.yaml", TABLE.replace("call: GET", "send: {a: '$${b'}\n        call: POST"))
    route = folder.load(OWN).tables["own.yaml"]["video"]
    assert route.send is not None
    assert route.send.render({}) == {"a": "${b"}


def test_a_value_of_several_kinds_is_told_with_all_of_them(folder: Folder) -> None:
    """In one line."""
    assert folder.problems("routes: {video: {input: {x: {from: query, default: [1]}}}}") == [
        (
            "proxy.yaml:1:43: routes.video.input.x.default: must be a text; put it in quotes, "
            "or must be a whole number"
        )
    ]


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("reply", "[" * 5000),
        ("reply", "!" * 5000 + "a"),
        ("pattern", "(" * 5000),
        ("pattern", "a{" + "9" * 30 + "}"),
    ],
)
def test_something_too_large_to_compile_is_told_of(folder: Folder, key: str, text: str) -> None:
    """A thousand brackets end no process."""
    change = (
        {"reply": text} if key == "reply" else {"input": {"x": {"from": "query", "default": "a", key: text}}}
    )
    (line,) = folder.problems(json.dumps({"routes": {"video": change}}))
    assert line.startswith("proxy.yaml:1:")
