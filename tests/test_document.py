"""YAML to data with positions."""

import json
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.document import MAX_BYTES, MAX_DEPTH, MAX_NODES, Document, parse, typed
from proxy.nodes import Lost, Mark, Scalar, find, plain, written_at
from proxy.substitution import Substitution

MISUSED_TAB = (
    "f.yaml:2:1: this is not YAML: found character that cannot start any token "
    "while scanning for the next token; indent with blanks, not with tabs"
)
UNQUOTED = (
    "f.yaml:1:9: this is not YAML: did not find expected ',' or '}' while parsing a flow mapping; "
    'within { } put "${…}" in quotes'
)
ENVIRON = {"YES": "true", "FIVE": "5", "NOTHING": "", "STAR": "*x", "URL": "http://a"}


def _no_file(path: str) -> bytes:
    raise OSError(2, f"No such file: {path}")


def read(text: str | bytes, environ: Mapping[str, str] = ENVIRON) -> Document:
    """Read a document that is called f.yaml."""
    data = text if isinstance(text, bytes) else text.encode()
    return parse(data, "f.yaml", Substitution(environ, _no_file))


def data(text: str) -> object:
    """Return the data of a document that has nothing wrong with it."""
    document = read(text)
    assert document.problems == ()
    return plain(document.root)


def problems(text: str | bytes) -> list[str]:
    """Return what is wrong with a document."""
    return [str(problem) for problem in read(text).problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("yes", "yes"),
        ("12:30:00", "12:30:00"),
        ("2026-01-01", "2026-01-01"),
        ("0o17", "0o17"),
        ("007", "007"),
        ("1_000", "1_000"),
        (".inf", ".inf"),
        ("1e999", "1e999"),
        ("9" * 40, "9" * 40),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("42", 42),
        ("-0", 0),
        ("1.50", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("00.5", "00.5"),
        ("0.0.0.0:3001", "0.0.0.0:3001"),
    ],
)
def test_unquoted_scalars_follow_yaml_1_2_without_its_oddities(text: str, value: object) -> None:
    """Only true, false, null, integers and floats are typed; all else is the text that it is."""
    assert typed(text) == value
    assert type(typed(text)) is type(value)
    assert data(f"a: {text}") == {"a": value}


def test_quoted_and_tagged_texts_stay_texts() -> None:
    """Quotes and !!str say that a text is meant."""
    assert data("a: '5'\nb: \"true\"\nc: !!str 5\nd: |\n  6\ne: ! 7") == {
        "a": "5",
        "b": "true",
        "c": "5",
        "d": "6\n",
        "e": "7",
    }


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "--- {}\n", "\ufeff"])
def test_an_empty_file_is_an_empty_mapping(text: str) -> None:
    """A configuration may leave everything at its default."""
    assert data(text) == {}


def test_every_key_and_item_has_its_place() -> None:
    """Lines and columns count from one, in flow mappings too, and after a byte order mark."""
    root = read("\ufeffa: 1\nb:\n  c: {d: [x, yy], ä: 2,  e: 3}\n").root
    for path, line, column in [
        (("a",), 1, 1),
        (("b",), 2, 1),
        (("b", "c"), 3, 3),
        (("b", "c", "d"), 3, 7),
        (("b", "c", "d", 1), 3, 14),
        (("b", "c", "e"), 3, 26),
    ]:
        mark = written_at(root, path)[1]
        assert (mark.file, mark.line, mark.column) == ("f.yaml", line, column)


def test_aliases_and_merged_keys_keep_the_place_where_they_are_written() -> None:
    """The line to mend is the one that the anchor has."""
    text = "x: &x {a: 1, b: 2}\ny: &y\n  b: 3\nz:\n  <<: [*x, *y]\n  c: 4\nw: *x\nv:\n  a: 0\n  <<: *x\n"
    document = read(text)
    assert document.problems == ()
    assert plain(find(document.root, ("z",)) or document.root) == {"a": 1, "b": 2, "c": 4}
    assert plain(find(document.root, ("v",)) or document.root) == {"a": 0, "b": 2}
    lines = {
        path: written_at(document.root, path)[1].line for path in [("z", "a"), ("w",), ("w", "b"), ("v", "a")]
    }
    assert lines == {("z", "a"): 1, ("w",): 7, ("w", "b"): 1, ("v", "a"): 9}


