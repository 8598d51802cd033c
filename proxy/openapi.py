"""OpenAPI description of the rewritten routes, made from the dialect `plan`: `python -m proxy.openapi`.

OpenAPI 3.1. What passes through is the Activity server's own and not described. The statuses are those that
the sidecar gives; on `POST /api/token` others can come from the Activity server.
"""

import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Final, get_args

import yaml

from proxy import __version__
from proxy.call import SourceName
from proxy.configuration import load
from proxy.credentials import COOKIE
from proxy.inputs import Input
from proxy.lookup import carried_directory
from proxy.route import Route
from proxy.shape import JsonType

Part = dict[str, Any]

_JSON: Final = "application/json"
_ABOUT: Final = """\
The calls of the Discord Activity that activity-proxy answers from the API Gateway, as clients see them.
Paths are found in any letter case, with one trailing slash, and below /.proxy as well; HEAD is GET without
the body."""
_SUMMARIES: Final[Mapping[str, str]] = {
    "video": "One video",
    "details": "What Kaltura itself says of a video",
    "videos": "A page of the list",
    "search": "A page of what is found",
    "session": "A Kaltura session for a video",
    "play": "An address to play a video from",
    "token": "Discord's token for a code; who gets it is signed in",  # nosec B105 # (a summary)
    "logout": "The end of what token began",
}
_ERRORS: Final[Mapping[int, str]] = {
    400: "The request, its path or a value in it is not valid.",
    401: "The caller has to sign in first (`identity.required`).",
    404: "There is no such thing.",
    405: "CONNECT and TRACE are not for this server.",
    408: "The body did not come in time.",
    413: "The body is too large.",
    414: "The request target is too long.",
    415: "The body's content coding is not known.",
    429: "The client asks too often (`limits.rate`); `Retry-After` says when to come back.",
    431: "A header line is too long, or there are too many.",
    500: "The sidecar itself failed.",
    502: "The answer of the server behind cannot be used; `Retry-After` is there when coming back may help.",
    503: "The server behind is away; `Retry-After` says when to come back.",
    504: "The server behind took too long.",
    508: "The request has come by this proxy before.",
}
_HEADERS: Final[Mapping[str, Part]] = {
    "Activity-Proxy-Source": {
        "description": "Where the answer is from; cache is kept and fresh, stale kept and older.",
        "required": True,
        "schema": {"type": "string", "enum": list(get_args(SourceName))},
    },
    "Cache-Status": {
        "description": "What the cache had to do with it (RFC 9211).",
        "required": True,
        "schema": {"type": "string"},
    },
    "Proxy-Status": {"description": "What failed before (RFC 9209).", "schema": {"type": "string"}},
    "X-Request-Id": {
        "description": "The client's own or made; also in the log and in errors.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,128}$"},
    },
    "Cache-Control": {
        "description": "no-store on credentials, stand-ins and errors.",
        "schema": {"type": "string"},
    },
    "ETag": {"description": "For If-None-Match, on kept answers.", "schema": {"type": "string"}},
    "Set-Cookie": {"description": "The viewer's session.", "schema": {"type": "string"}},
    "Retry-After": {
        "description": "Seconds after which it is worth coming back.",
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
    },
}
_ERROR: Final[Part] = {
    "description": "The Activity server's error and message, a code for programs, and the request's id.",
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("error", "message", "code", "requestId")},
    "required": ["error", "message", "code", "requestId"],
}


_SIGNED_IN: Final[Part] = {
    "description": "The Activity server's answer, with the gateway's token or why there is none.",
    "type": "object",
    "properties": {
        "access_token": {"type": "string"},
        "api_token": {"type": "string"},
        "api_token_expires_at": {"type": ["string", "null"], "format": "date-time"},
        "api_error": {
            "type": "object",
            "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
            "required": ["code", "message"],
        },
    },
}
_SCHEMES: Final[Part] = {
    "cookie": {"type": "apiKey", "in": "cookie", "name": COOKIE},
    "bearer": {"type": "http", "scheme": "bearer", "description": "The api_token that token gives."},
}


def description() -> Part:
    """Return the whole description."""
    table = load(carried_directory() / "proxy.yaml", {}).tables["plan"]
    paths: dict[str, Part] = {}
    for route in table.values():
        method, _, path = str(route.match).partition(" ")
        paths.setdefault(path, {})[method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "activity-proxy: the rewritten routes",
            "description": _ABOUT,
            "version": __version__,
        },
        "paths": paths,
        "components": {
            "headers": dict(_HEADERS),
            "responses": {
                **{str(status): _error(status, text) for status, text in _ERRORS.items()},
                "Own": {
                    "description": "The Activity server's own error, or one of the sidecar's.",
                    "headers": _labels("X-Request-Id", "Cache-Control"),
                    "content": {_JSON: {"schema": {**_ERROR, "required": ["error"]}}},
                },
            },
            "schemas": {"Error": _ERROR},
            "securitySchemes": _SCHEMES,
        },
    }


