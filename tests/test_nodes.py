"""Plain data with positions, and one file laid over another."""

from proxy.misfits import Path
from proxy.nodes import (
    Items,
    Lost,
    Mark,
    Node,
    Plain,
    Problem,
    Scalar,
    Table,
    find,
    overlay,
    plain,
    scalars,
    written_at,
)


def leaf(line: int, value: Plain) -> Scalar:
    """A scalar in a line of its own."""
    return Scalar(Mark("a", line, 9), value, f"<{value}>")


def table(file: str, line: int, **entries: Node) -> Table:
    """A mapping whose keys stand in the lines of their values."""
    return Table(
        Mark(file, line, 1),
        {key: (Mark(file, value.mark.line, 3), value) for key, value in entries.items()},
    )


TREE = table("a", 1, x=leaf(2, 5), y=table("a", 3, z=Items(Mark("a", 4, 7), (leaf(5, "p"), leaf(6, None)))))


def test_marks_and_problems_read_as_editors_want_them() -> None:
    """`FILE:LINE:COLUMN`, and the file alone where the whole of it is meant."""
    assert str(Problem(Mark("f.yaml", 3, 7), "is wrong")) == "f.yaml:3:7: is wrong"
    assert str(Problem(Mark("f.yaml"), "is wrong")) == "f.yaml: is wrong"


def test_plain_gives_the_data_with_lists_that_nothing_alters() -> None:
    """Lists are tuples; a value that could not be had is null."""
    assert plain(TREE) == {"x": 5, "y": {"z": ("p", None)}}
    assert plain(Lost(Mark("a"))) is None


def test_plain_gives_the_text_of_chosen_scalars() -> None:
    """A number that is wanted as a text comes as it was written."""
    paths: set[Path] = {("x",), ("y", "z", 1)}
    assert plain(TREE, paths) == {"x": "<5>", "y": {"z": ("p", "<None>")}}


def test_find_follows_keys_and_indices() -> None:
    """A path that leads nowhere finds nothing."""
    assert find(TREE, ("y", "z", 0)) == leaf(5, "p")
    for path in (("q",), ("x", "q"), ("y", "z", 2), ("y", "z", -1), ("y", "z", "0")):
        assert find(TREE, path) is None


def test_written_at_gives_the_mark_of_the_last_key_that_is_there() -> None:
    """A key's own mark, an item's mark, or that of the nearest one above."""
    assert written_at(TREE, ("y", "z")) == (("y", "z"), Mark("a", 4, 3))
    assert written_at(TREE, ("y", "z", 1)) == (("y", "z", 1), Mark("a", 6, 9))
    assert written_at(TREE, ("y", "w", "v")) == (("y",), Mark("a", 3, 3))
    assert written_at(TREE, ()) == ((), Mark("a", 1, 1))


def test_scalars_are_all_leaves() -> None:
    """Lost values count, so that it shows that something is missing below."""
    lost = Lost(Mark("a", 9, 9))
    assert list(scalars(table("a", 1, x=Items(Mark("a"), (leaf(2, 1),)), y=lost))) == [leaf(2, 1), lost]


def test_an_overlay_merges_mappings_and_replaces_the_rest() -> None:
    """Each key keeps the mark of the file that it comes from."""
    base = table("base", 1, a=table("base", 2, b=leaf(3, 1), c=leaf(4, 2)), d=Items(Mark("base", 5, 1), ()))
    top = table("top", 1, a=table("top", 7, c=leaf(8, 3)), d=leaf(9, None), e=leaf(10, 4))
    both = overlay(base, top)
    assert plain(both) == {"a": {"b": 1, "c": 3}, "d": None, "e": 4}
    assert written_at(both, ("a", "b"))[1] == Mark("base", 3, 3)
    assert written_at(both, ("a", "c"))[1] == Mark("top", 8, 3)
    assert written_at(both, ("a",))[1] == Mark("top", 7, 3)


def test_no_repr_holds_a_value() -> None:
    """Values may be secrets."""
    assert "s3cret" not in repr(table("a", 1, x=Scalar(Mark("a"), "s3cret", "s3cret")))
