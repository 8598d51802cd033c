"""Canned answers: which files they come from, and what is wrong with them."""

from pathlib import Path

import pytest

from proxy.template import BUILT_IN
from tests.configurations import Folder


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A directory whose configuration changes the canned answer of `play` to mine.json."""
    return Folder(tmp_path)


PLAY = "routes: {play: {canned: mine.json}}"


def test_a_canned_answer_beside_the_configuration_wins_over_the_carried_one(folder: Folder) -> None:
    """By its own name, or by another that the route is given."""
    folder.write("mocks/video.json", '{"id": "mine {{videoId}}"}')
    folder.write("mine.json", '{"playUrl": "{{videoId}}"}')
    mocks = folder.load(PLAY).mocks
    assert mocks["video"].render({"videoId": "1"}) == {"id": "mine 1"}
    assert mocks["play"].render({"videoId": "1"}) == {"playUrl": "1"}


def test_every_carried_answer_wants_only_what_its_route_gives(folder: Folder) -> None:
    """They were checked, and so no call can fail for a missing value."""
    loaded = folder.load("")
    for name, template in loaded.mocks.items():
        assert template.names <= loaded.tables["plan"][name].inputs.keys() | BUILT_IN


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"a": 1,\n  "b": }', ["mine.json:2:8: this is not JSON: "]),
        ("", ["mine.json:1:1: this is not JSON: "]),
        ('{"a": NaN}', ["mine.json:1:7: this is not JSON: "]),
        (b'{"a": "\xff"}', ["mine.json:1:8: is not UTF-8 text"]),
        ("[" * 50 + "]" * 50, ["mine.json:1:1: is nested deeper than 40 levels"]),
        (
            '{"a": "{{page}}",\n "b": "x{{ vidioId }}"}',
            [
                "mine.json:1:8: page is no value of the route play",
                "mine.json:2:9: vidioId is no value of the route play (did you mean videoId?)",
            ],
        ),
        (
            '{"a": 1,\n "b": "{{video id}}"}',
            ["mine.json:2:8: '{{video id}}' holds a slot that is not like {{name}}"],
        ),
        ('{"a": "{{page-1h}}"}', ["mine.json:1:8: {{page-1h}}: only now can be moved back in time"]),
    ],
)
def test_a_canned_answer_that_is_none_is_told_of(
    folder: Folder, content: str | bytes, expected: list[str]
) -> None:
    """At its line, once, though both tables use it."""
    folder.write("mine.json", content)
    found = folder.problems(PLAY)
    assert len(found) == len(expected)  # the JSON parser's own words may change
    assert all(line.startswith(begin) for line, begin in zip(found, expected, strict=True))


def test_a_slot_across_lines_is_told_of_at_the_file(folder: Folder) -> None:
    """JSON can spell a slot so that no line shows it."""
    folder.write("mine.json", '{"a": "\\u007b{x y}}"}')
    assert folder.problems(PLAY) == ["mine.json:1:1: '{{x y}}' holds a slot that is not like {{name}}"]


def test_a_list_that_is_cut_must_be_there(folder: Folder) -> None:
    """Paging would have nothing to cut."""
    folder.write("mocks/videos.json", '{"videos": 5}')
    assert folder.problems("") == ["mocks/videos.json:1:1: videos must be a list: the route videos cuts it"]


def test_a_canned_file_that_cannot_be_read_is_told_of(folder: Folder) -> None:
    """With the nearest name, at the key that names it."""
    folder.write("mocks/vids.json", "{}")
    (folder.path / "mine.json").mkdir()
    text = "routes:\n  play: {canned: mine.json}\n  video:\n    canned: mocks/vidio.json"
    assert folder.problems(text) == [
        "mine.json: cannot be read: Is a directory",
        (
            'proxy.yaml:4:5: routes.video.canned: there is no file "mocks/vidio.json" '
            "(did you mean mocks/video.json?)"
        ),
    ]


def test_a_route_under_auto_has_one_canned_answer(folder: Folder) -> None:
    """Clients must not see which table is in use."""
    folder.write("other.json", "{}")
    carried = folder.load("").tables  # sound before
    assert carried["plan"]["play"].canned == carried["newer"]["play"].canned
    table = (Path(__file__).parent.parent / "config/dialects/newer.yaml").read_text()
    folder.write("dialects/newer.yaml", table.replace("mocks/play.json", "other.json"))
    (line,) = folder.problems("")
    assert line.startswith("dialects/newer.yaml:")
    assert line.endswith("routes.play.canned: is not as in plan; auto wants the same in both")