def test_an_anchor_on_a_key_or_scalar_serves_an_alias() -> None:
    """Anchors work wherever YAML has them."""
    assert data("&k a: &v 5\nb: *v\nc: *k") == {"a": 5, "b": 5, "c": "a"}
    assert data("'<<': 1") == {"<<": 1}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3", ['f.yaml:3:1: the key "a" stands here a second time; the first is in line 1']),
        (
            "<<: {a: 1}\n<<: {b: 1}",
            ['f.yaml:2:1: the key "<<" stands here a second time; the first is in line 1'],
        ),
        ("<<: 5", ["f.yaml:1:1: << takes a mapping or a list of mappings"]),
        (
            "1: a\ntrue: b",
            [
                'f.yaml:1:1: the key "1" must be a text: put it in quotes',
                'f.yaml:2:1: the key "true" must be a text: put it in quotes',
            ],
        ),
        ("? [a]\n: 1", ["f.yaml:1:3: a key must be a text"]),
        ("a: 1\n---\nb: 1", ["f.yaml:2:1: a second document; one is wanted"]),
        ("- a", ["f.yaml:1:1: a mapping is wanted here (key: value)"]),
        ("text", ["f.yaml:1:1: a mapping is wanted here (key: value)"]),
        ("a: *b", ["f.yaml:1:4: there is no anchor &b above the alias *b"]),
        ("a: &a [*a]", ["f.yaml:1:8: the alias *a stands within its own anchor"]),
        ("a: !!binary eA==", ["f.yaml:1:4: the tag tag:yaml.org,2002:binary is not known here"]),
        ("a: !x [1]", ["f.yaml:1:4: the tag !x is not known here"]),
        ("a: b\n c: d", ["f.yaml:2:3: this is not YAML: mapping values are not allowed in this context"]),
        (
            "a:\n\tb: 1",
            [MISUSED_TAB],
        ),
        (
            "a: {b: ${X}}",
            [UNQUOTED],
        ),
        ("a: 1\nb: x\x00", ["f.yaml:2:5: the character U+0000 must not stand here"]),
        (b"a: 1\nb: \xe4", ["f.yaml:2:4: is not UTF-8 text"]),
        (b"\xef\xbb\xbfa: \xe4", ["f.yaml:1:4: is not UTF-8 text"]),
        ("a: 1".encode("utf-16"), ["f.yaml:1:1: is UTF-16; save it as UTF-8"]),
        (b"#" * (MAX_BYTES + 1), ["f.yaml: is larger than 1024 KiB; that is no configuration"]),
    ],
)
def test_what_is_wrong_with_a_file_is_told_at_its_place(text: str | bytes, expected: list[str]) -> None:
    """Nothing is dropped or guessed at silently."""
    assert problems(text) == expected


def test_all_mistakes_that_leave_a_document_readable_are_told_at_once() -> None:
    """And what is sound is still there."""
    document = read("a: ${NONE}\nb: 1\nb: 2\nc: !x 3\nd: ${\ne: 5")
    assert [problem.mark.line for problem in document.problems] == [1, 3, 4, 5]
    assert isinstance(find(document.root, ("a",)), Lost)
    assert find(document.root, ("b",)) == Scalar(Mark("f.yaml", 2, 4), 1, "1")
    assert plain(document.root) == {"a": None, "b": 1, "c": "3", "d": None, "e": 5}


def test_what_is_put_in_is_typed_anew_only_without_quotes() -> None:
    """`enabled: ${X}` can be a truth value, quoted it is a text, and empty it is an empty text."""
    text = "a: ${YES}\nb: '${YES}'\nc: ${FIVE}0\nd: ${NOTHING}\ne: ${NONE:-}\nf: ${NONE:-null}\ng: ${URL}/x"
    assert data(text) == {"a": True, "b": "true", "c": 50, "d": "", "e": "", "f": None, "g": "http://a/x"}


def test_what_is_put_in_cannot_change_the_structure() -> None:
    """It is put in after YAML was read."""
    trick = {"STAR": "*x\nb: [1", "KEY": "k"}
    document = read("x: &x 1\na: ${STAR}\n${KEY}: 1", trick)
    assert document.problems == ()
    assert plain(document.root) == {"x": 1, "a": "*x\nb: [1", "${KEY}": 1}


def test_a_value_that_was_put_in_is_known_as_such() -> None:
    """Only its origin may be told."""
    node = find(read("a: x${URL}").root, ("a",))
    assert isinstance(node, Scalar)
    assert (node.origin, node.text) == ("${URL}", "xhttp://a")


def test_an_alias_bomb_is_refused_before_it_grows() -> None:
    """Ten levels of nine aliases would be a milliard values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
    assert problems("\n".join(lines))[0].endswith(f"more than {MAX_NODES} values, aliases counted in full")


def test_deep_nesting_is_refused_however_it_is_built() -> None:
    """By brackets or by aliases of aliases."""
    wanted = f"is nested deeper than {MAX_DEPTH} levels"
    assert problems("a: " + "[" * 100_000)[0].endswith(wanted)
    chain = ["a0: &a0 {k: 1}"] + [f"a{i}: &a{i} {{k: [*a{i - 1}]}}" for i in range(1, MAX_DEPTH)]
    assert problems("\n".join(chain))[0].endswith(wanted)


@given(st.one_of(st.text(), st.binary(), st.text("[]{}:,&*!|>'\"%@`#- \n\tab$<${}")))
@settings(max_examples=300)
def test_any_bytes_are_read_or_told_of(noise: str | bytes) -> None:
    """Nothing that stands in a file makes reading it fail otherwise."""
    raw = noise.encode("utf-8", "replace") if isinstance(noise, str) else noise
    document = read(raw)
    assert isinstance(plain(document.root), dict)
    assert all(str(problem).startswith("f.yaml") for problem in document.problems)


WORDS = st.text(st.characters(min_codepoint=1, max_codepoint=0x2FF), max_size=6)
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**20), 10**20), WORDS.map(lambda text: text.replace("$", ""))
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(WORDS, inner, max_size=4)),
    max_leaves=12,
)


@given(st.dictionaries(WORDS, TREES, max_size=4))
def test_json_is_read_as_json(tree: dict[str, object]) -> None:
    """JSON is YAML, whatever its texts look like."""
    assert data(json.dumps(tree)) == frozen(tree)


def frozen(value: object) -> object:
    """Return the data with tuples for lists."""
    if isinstance(value, dict):
        return {key: frozen(item) for key, item in value.items()}
    return tuple(frozen(item) for item in value) if isinstance(value, list) else value
