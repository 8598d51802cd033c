"""Durations, sizes, shares and frequencies as people write them, and models of what is written."""

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from proxy.endpoints import HostPort, HttpUrl, Listen, Network, parse_network
from proxy.units import (
    WRITTEN,
    Duration,
    Refused,
    Share,
    Size,
    parse_duration,
    parse_frequency,
    parse_share,
    parse_size,
    shown,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("250ms", 0.25), ("3s", 3), ("0s", 0), ("1.5s", 1.5), ("5m", 300), ("12h", 43_200), ("1d", 86_400)],
)
def test_a_duration_is_read_in_seconds(text: str, seconds: float) -> None:
    """Each unit of time counts as many seconds as it has."""
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["3 sec", "", "s", "-1s", "1e3s", "3 s", "1m30s", "٣s", "3s\n", True, None, []]
)
def test_what_is_no_duration_is_refused_with_examples(text: object) -> None:
    """The message shows the value and how a duration is written."""
    with pytest.raises(Refused, match="is not a duration; write it like 250ms, 3s, 5m or 12h") as caught:
        parse_duration(text)
    assert str(caught.value).startswith(shown(text))


@pytest.mark.parametrize("parse", [parse_duration, parse_size, parse_share])
@pytest.mark.parametrize("number", [3, 0, 0.5])
def test_a_bare_number_is_refused_for_its_missing_unit(
    parse: Callable[[object], object], number: float
) -> None:
    """Nobody can see what a number without a unit means."""
    with pytest.raises(Refused, match=rf"^{re.escape(str(number))} is not .*it has no unit, write it like"):
        parse(number)


@given(st.integers(0, 10**9 - 1), st.sampled_from(["ms", "s", "m", "h", "d"]))
def test_every_amount_of_a_unit_is_that_many_times_the_unit(amount: int, unit: str) -> None:
    """Reading is linear in the number."""
    assert parse_duration(f"{amount}{unit}") == pytest.approx(amount * parse_duration(f"1{unit}"))


@pytest.mark.parametrize(
    ("text", "size"), [("1B", 1), ("16KiB", 16_384), ("64MiB", 67_108_864), ("1GiB", 1_073_741_824)]
)
def test_a_size_is_read_in_bytes(text: str, size: int) -> None:
    """Units of size are powers of 1024."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["16KB", "1.5MiB", "-1B", "16kib", "MiB", None])
def test_what_is_no_size_is_refused(text: object) -> None:
    """Decimal units are not guessed at."""
    with pytest.raises(Refused, match="is not a size; write it like"):
        parse_size(text)


@pytest.mark.parametrize(("text", "share"), [("0%", 0), ("20%", 0.2), ("12.5%", 0.125), ("100%", 1)])
def test_a_share_is_a_part_of_one(text: str, share: float) -> None:
    """Percent are hundredths."""
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["101%", "100.1%", "-1%", "20", "%", "20 %", None])
def test_what_is_no_share_is_refused(text: object) -> None:
    """A share lies between nothing and all."""
    with pytest.raises(Refused, match="is not a share; write it like 20%, from 0% to 100%"):
        parse_share(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", '"a"'),
        ("é", '"é"'),
        ("\x1b[2J", '"\\u001b[2J"'),
        ("x" * 100, '"' + "x" * 60 + '…"'),
        (True, "true"),
        (None, "null"),
        (3, "3"),
        ((1,), "a list"),
        ({"a": 1}, "a mapping"),
    ],
)
def test_an_error_shows_a_value_as_yaml_would(value: object, text: str) -> None:
    """Values are shown short, on one line and without control characters."""
    assert shown(value) == text


class _Model(BaseModel):
    duration: Duration = 1.0
    size: Size = 1
    share: Share = 1.0
    listen: Listen = HostPort("localhost", 1)
    url: HttpUrl = "http://a"
    network: Network = parse_network("10.0.0.0/8")


WORDS = {
    "duration": "250ms",
    "size": "16KiB",
    "share": "20%",
    "listen": "[::1]:80",
    "url": "https://a.b/c",
    "network": "fd00::/8",
}


def test_models_of_a_file_take_texts_with_units_only() -> None:
    """A number of a file is refused where code may give one."""
    model = _Model.model_validate(WORDS, context=WRITTEN)
    assert (model.duration, model.size, model.share, str(model.listen)) == (0.25, 16_384, 0.2, "[::1]:80")
    assert _Model(duration=2.0, size=3, share=0.5, listen=model.listen, network=model.network).duration == 2.0
    for name, number in {"duration": 3, "size": 3, "share": 0.5}.items():
        with pytest.raises(ValidationError, match="has no unit"):
            _Model.model_validate({name: number}, context=WRITTEN)
    with pytest.raises(ValidationError, match="true is not a duration"):
        _Model.model_validate({"duration": True})


def test_editors_are_told_patterns_that_take_what_is_taken() -> None:
    """Each type's JSON Schema has a pattern, and the examples match it."""
    properties = _Model.model_json_schema()["properties"]
    for name, text in WORDS.items():
        pattern, examples = properties[name]["pattern"], properties[name]["examples"]
        assert all(re.search(pattern, good) for good in [text, *examples])
        assert not re.search(pattern, "3 sec")


@pytest.mark.parametrize(
    ("text", "times"),
    [("50/s", 50.0), ("90/m", 1.5), ("3600/h", 1.0), ("1/h", 1 / 3600), ("off", None), (False, None)],
)
def test_a_frequency_is_times_a_second(text: object, times: float | None) -> None:
    """Seconds, minutes and hours are known; off is none at all."""
    assert parse_frequency(text) == (None if times is None else pytest.approx(times))


@pytest.mark.parametrize(
    "text", ["", "50", "0/s", "-1/s", "1.5/s", "50/d", "50 / s", "OFF", 50, None, True, ["1/s"]]
)
def test_what_is_no_frequency_is_refused(text: object) -> None:
    """A rate that cannot be is not silently off."""
    with pytest.raises(Refused, match="write it like 50/s or 100/m, or off"):
        parse_frequency(text)
