"""What an answer of the gateway is worth: usable, a missing thing, the caller's mistake, or a failure.

Pure functions of status, body and route. The contract that they follow is the gateway's as it is met in the
field: a missing video comes as 200 with a shell, a missing call as 404 with an HTML page.
"""

import dataclasses
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

import orjson

from proxy.call import FailureKind
from proxy.frozen import frozen
from proxy.mapping import UnmappableReply
from proxy.route import Route
from proxy.shape import FieldPath, Fields

LONGEST_RETRY_AFTER = 86_400.0
RETRYABLE = frozenset({408, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524})


@frozen
class Usable:
    """The mapped reply. `violations` are fields for which elements had to be left out of a list.

    `written` is the reply as JSON, where it is at hand.
    """

    reply: dict[str, object]
    violations: tuple[str, ...] = ()
    written: bytes | None = dataclasses.field(default=None, repr=False, compare=False)


@frozen
class Missing:
    """There is no such thing."""


@frozen
class Refused:
    """The caller's mistake (400 or 413), with the gateway's own words for it, if it has any."""

    status: int
    message: str


@frozen
class Failed:
    """No answer. `counts`: the breaker takes it for a failure. `retryable`: another try may help."""

    kind: FailureKind
    detail: str
    status: int
    counts: bool
    retryable: bool
    field: str | None = None
    retry_after: float | None = None


Verdict = Usable | Missing | Refused | Failed


def judge(
    route: Route,
    status: int,
    body: bytes,
    scope: Mapping[str, object],
    retry_after: float | None = None,
) -> Verdict:
    """Say what an answer is worth.

    Args:
        route: what was called.
        status: the answer's status.
        body: the answer's body, decoded from its transfer and content coding.
        scope: values for the reply mapping.
        retry_after: the answer's `Retry-After` in seconds.
    """
    if 200 <= status < 300:
        return _judge_content(route, status, body, scope)
    if status in {404, 405}:
        error = _error_text(body)
        if error is None:
            detail = "the gateway has no such call"
            return Failed(FailureKind.NO_SUCH_ROUTE, detail, status, counts=False, retryable=False)
        if status == 404:
            return Missing()
    if status in {400, 413}:
        return Refused(status, _error_text(body) or "the gateway refused the request")
    if status == 401:
        detail = "the gateway refused the token"
        return Failed(FailureKind.UNAUTHORIZED, detail, status, counts=False, retryable=False)
    return Failed(
        FailureKind.STATUS,
        f"the gateway answered {status}",
        status,
        counts=status >= 500,
        retryable=status in (RETRYABLE if route.retry_statuses is None else route.retry_statuses),
        retry_after=retry_after,
    )


def _judge_content(route: Route, status: int, body: bytes, scope: Mapping[str, object]) -> Verdict:
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _violation(status, "body", "the gateway's answer is not JSON")
    if route.reply is None:
        raise ValueError(f"route {route.name} maps no reply")
    try:
        reply = route.reply(content, scope)
    except UnmappableReply:
        return _violation(status, "body", "the gateway's answer has another shape")
    written = _written(reply) if isinstance(reply, dict) else None
    if not isinstance(reply, dict) or written is None:
        return _violation(status, "body", "the gateway's answer has another shape")
    return checked(route, status, reply, written=written)


def _written(reply: dict[str, object]) -> bytes | None:
    """Write a reply, unless it cannot be: less deep a tree can be written than read, and smaller numbers."""
    try:
        return orjson.dumps(reply)
    except orjson.JSONEncodeError:
        return None


def checked(
    route: Route,
    status: int,
    reply: dict[str, object],
    whose: str = "the gateway's",
    written: bytes | None = None,
) -> Verdict:
    """Hold a mapped reply against what the route requires of it.

    `whose` answer it is, an error tells; `written` is the reply as JSON, where it is at hand.
    """
    itself, lists = route.shape
    absent = [path for path, key in itself.required if reply.get(key) is None]
    if absent and len(absent) == len(itself.required) and route.absent == "missing":
        return Missing()
    if absent:
        return _violation(status, absent[0], f"{whose} answer has no {absent[0]}")
    for path, key, kind, types in itself.typed:
        if type(reply.get(key)) not in types:
            return _violation(status, path, f"{path} in {whose} answer is no {kind}")
    violations: list[str] = []
    for fields in lists:
        elements = reply.get(fields.head)
        if elements is None and not fields.required:
            continue
        if not isinstance(elements, list):
            return _violation(status, fields.first, f"{fields.head} in {whose} answer is no list")
        kept, wrong = _sifted(fields, elements)
        violations += [path for path in wrong if path not in violations]
        if elements and not kept:
            return _violation(status, violations[0], f"no element has a sound {violations[0]}")
        if wrong:
            reply, written = {**reply, fields.head: kept}, None
    return Usable(reply, tuple(violations), written)


def _sifted(fields: Fields, elements: list[object]) -> tuple[list[object], list[FieldPath]]:
    """Return the sound elements of a list, and what is wrong with the others: the first field of each."""
    kept: list[object] = []
    wrong: dict[FieldPath, None] = {}
    for element in elements:
        path = _mistake(fields, element if isinstance(element, dict) else {})
        if path is None:
            kept.append(element)
        else:
            wrong[path] = None
    return kept, list(wrong)


def _mistake(fields: Fields, values: Mapping[str, object]) -> FieldPath | None:
    """Return the first field that is absent, else the first of another type; None where all is sound."""
    for path, key in fields.required:
        if values.get(key) is None:
            return path
    for path, key, _, types in fields.typed:
        if type(values.get(key)) not in types:
            return path
    return None


def _violation(status: int, field: str, detail: str) -> Failed:
    return Failed(FailureKind.CONTRACT, detail, status, counts=True, retryable=True, field=field)


def _error_text(body: bytes) -> str | None:
    """Return the text of a JSON error, or None when the body is none."""
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    error = content.get("error") if isinstance(content, dict) else None
    if error is None:
        return None
    return error[:200] if isinstance(error, str) else ""


def retry_after_seconds(text: str | None, now: float) -> float | None:
    """Read a `Retry-After` (RFC 9110, 10.2.3): seconds, or a date to hold against `now` (epoch seconds).

    More than a day counts as a day; None where the text is neither.
    """
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), LONGEST_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max(0.0, moment.timestamp() - now), LONGEST_RETRY_AFTER)
