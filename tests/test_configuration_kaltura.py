"""The configuration of direct Kaltura: what it wants, and what is refused without it."""

from pathlib import Path

import pytest

from tests.configurations import Folder

ON = "kaltura: {enabled: true, partner_id: 42, admin_secret: s3cret}\n"
FROM_ENVIRONMENT = 'kaltura: {enabled: "${ENABLE_DIRECT_KALTURA:-false}", partner_id: 42, admin_secret: s}'


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """An empty directory."""
    return Folder(tmp_path)


def test_it_is_off_until_it_is_switched_on(folder: Folder) -> None:
    """The default is off with Kaltura's own endpoint; the settings come as they are written."""
    off = folder.load().settings.kaltura
    assert (off.enabled, off.url) == (False, "https://www.kaltura.com/api_v3")
    on = folder.load(ON).settings.kaltura
    assert (on.enabled, on.partner_id, on.admin_secret.get_secret_value()) == (True, "42", "s3cret")
    assert "s3cret" not in repr(folder.load(ON))


def test_the_variables_of_the_two_services_set_it(folder: Folder) -> None:
    """The names that are in use already are read, a numeric secret as a text."""
    found = folder.load(
        "",
        {
            "ENABLE_DIRECT_KALTURA": "true",
            "KALTURA_PARTNER_ID": "5896392",
            "KALTURA_ADMIN_SECRET": "0123456",
            "KALTURA_API_ENDPOINT": "https://kaltura.example/api_v3/",
        },
    ).settings.kaltura
    assert (found.enabled, found.partner_id) == (True, "5896392")
    assert (found.url, found.admin_secret.get_secret_value()) == ("https://kaltura.example/api_v3", "0123456")


@pytest.mark.parametrize("text", ["", FROM_ENVIRONMENT])
@pytest.mark.parametrize(("word", "expected"), [("true", True), ("false", False), ("", False)])
def test_a_word_of_the_environment_is_true_or_false(
    folder: Folder, text: str, word: str, *, expected: bool
) -> None:
    """Also where YAML wants it quoted; set but empty it is the default."""
    environ = {"ENABLE_DIRECT_KALTURA": word, "KALTURA_PARTNER_ID": "42", "KALTURA_ADMIN_SECRET": "s"}
    assert folder.load(text, environ).settings.kaltura.enabled is expected


@pytest.mark.parametrize("word", ["1", "0", "yes", "on", "off", " true", "tru", "nein", "null"])
def test_any_other_word_is_refused(folder: Folder, word: str) -> None:
    """Nothing but true and false is either of them, quoted or not."""
    said = "kaltura.enabled: the value of ${ENABLE_DIRECT_KALTURA} must be true or false"
    environ = {"ENABLE_DIRECT_KALTURA": word, "KALTURA_PARTNER_ID": "42", "KALTURA_ADMIN_SECRET": "s"}
    for text in ("kaltura:\n  enabled: ${ENABLE_DIRECT_KALTURA:-false}", FROM_ENVIRONMENT):
        (problem,) = folder.problems(text, environ)
        assert problem.endswith(said)
    assert folder.problems("kaltura: {enabled: 1}") == [
        "proxy.yaml:1:11: kaltura.enabled: must be true or false"
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "kaltura:\n  enabled: true\n  partner_id: 42",
            ["proxy.yaml:2:3: kaltura.admin_secret: is empty, and kaltura.enabled wants it"],
        ),
        (
            "kaltura:\n  enabled: true\n  partner_id: ''\n  admin_secret: s",
            ["proxy.yaml:3:3: kaltura.partner_id: is empty, and kaltura.enabled wants it"],
        ),
        (
            "kaltura:\n  enabled: true",
            [
                "proxy.yaml:2:3: kaltura.admin_secret: is empty, and kaltura.enabled wants it",
                "proxy.yaml:2:3: kaltura.partner_id: is empty, and kaltura.enabled wants it",
            ],
        ),
        (
            "kaltura:\n  admin_secret: two words",
            ["proxy.yaml:2:3: kaltura.admin_secret: must be one word of visible ASCII characters"],
        ),
    ],
)
def test_it_wants_its_account(folder: Folder, text: str, expected: list[str]) -> None:
    """Switched on without partner id or secret it is refused, at a line of the user's own."""
    assert folder.problems(text) == expected


