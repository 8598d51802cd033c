"""The exchanges that were recorded with the real services, typed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Recording = Literal[
    "activity-server",
    "gateway-older-kaltura",
    "gateway-newer-kaltura",
    "gateway-newer-development",
]

_FOLDER = Path(__file__).parent / "recordings"


@dataclass(frozen=True)
class Exchange:
    """One request and what the service answered.

    `sent` is the request's body as it was on the wire; `answer` is the answer's, parsed where it is
    JSON and a string where it is not.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    sent: bytes | None
    status: int
    answer_headers: Mapping[str, str]
    answer: Any

    def __str__(self) -> str:
        """The exchange in a test's name."""
        return f"{self.method} {self.path} {self.status}"


def load(name: Recording) -> tuple[Exchange, ...]:
    """Return the exchanges of one recording in their order."""
    entries = json.loads((_FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return tuple(_exchange(entry["request"], entry["response"]) for entry in entries)


def _exchange(request: dict[str, Any], response: dict[str, Any]) -> Exchange:
    return Exchange(
        method=request["method"],
        path=request["path"],
        headers=request["headers"],
        sent=_written(request["body"]),
        status=response["status"],
        answer_headers=response["headers"],
        answer=response["body"],
    )


def _written(body: dict[str, object] | str | None) -> bytes | None:
    if body is None:
        return None
    if isinstance(body, str):
        return body.encode()
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
