"""The admin listener: probes, metrics and status for the operator, never for viewers.

Bound to loopback, every page is open to whoever is on the machine, but for web pages that reach it by a
name of their own. Bound elsewhere, the probes and the metrics are open; the rest wants a token.
"""

import hmac
import ipaddress
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import field
from typing import Final
from uuid import uuid4

import orjson
from aiohttp import hdrs, web

from proxy.clock import Clock
from proxy.errors import error_body
from proxy.events import Crashed, Observe, Operated, RequestEnded, RequestStarted
from proxy.frozen import frozen

CLIENT_LEFT: Final = 499
OPEN_PAGES: Final = frozenset({"/livez", "/readyz", "/metrics"})
PAGES: Final = frozenset({*OPEN_PAGES, "/status"})
_METHODS: Final = ("GET", "HEAD")
_LABELS: Final = frozenset({"breakers", "cache"})
_JSON: Final = "application/json; charset=utf-8"
_TEXT: Final = "text/plain; charset=utf-8"
# A Host header: the host and a port (RFC 9110 section 7.2).
_HOST: Final = re.compile(r"(\[[^\[\]]*\]|[^\[\]:]*)(?::\d*)?")
_HEADERS: Final[Mapping[str, str]] = {
    # Else aiohttp tells its version and Python's.
    hdrs.SERVER: "activity-proxy",
    hdrs.CACHE_CONTROL: "no-store",
    "X-Content-Type-Options": "nosniff",
}


