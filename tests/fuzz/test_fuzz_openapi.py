"""docs/openapi.yaml against the listener: what it allows, and what it does not, gets what it says."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
import yaml
from hypothesis import HealthCheck, settings
from jsonschema import Draft202012Validator
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from proxy.openapi import main
from tests.fuzz.running import Running, in_a_thread

FILE = Path(__file__).parent.parent.parent / "docs" / "openapi.yaml"
RAW: dict[str, Any] = yaml.safe_load(FILE.read_text())
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
schema = schemathesis.openapi.from_dict(RAW)
bounded = settings(
    max_examples=20, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck), database=None
)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A sidecar in front of the sandbox."""
    with in_a_thread(tmp_path_factory.mktemp("openapi")) as running:
        yield running


def test_it_is_current(capsys: pytest.CaptureFixture[str]) -> None:
    """The file is what the module says now."""
    main()
    assert capsys.readouterr().out == FILE.read_text()


def test_it_is_openapi() -> None:
    """The whole description is sound."""
    schema.validate()
    assert all(isinstance(operation, Ok) for operation in schema.get_all_operations())
    for part in RAW["components"]["schemas"].values():
        Draft202012Validator.check_schema(part)


def test_each_route_is_described() -> None:
    """Each route of the plan is an operation, by its name."""
    operations = [operation["operationId"] for path in RAW["paths"].values() for operation in path.values()]
    assert sorted(operations) == sorted(
        ["video", "details", "videos", "search", "session", "play", "token", "logout"]
    )


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A sidecar that never asks the gateway."""
    with in_a_thread(tmp_path_factory.mktemp("offline"), "mode: offline") as running:
        yield running


@schema.parametrize()
@bounded
def test_what_stands_in_is_as_described(case: Any, offline: Running) -> None:
    """Canned answers, and the errors where there are none, keep to the description as well."""
    response = case.call(base_url=offline.base)
    case.validate_response(response, checks=[check for check in CHECKS if check is not not_a_server_error])


@schema.parametrize()
@bounded
def test_calls_are_answered_as_described(case: Any, running: Running) -> None:
    """Status, type, fields and body of each answer are among those described, and none is a failure."""
    response = case.call(base_url=running.base)
    # What the Activity server says to a code is its own, and to some bodies it says 500.
    own = case.operation.definition.raw["operationId"] == "token"
    case.validate_response(
        response, checks=[check for check in CHECKS if not (own and check is not_a_server_error)]
    )
