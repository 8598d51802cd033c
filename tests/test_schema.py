"""The JSON Schema that editors check a configuration with."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from proxy.lookup import carried_directory
from proxy.route import Route
from proxy.schema import main, schema

CARRIED = carried_directory()
SCHEMA: dict[str, Any] = json.loads((CARRIED / "schema.json").read_text())
VALIDATOR = Draft202012Validator(SCHEMA)


def errors(text: str) -> list[str]:
    """Return where a file does not follow the schema."""
    return sorted(error.json_path for error in VALIDATOR.iter_errors(yaml.safe_load(text)))


def test_the_carried_schema_is_current(capsys: pytest.CaptureFixture[str]) -> None:
    """`python -m proxy.schema > config/schema.json` makes it so."""
    main()
    assert capsys.readouterr().out == (CARRIED / "schema.json").read_text()


def test_the_schema_is_one_and_the_carried_configuration_follows_it() -> None:
    """In the file's own words, with nothing put in."""
    Draft202012Validator.check_schema(schema())
    assert errors((CARRIED / "proxy.yaml").read_text()) == []


def test_an_empty_configuration_and_any_part_of_one_follow_it() -> None:
    """Nothing is required: the rest has defaults, or stands in the dialect."""
    assert errors("{}") == []
    assert errors("gateway: {timeout: {total: 10s}}\nroutes: {video: {input: {x: {default: 5}}}}") == []


def test_substituted_texts_stand_for_any_scalar() -> None:
    """What they will be is not known in an editor."""
    text = """
        mode: ${MODE}
        listen: ${HOST}:3001
        gateway:
          retry: {attempts: "${N:-3}"}
          breaker: {failure_rate: "${file:/rate}"}
        kaltura: {partner_id: 5}
        trusted_proxies: ["${NET}"]
        routes: {video: {retry: "${R}", fallback: ["${F}"]}}
    """
    assert errors(text) == []


def test_mistakes_show_in_an_editor() -> None:
    """Unknown keys, wrong types, and values that cannot be."""
    text = """
        mode: shadow
        listen: 3001
        workers: 1
        gateway: {timeout: {total: 3}, login: {roles: x}, breaker: {failure_rate: 101%}}
        routes: {video: {as: usr, name: x, input: {x: {from: body, nope: 1}}}}
    """
    assert errors(text) == [
        "$",
        "$.gateway.breaker.failure_rate",
        "$.gateway.login.roles",
        "$.gateway.timeout.total",
        "$.listen",
        "$.mode",
        "$.routes.video",
        "$.routes.video.as",
        "$.routes.video.input.x",
    ]


def leaves(part: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the properties of a schema and of its parts by dotted names."""
    for name, inner in part.get("properties", {}).items():
        if "$ref" in inner:
            yield from leaves(SCHEMA["$defs"][inner["$ref"].rpartition("/")[2]], f"{path}{name}.")
        else:
            yield f"{path}{name}", inner


def test_every_key_is_described_and_has_the_carried_default() -> None:
    """Editors show both."""
    found = dict(leaves(SCHEMA))
    assert all(inner["description"].endswith(".") for inner in found.values())
    assert found["gateway.timeout.attempt"]["default"] == "3s"
    assert found["gateway.url"]["default"] == "http://localhost:3000/api"
    assert found["gateway.retry.attempts"]["default"] == 3
    assert all("default" in inner for inner in found.values())


def test_routes_have_the_keys_of_a_dialect() -> None:
    """But for the name, which is the key itself."""
    keys = {field.alias or name for name, field in Route.model_fields.items()}
    assert SCHEMA["$defs"]["Route"]["properties"].keys() == keys - {"name"}
