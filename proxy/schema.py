"""JSON Schema of `proxy.yaml` for editors, made from the models: `python -m proxy.schema`.

Draft 2020-12. A text with `${…}` may stand wherever a scalar may: what it will be is not known before it
is put in. The defaults are those of the carried configuration.
"""

import sys
from collections.abc import Mapping
from typing import Any, Final, cast

import orjson
from pydantic.json_schema import models_json_schema

from proxy.lookup import Files, carried_directory
from proxy.nodes import plain
from proxy.route import Route
from proxy.settings import Settings
from proxy.substitution import Substitution

Schema = dict[str, Any]

_SUBSTITUTED: Final[Schema] = {"$ref": "#/$defs/Substituted"}
_NOISE: Final = frozenset({"title", "default", "format", "writeOnly"})
_NARROW: Final = frozenset({"pattern", "enum"})


def schema() -> Schema:
    """Return the schema of a user's file: nothing is required, nothing unknown is taken."""
    _, whole = models_json_schema([(Settings, "validation"), (Route, "validation")], by_alias=True)
    parts = {name: _tidy(part) for name, part in whole["$defs"].items()}
    del parts["Route"]["properties"]["name"]
    for name in ("Route", "Input"):  # only what is to differ from the dialect
        parts[name].pop("required", None)
    settings = parts.pop("Settings")
    del settings["description"]  # for those who read the code
    settings["properties"]["routes"]["additionalProperties"] = {"$ref": "#/$defs/Route"}
    _tell_defaults(settings, parts, _documented())
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of activity-proxy",
        **settings,
        "$defs": {"Substituted": {"type": "string", "pattern": r"\$\{[^}]+\}"}, **parts},
    }


def _documented() -> Schema:
    """Return what the carried configuration says when nothing is set in the environment."""
    carried = carried_directory()
    document = Files((carried,), Substitution({}, lambda _: b"")).document(carried / "proxy.yaml")
    return cast("Schema", plain(document.root))


def _tidy(part: Schema) -> Schema:
    """Drop what editors do not need and let substituted texts stand for scalars."""
    tidy = {key: value for key, value in part.items() if key not in _NOISE}
    if "properties" in tidy:
        tidy["properties"] = {name: _tidy(value) for name, value in tidy["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(tidy.get(key), dict):
            tidy[key] = _tidy(tidy[key])
    if "anyOf" in tidy:
        tidy["anyOf"] = [choice for alternative in tidy["anyOf"] for choice in _choices(_tidy(alternative))]
        return tidy
    choices = _choices(tidy)
    if len(choices) == 1:
        return tidy
    about = {"description": tidy.pop("description")} if "description" in tidy else {}
    return {**about, "anyOf": choices}


def _choices(part: Schema) -> list[Schema]:
    if "anyOf" in part:
        return list(part["anyOf"])
    kind = part.get("type")
    narrow = kind in ("integer", "number", "boolean") or (kind == "string" and _NARROW & part.keys())
    return [part, _SUBSTITUTED] if narrow else [part]


def _tell_defaults(part: Schema, parts: Mapping[str, Schema], defaults: Schema) -> None:
    for name, inner in part["properties"].items():
        if "$ref" in inner:
            _tell_defaults(parts[inner["$ref"].rpartition("/")[2]], parts, defaults[name])
        else:
            inner["default"] = defaults[name]


def main() -> None:
    """Write the schema to standard output."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    sys.stdout.write(orjson.dumps(schema(), option=options).decode())


if __name__ == "__main__":
    main()