def test_an_account_that_the_environment_should_hold_is_missed_in_the_carried_file(folder: Folder) -> None:
    """Where nothing of it is in the user's file the line is that of the key."""
    problems = folder.problems("", {"ENABLE_DIRECT_KALTURA": "true"})
    assert [problem.rpartition(": ")[2] for problem in problems] == [
        "is empty, and kaltura.enabled wants it"
    ] * 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "routes:\n  video:\n    fallback: [stale, kaltura]",
            "proxy.yaml:3:23: routes.video.fallback[1]: Kaltura is off; kaltura.enabled switches it on",
        ),
        (
            "routes:\n  session:\n    prefer: kaltura",
            "proxy.yaml:3:5: routes.session.prefer: Kaltura is off; kaltura.enabled switches it on",
        ),
        (
            ON + "routes:\n  play:\n    fallback: [kaltura]",
            "proxy.yaml:4:16: routes.play.fallback[0]: the route asks nothing of Kaltura (kaltura)",
        ),
        (
            ON + "routes:\n  play:\n    prefer: kaltura",
            "proxy.yaml:4:5: routes.play.prefer: the route asks nothing of Kaltura (kaltura)",
        ),
        (
            ON + "routes:\n  video:\n    prefer: kaltura",
            (
                "proxy.yaml:4:5: routes.video.prefer: only the gateway's answers are kept: "
                "it has no place beside max_age"
            ),
        ),
        (
            ON + "routes:\n  play:\n    kaltura: session",
            "proxy.yaml:4:5: routes.play.kaltura: session wants a string input userId",
        ),
        (
            ON + "routes:\n  video:\n    kaltura: list",
            "proxy.yaml:4:5: routes.video.kaltura: list wants an integer input page",
        ),
        (
            ON + "routes:\n  token:\n    kaltura: video",
            "proxy.yaml:4:5: routes.token.kaltura: has no meaning without a call",
        ),
        (
            "listen: 127.0.0.1:3009\n" + ON.replace("{", "{url: 'http://127.0.0.1:3009/api_v3', "),
            "proxy.yaml:2:11: kaltura.url: is the address of listen; the sidecar would call itself",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_its_line(folder: Folder, text: str, expected: str) -> None:
    """An operator who names Kaltura where it cannot be asked is told at once, and where."""
    assert expected in folder.problems(text)


def test_a_dialects_own_fallback_may_name_it_while_it_is_off(folder: Folder) -> None:
    """The carried tables do, and so may a file of one's own: the source is then left out."""
    routes = folder.load().tables["plan"]
    assert "kaltura" in routes["video"].fallback
    folder.write("own.yaml", (Path(__file__).parent.parent / "config/dialects/plan.yaml").read_text())
    assert folder.load("gateway: {dialect: own.yaml}").tables["own.yaml"]["video"].kaltura == "video"


def test_the_secret_wants_https_in_production(folder: Folder) -> None:
    """A URL beyond this machine without it is warned of, while Kaltura is on."""
    sound = "environment: production\ngateway: {url: https://gateway.example.com/api}\n"

    def warned(text: str) -> list[str]:
        return folder.relative("\n".join(map(str, folder.load(sound + text).warnings)))

    plain = ON.replace("{", "{url: 'http://kaltura.example/api_v3', ")
    said = "the admin secret leaves this machine unencrypted; https keeps it secret"
    assert warned(plain) == [f"proxy.yaml:3:11: kaltura.url: {said}"]
    assert warned(plain.replace("true", "false")) == []
    assert warned(ON) == []
    assert warned(ON.replace("{", "{url: 'http://127.0.0.1:3003/api_v3', ")) == []