def is_loopback(host: str) -> bool:
    """Whether a host is this machine only: an address of the loopback nets, or a `localhost` name.

    Takes IPv6 with or without brackets. `*.localhost` counts (RFC 6761 section 6.3); other names do
    not, whatever they resolve to today.
    """
    name = host.removesuffix(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return address.is_loopback or (mapped is not None and mapped.is_loopback)


@frozen
class _Reply:
    """A page as it is sent; `headers` are its own."""

    status: int
    body: bytes
    content_type: str
    headers: Mapping[str, str] = field(default_factory=dict)


@frozen
class _Refusal:
    """A request that gets an error. `error` and `message` are for people, `code` for programs."""

    status: int
    error: str
    message: str
    code: str
    headers: Mapping[str, str] = field(default_factory=dict)


_ELSEWHERE = _Refusal(
    403,
    "Forbidden",
    "On loopback this page is shown to loopback hosts only: use 127.0.0.1 or localhost as the host",
    "foreign_host",
)
_SWITCHED_OFF = _Refusal(
    403,
    "Forbidden",
    "This page is off: the admin listener is not bound to loopback. Set admin_token to switch it on",
    "admin_off",
)
_UNAUTHORIZED = _Refusal(
    401,
    "Authentication required",
    "Send Authorization: Bearer with the admin_token",
    "admin_unauthorized",
    {hdrs.WWW_AUTHENTICATE: 'Bearer realm="activity-proxy admin"'},
)
_CRASHED = _Refusal(
    500, "Internal server error", "The page could not be made; the log says why", "internal_error"
)
_WRONG_METHOD = _Refusal(
    405,
    "Method not allowed",
    "This page takes GET and HEAD",
    "method_not_allowed",
    {hdrs.ALLOW: ", ".join(_METHODS)},
)


_ACTION_METHOD = _Refusal(
    405, "Method not allowed", "This is done by POST", "method_not_allowed", {hdrs.ALLOW: "POST"}
)
_FOREIGN = _Refusal(
    403, "Forbidden", "A page of another site asked for this; nothing was done", "foreign_origin"
)

Action = Callable[[], Awaitable[Mapping[str, object]]]
"""Does something for the operator and tells what is so now. Raises `NotDone`."""


class NotDone(Exception):
    """Something could not be done for the operator; `outcome` is what is so now."""

    def __init__(self, outcome: Mapping[str, object]) -> None:
        super().__init__("not done")
        self.outcome = outcome


@frozen
class Admin:
    """Handles every request to the admin listener.

    `ready` is false while the sidecar starts or stops, and does not depend on the gateway, or one outage
    would empty the whole service. `exposition` takes an `Accept` header and gives the metrics and their
    content type. `actions` are what a POST to a path does. `loopback` says where the listener is bound;
    `admin_token` is empty for none.
    """

    ready: Callable[[], bool]
    exposition: Callable[[str], tuple[bytes, str]]
    status: Callable[[], Mapping[str, object]]
    loopback: bool
    clock: Clock
    observe: Observe
    admin_token: str = field(default="", repr=False)
    actions: Mapping[str, Action] = field(default_factory=dict)
    make_id: Callable[[], str] = field(default=lambda: uuid4().hex)

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        start = self.clock.monotonic()
        request_id = self.make_id()
        status, sent = CLIENT_LEFT, 0
        self.observe(RequestStarted("admin"))
        try:
            reply = await self._reply(request, request_id)
            response = web.Response(
                status=reply.status,
                body=reply.body,
                headers={
                    **_HEADERS,
                    "X-Request-Id": request_id,
                    hdrs.CONTENT_TYPE: reply.content_type,
                    **reply.headers,
                },
            )
            # Sent here rather than by the server, so that the time of sending counts.
            with suppress(ConnectionError):
                await response.prepare(request)
                await response.write_eof()
                status = reply.status
                sent = 0 if request.method == hdrs.METH_HEAD else len(reply.body)
        finally:
            self.observe(
                RequestEnded(
                    listener="admin",
                    route=self._label(request.path),
                    method=request.method,
                    status=status,
                    source="admin",
                    seconds=self.clock.monotonic() - start,
                    request_id=request_id,
                    target=request.raw_path,
                    client=request.remote or "",
                    bytes_sent=sent,
                )
            )
        return response

    def _label(self, path: str) -> str:
        if path in PAGES:
            return path[1:]
        name = path[1:].partition("/")[0]
        return name if path in self.actions and name in _LABELS else "other"

    async def _reply(self, request: web.BaseRequest, request_id: str) -> _Reply:
        refusal = self._refusal(request)
        if refusal is None:
            try:
                if request.path in self.actions:
                    return await self._act(request, request_id)
                return self._page(request)
            except Exception as error:  # noqa: BLE001  (a defect; the last place that can answer)
                self.observe(Crashed(request_id, error))
                refusal = _CRASHED
        body = error_body(refusal.error, refusal.message, refusal.code, request_id)
        return _Reply(refusal.status, body, _JSON, refusal.headers)

    async def _act(self, request: web.BaseRequest, request_id: str) -> _Reply:
        status = 200
        try:
            outcome = await self.actions[request.path]()
        except NotDone as failed:
            outcome, status = failed.outcome, 503
        self.observe(Operated(request.path, outcome, request.remote or "", request_id))
        return _json(outcome, status)

    def _page(self, request: web.BaseRequest) -> _Reply:
        match request.path:
            case "/livez":
                return _Reply(200, b"ok", _TEXT)
            case "/readyz" if self.ready():
                return _Reply(200, b"ready", _TEXT)
            case "/readyz":
                return _Reply(503, b"starting or stopping", _TEXT)
            case "/metrics":
                accept = ",".join(request.headers.getall(hdrs.ACCEPT, []))
                return _Reply(200, *self.exposition(accept))
        return _json(self.status())

    def _refusal(self, request: web.BaseRequest) -> _Refusal | None:
        if request.path not in OPEN_PAGES:
            # Before anything is said of what exists.
            check = self._denied_on_loopback if self.loopback else self._denied_elsewhere
            denied = check(request)
            if denied is not None:
                return denied
            if request.path in self.actions:
                return self._refused_action(request)
            if request.path not in PAGES:
                return self._not_found()
        return None if request.method in _METHODS else _WRONG_METHOD

    def _refused_action(self, request: web.BaseRequest) -> _Refusal | None:
        """Turn away what is no POST, and what a page of another site sent by its visitor's browser."""
        if request.method != "POST":
            return _ACTION_METHOD
        origin = request.headers.get(hdrs.ORIGIN)
        own = origin is None or origin.partition("://")[2] == request.headers.get(hdrs.HOST, "")
        if not own or request.headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}:
            return _FOREIGN
        return None

    def _not_found(self) -> _Refusal:
        known = ", ".join([*sorted(PAGES), *(f"POST {path}" for path in sorted(self.actions))])
        return _Refusal(404, "Not found", f"There is no such page; there are {known}", "not_found")

    def _denied_on_loopback(self, request: web.BaseRequest) -> _Refusal | None:
        # A page whose name was pointed at 127.0.0.1 (DNS rebinding) still says its own name here.
        host = _HOST.fullmatch(request.headers.get(hdrs.HOST, ""))
        return None if host is not None and is_loopback(host[1]) else _ELSEWHERE

    def _denied_elsewhere(self, request: web.BaseRequest) -> _Refusal | None:
        if not self.admin_token:
            return _SWITCHED_OFF
        given = request.headers.getall(hdrs.AUTHORIZATION, [])
        scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        right = hmac.compare_digest(
            token.strip().encode("utf-8", "surrogateescape"), self.admin_token.encode()
        )
        return None if right and scheme.lower() == "bearer" else _UNAUTHORIZED


def _json(content: Mapping[str, object], status: int = 200) -> _Reply:
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    return _Reply(status, orjson.dumps(content, default=_plain, option=options), _JSON)


def _plain(value: object) -> object:
    """Give orjson what it does not know by itself: mappings and sets of a stage's own."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, frozenset | set):
        return sorted(value)
    return str(value)
