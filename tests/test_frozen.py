"""Frozen dataclasses are what `dataclass(frozen=True, slots=True)` makes, made quicker."""

import inspect
from collections.abc import Callable
from copy import copy, deepcopy
from dataclasses import FrozenInstanceError, asdict, dataclass, field, fields, replace
from typing import Any

import pytest

from proxy.frozen import frozen


def _stage(make: Callable[[type], type]) -> Any:
    class Stage:
        """With fields of every sort that there is."""

        name: str
        secret: str = field(repr=False)
        parsed: object = field(default=None, repr=False, compare=False)
        kept: list[int] = field(default_factory=list)
        number: int = 7
        inner: dict[str, int] = field(default_factory=dict, init=False, compare=False)
        fixed: int = field(default=3, init=False)

        def __call__(self, more: int) -> int:
            return self.number + more

    return make(Stage)


STAGES: list[Any] = [_stage(frozen), _stage(dataclass(frozen=True, slots=True))]


@pytest.mark.parametrize("stage", STAGES, ids=["frozen", "dataclass"])
class TestAsADataclass:
    """What holds for a dataclass holds for ours."""

    def test_it_is_made_of_its_fields(self, stage: Any) -> None:
        """By place and by name, with defaults, and what a factory makes is made for each anew."""
        one, two = stage("a", "b"), stage(name="a", secret="b", parsed=1, kept=[2], number=8)
        assert (one.name, one.secret, one.parsed, one.kept, one.number) == ("a", "b", None, [], 7)
        assert (two.name, two.secret, two.parsed, two.kept, two.number) == ("a", "b", 1, [2], 8)
        assert one.inner == {}
        assert one.inner is not two.inner
        assert one.kept is not stage("a", "b").kept
        assert one.fixed == 3
        assert one(1) == 8

    @pytest.mark.parametrize("given", [(), ("a",), ("a", "b", 1, [], 7, {})])
    def test_it_takes_no_more_and_no_less(self, stage: Any, given: tuple[object, ...]) -> None:
        """A field without a default has to be given; one that is not for the giver cannot be."""
        with pytest.raises(TypeError):
            stage(*given)

    def test_it_cannot_be_altered(self, stage: Any) -> None:
        """Its fields can be neither set nor deleted, and it takes no others."""
        one = stage("a", "b")
        with pytest.raises(FrozenInstanceError):
            one.name = "c"
        with pytest.raises(FrozenInstanceError):
            del one.name
        with pytest.raises((FrozenInstanceError, TypeError)):  # a dataclass with slots trips over itself here
            one.other = 1
        assert not hasattr(one, "__dict__")

    def test_it_equals_what_has_the_same_values(self, stage: Any) -> None:
        """But for fields that are not compared, and only what is of the same class."""
        assert stage("a", "b", 1) == stage("a", "b", 2)
        assert stage("a", "b") != stage("a", "c")
        assert stage("a", "b") != ("a", "b", [], 7, 3)
        assert all(other("a", "b") != stage("a", "b") for other in STAGES if other is not stage)

    def test_it_hashes_by_its_values(self, stage: Any) -> None:
        """Equal ones are one key; what cannot be hashed in it cannot be in the whole."""
        assert len({stage("a", "b", 1, ()), stage("a", "b", 2, ()), stage("a", "c", 1, ())}) == 2
        with pytest.raises(TypeError):
            hash(stage("a", "b"))

    def test_it_tells_its_fields_but_secrets(self, stage: Any) -> None:
        """The representation leaves out the fields that say so."""
        assert repr(stage("a", "b")).endswith("Stage(name='a', kept=[], number=7, inner={}, fixed=3)")

    @pytest.mark.parametrize("copied", [copy, deepcopy])
    def test_it_can_be_copied(self, stage: Any, copied: Callable[[Any], Any]) -> None:
        """With all that is in it, though nothing of it can be set."""
        one = stage("a", "b", 1, [2])
        other = copied(one)
        assert other is not one
        assert (other, other.parsed, other.fixed) == (one, 1, 3)

    def test_it_complains_by_its_name(self, stage: Any) -> None:
        """Whoever gives what it does not take is told what it was."""
        with pytest.raises(TypeError, match=r"Stage\.__init__\(\) got an unexpected keyword argument 'more'"):
            stage("a", "b", more=1)

    def test_the_tools_for_dataclasses_know_it(self, stage: Any) -> None:
        """`replace`, `asdict`, `fields`, `match` and `inspect.signature` do what they do with a dataclass."""
        one = stage("a", "b")
        assert replace(one, number=9) == stage("a", "b", number=9)
        assert asdict(one)["number"] == 7
        assert [each.name for each in fields(one)][:2] == ["name", "secret"]
        assert [*inspect.signature(stage).parameters] == ["name", "secret", "parsed", "kept", "number"]
        match one:
            case stage(name, secret):
                assert (name, secret) == ("a", "b")


def test_what_has_no_fields_is_equal() -> None:
    """There is nothing that two of them could differ in."""

    @frozen
    class Nothing:
        pass

    assert Nothing() == Nothing()
    assert len({Nothing(), Nothing()}) == 1


@pytest.mark.parametrize("make", [frozen, dataclass(frozen=True, slots=True)])
def test_a_field_may_be_left_to_the_class_itself(make: Callable[[type], type]) -> None:
    """One that is neither given nor has a default is what `__post_init__` makes it."""

    class Twice:
        number: int
        twice: int = field(init=False)

        def __post_init__(self) -> None:
            object.__setattr__(self, "twice", 2 * self.number)

    made: Any = make(Twice)
    assert made(4).twice == 8


def test_methods_of_the_class_stay() -> None:
    """What a class says of itself is not overwritten, and `__post_init__` may refuse values."""

    @frozen
    class Even:
        number: int

        def __post_init__(self) -> None:
            if self.number % 2:
                raise ValueError("odd")

        def __repr__(self) -> str:
            return "even"

    assert repr(Even(2)) == "even"
    with pytest.raises(ValueError, match="odd"):
        Even(3)