def _operation(route: Route) -> Part:
    operation: Part = {"operationId": route.name, "summary": _SUMMARIES.get(route.name, route.name)}
    parameters = [_parameter(name, given) for name, given in route.inputs.items() if given.where != "body"]
    if route.max_age is not None:
        parameters.append({"name": "If-None-Match", "in": "header", "schema": {"type": "string"}})
    if parameters:
        operation["parameters"] = parameters
    body = {name: given for name, given in route.inputs.items() if given.where == "body"}
    if body or route.sign == "in":
        schema: Part = {"type": "object"}
        if body:
            schema["properties"] = {name: _value(given) for name, given in body.items()}
            schema["required"] = [name for name, given in body.items() if given.required is not None]
        operation["requestBody"] = {"required": True, "content": {_JSON: {"schema": schema}}}
    if route.as_ == "user" or route.sign == "out":
        operation["security"] = [{}, {"cookie": []}, {"bearer": []}]
    operation["responses"] = _responses(route)
    return operation


def _parameter(name: str, given: Input) -> Part:
    part: Part = {"name": name, "in": given.where}
    if given.where == "path" or given.required is not None:
        part["required"] = True
    if given.type == "integer":
        part["description"] = f"Read as parseInt does; more than {given.maximum} counts as that."
    return {**part, "schema": _value(given)}


def _value(given: Input) -> Part:
    schema: Part = {"type": given.type}
    if given.default is not None:
        schema["default"] = given.default
    if given.type == "string":
        if given.pattern is not None:
            schema["pattern"] = f"^(?:{given.pattern.pattern})$"
        elif given.required is not None:
            schema["minLength"] = 1
        schema["maxLength"] = given.max_length
    return schema


def _responses(route: Route) -> Part:
    good = _labels("Activity-Proxy-Source", "Cache-Status", "Proxy-Status", "X-Request-Id", "Cache-Control")
    responses: Part = {}
    if route.max_age is not None:
        good |= _labels("ETag")
        responses["304"] = {"description": "The client's copy is still good.", "headers": good}
    if route.sign == "out":
        responses["204"] = {
            "description": "Whoever it was is signed in no more.",
            "headers": _labels("X-Request-Id", "Set-Cookie"),
        }
    else:
        content = {_JSON: {"schema": _SIGNED_IN if route.sign == "in" else _reply(route)}}
        good |= _labels("Set-Cookie") if route.sign == "in" else {}
        responses["200"] = {"description": "The answer.", "headers": good, "content": content}
    if route.sign == "in":
        responses |= {status: {"$ref": "#/components/responses/Own"} for status in ("4XX", "5XX")}
    else:
        errors = [status for status in _ERRORS if status != 401 or route.as_ == "user"]
        responses |= {str(status): {"$ref": f"#/components/responses/{status}"} for status in errors}
    return dict(sorted(responses.items()))


def _error(status: int, text: str) -> Part:
    names = ["X-Request-Id", "Cache-Control"]
    names += ["Proxy-Status"] if status in {502, 503, 504} else []
    names += ["Retry-After"] if status in {429, 502, 503, 504} else []
    schema = {"$ref": "#/components/schemas/Error"}
    return {"description": text, "headers": _labels(*names), "content": {_JSON: {"schema": schema}}}


def _labels(*names: str) -> Part:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _reply(route: Route) -> Part:
    """Return the schema that a route's `require` and `types` make: what is not required may be null."""
    plain = {field.parts[0]: kind for field, kind in route.types.items() if field.parts[1] is None}
    required = [field.parts[0] for field in route.require if field.parts[1] is None]
    schema = _object(plain, required)
    for head, kind in plain.items():
        if kind == "array":
            inner = {field.parts[1]: kind for field, kind in route.types.items() if field.parts[0] == head}
            wanted = [field.parts[1] for field in route.require if field.parts[0] == head]
            elements = _object(
                {name: kind for name, kind in inner.items() if name}, [name for name in wanted if name]
            )
            schema["properties"][head] = {"type": "array", "items": elements}
    if route.paging is not None:
        names = ("page", "pageSize", "totalCount")
        schema["properties"] |= {name: {"type": "integer"} for name in names}
        schema["required"] += names
    return schema


def _object(types: Mapping[str, JsonType], required: Iterable[str]) -> Part:
    wanted = list(required)
    known = dict.fromkeys([*wanted, *types])
    return {
        "type": "object",
        "properties": {
            name: {}
            if name not in types
            else {"type": types[name] if name in wanted else [types[name], "null"]}
            for name in known
        },
        "required": wanted,
    }


def main() -> None:
    """Write the description to standard output as YAML."""
    plain = json.loads(json.dumps(description()))  # nothing shared, so no anchors
    text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=110)
    sys.stdout.write("# Made by `python -m proxy.openapi`.\n" + text)


if __name__ == "__main__":
    main()
