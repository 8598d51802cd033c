"""What `${…}` stands for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.substitution import Substitution, Unsubstitutable


def _read(path: str) -> bytes:
    files = {"/run/secrets/x": b"s3cret\n", "/two": b"a\r\n\r\n", "/bin": b"\xff", "/empty": b""}
    if path == "/nul":
        raise ValueError("embedded null byte")
    if path not in files:
        raise OSError(2, "No such file or directory")
    return files[path]


SUBSTITUTE = Substitution({"A": "one", "EMPTY": "", "TRICK": "${A}", "a_1": "low"}, _read)


@pytest.mark.parametrize(
    ("text", "result", "origin"),
    [
        ("plain $A {x}", "plain $A {x}", None),
        ("${A}", "one", "${A}"),
        ("<${A}|${a_1}|${A}>", "<one|low|one>", "${A} and ${a_1}"),
        ("${A:-two}", "one", "${A}"),
        ("${NONE:-two: {}", "two: {", "${NONE}"),
        ("${NONE:-}", "", "${NONE}"),
        ("${EMPTY}", "", "${EMPTY}"),
        ("${EMPTY:-two}", "two", "${EMPTY}"),
        ("${TRICK}", "${A}", "${TRICK}"),
        ("$${A}", "${A}", None),
        ("$$${A}", "$${A}", None),
        ("$${${A}", "${one", "${A}"),
        ("${file:/run/secrets/x}", "s3cret", "${file:/run/secrets/x}"),
        ("${file:/two}", "a\r\n", "${file:/two}"),
        ("${file:/empty}", "", "${file:/empty}"),
    ],
)
def test_texts_are_put_in_once(text: str, result: str, origin: str | None) -> None:
    """What was put in is not looked through again, and its origin is remembered."""
    assert SUBSTITUTE(text) == (result, origin)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("${NONE}", "the variable NONE is not set"),
        ("${A", "is not closed"),
        ("${}", "takes NAME, NAME:-default or file:/path"),
        ("${A-b}", "takes NAME"),
        ("${1A}", "takes NAME"),
        ("${A:-${B}}", "cannot stand within another"),
        ("${file:/none}", "/none cannot be read: No such file or directory"),
        ("${file:/nul}", "/nul cannot be read: no such path"),
        ("${file:/bin}", "/bin is not UTF-8 text"),
    ],
)
def test_what_cannot_be_put_in_is_told(text: str, why: str) -> None:
    """A setting never falls quietly to nothing."""
    with pytest.raises(Unsubstitutable, match=why.replace("$", r"\$").replace("{", r"\{")):
        SUBSTITUTE(text)


@given(st.text())
def test_any_text_can_be_written_so_that_nothing_is_put_in(text: str) -> None:
    """`$${` is a literal `${` wherever it stands."""
    if "$${" not in text:
        assert SUBSTITUTE(text.replace("${", "$${")) == (text, None)


def test_its_repr_holds_no_environment() -> None:
    """Secrets come by the environment."""
    assert "one" not in repr(SUBSTITUTE)
