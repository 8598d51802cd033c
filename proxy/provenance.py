"""The headers that tell where a rewritten answer came from and what went wrong before."""

from collections.abc import Mapping, Sequence

from aiohttp import hdrs
from multidict import CIMultiDict

from proxy.call import Answer, Failure, FailureKind

SERVICE = "activity-proxy"

_ERROR_TYPES: Mapping[FailureKind, str | None] = {
    FailureKind.UNREACHABLE: "destination_unavailable",
    FailureKind.TIMEOUT: "http_response_timeout",
    FailureKind.STATUS: None,
    FailureKind.CONTRACT: "http_protocol_error",
    FailureKind.NO_SUCH_ROUTE: None,
    FailureKind.UNAUTHORIZED: None,
    FailureKind.TOKEN: "destination_unavailable",
    FailureKind.BREAKER_OPEN: "destination_unavailable",
    FailureKind.OVERLOADED: "connection_limit_reached",
    FailureKind.NOTHING_KEPT: "proxy_internal_response",
    FailureKind.OFF: "proxy_internal_response",
}


def provenance(answer: Answer, request_id: str) -> CIMultiDict[str]:
    """Return all headers of a rewritten answer (RFC 9209, RFC 9211), its content type included.

    What stands in for the real answer, and every error, must not be kept by anyone: `no-store`, whatever
    the source itself says.
    """
    headers: CIMultiDict[str] = CIMultiDict()
    if answer.status != 204:
        headers[hdrs.CONTENT_TYPE] = answer.content_type
    if answer.source is not None:
        headers["Activity-Proxy-Source"] = answer.source
        headers["Cache-Status"] = f"{SERVICE}; {answer.cache}"
    if answer.failures:
        headers["Proxy-Status"] = ", ".join(_proxy_status(failure) for failure in answer.failures)
    if answer.etag is not None:
        headers[hdrs.ETAG] = answer.etag
    headers["X-Request-Id"] = request_id
    for name, value in answer.headers:
        headers.add(name, value)
    if answer.source in {"canned", "stale"} or answer.status >= 400:
        headers[hdrs.CACHE_CONTROL] = "no-store"
    return headers


def open_to_all(answer: Answer, request_id: str) -> CIMultiDict[str]:
    """Return the same headers, and leave for pages of any origin to read the answer (development only)."""
    headers = provenance(answer, request_id)
    headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = "*"
    return headers


def matches(etag: str, conditions: Sequence[str]) -> bool:
    """Tell whether a client's copy is still good: `If-None-Match` by weak comparison (RFC 9110, 13.1.2)."""
    tags = [tag.strip() for condition in conditions for tag in condition.split(",")]
    return any(tag == "*" or tag.removeprefix("W/") == etag.removeprefix("W/") for tag in tags if tag)


def _proxy_status(failure: Failure) -> str:
    error = _ERROR_TYPES[failure.kind]
    status = f"{SERVICE}; next-hop={failure.source}"
    if error is not None:
        status += f"; error={error}"
    if failure.status is not None:
        status += f"; received-status={failure.status}"
    return f"{status}; details={_quoted(failure.detail)}"


def _quoted(text: str) -> str:
    """Write a text as a String (RFC 8941, section 3.3.3), which is printable ASCII only."""
    printable = "".join(letter if " " <= letter <= "~" else "?" for letter in text)
    escaped = printable.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
