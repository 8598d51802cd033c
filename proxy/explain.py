"""Says what would become of a request, without sending anything: route, call, headers, ladder."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import orjson

from proxy.assembly import policy_of, service_of
from proxy.caching import Keys
from proxy.call import Subject, Value
from proxy.clock import SystemClock
from proxy.configuration import Configuration
from proxy.frozen import frozen
from proxy.gateway import subject_values
from proxy.identity import CLAIM, claimed, refuses
from proxy.inputs import InvalidInput, called_with, query_values, read_inputs
from proxy.kaltura_calls import InvalidValue, named, question
from proxy.keeping import key_scope
from proxy.paths import AMBIGUOUS, PathIndex
from proxy.route import KalturaCall, Route
from proxy.settings import KalturaSettings, Settings
from proxy.target import Target

MASK = "****"
VIEWER = Subject("user", "DISCORD_ID", "USERNAME")
"""Stands for whoever is signed in."""


@frozen
class _Asked:
    """What is asked for one caller: the values that count, the gateway's and Kaltura's call and body."""

    values: Mapping[str, Value]
    call: str
    body: str
    kaltura: str = ""
    form: str = ""


def explain(configuration: Configuration, method: str, target: str, body: str) -> Iterator[str]:
    """Give the lines of the explanation. `target` is path and query, `body` a JSON text or nothing.

    A route that `auto` has to choose is explained by each table that it may come from. Bytes of a target that
    are no text are shown escaped.
    """
    for line in _explained(configuration, method, target, body):
        yield line.encode(errors="backslashreplace").decode()


def _explained(configuration: Configuration, method: str, given: str, body: str) -> Iterator[str]:
    settings = configuration.settings
    tables = configuration.tables
    table = next(iter(tables.values()))
    target = Target.of(PathIndex.of([(route.match, name) for name, route in table.items()]), method, given)
    if target is None:
        yield f"refused    400 invalid_target: {given!r} is not a path"
        return
    if target.found is AMBIGUOUS:
        yield "refused    400 ambiguous_path: the path can be read in more than one way"
        return
    if target.found is None:
        yield f"passes     {method} {settings.activity.url}{target.sent}"
        return
    name, parameters = target.found
    variants = [(dialect, routes[name]) for dialect, routes in tables.items() if name in routes]
    alike = all(variants[0][1] == route for _, route in variants)
    for dialect, route in variants[:1] if alike else variants:
        yield f"route      {name}: {route.match}"
        having = [name for name, _ in variants] if alike else [dialect]
        yield f"dialect    {' and '.join(having)}{_only(tables, variants)}"
        if route.sign == "out":
            yield "answers    204 by itself: forgets the session of the cookie and of the bearer token"
            return
        try:
            read = read_inputs(route.inputs, parameters, query_values(target.query), _object(body))
            now = SystemClock().time()
            asked = [_asked(settings, route, read, caller, now) for caller in _callers(settings, route)]
        except (InvalidInput, ValueError) as error:
            yield f"refused    400 invalid_request: {error}"
            return
        values = asked[0].values
        yield "values     " + (", ".join(f"{name}={value!r}" for name, value in values.items()) or "none")
        if route.max_age is not None and settings.mode == "auto":
            yield f"cache key  {Keys(key_scope(settings)).of(route, values)}"
        yield from _lines(settings, route, asked)


def _only(tables: Mapping[str, object], variants: Sequence[tuple[str, Route]]) -> str:
    """Say which tables do not have the route, so that `auto` has no choice."""
    having = [name for name, _ in variants]
    lacking = [name for name in tables if name not in having]
    return f" (auto takes it from there; not in {' and '.join(lacking)})" if lacking else ""


def _callers(settings: Settings, route: Route) -> Sequence[Subject]:
    """Return as whom the route may be called: who is signed in comes last, who is not may be turned away."""
    unknown = service_of(settings)
    viewer = replace(VIEWER, roles=settings.identity.roles)
    known = [viewer] if route.as_ == "user" else []
    return known if refuses(route, unknown, required=settings.identity.required) else [unknown, *known]


def _asked(
    settings: Settings, route: Route, read: Mapping[str, Value], caller: Subject, now: float
) -> _Asked:
    """Return what would be asked for a caller at that time. Raises ValueError for what no call can carry."""
    values = dict(read)
    if CLAIM in values:
        believed = settings.environment == "development"
        values[CLAIM] = claimed(values[CLAIM], caller, believed=believed)
    called = called_with(route.inputs, values)
    call, body = "", ""
    if route.call is not None:
        call = f"{route.call.method} {settings.gateway.url}{route.call.render(called)}"
    if route.send is not None:
        scope = {"now": now, "partnerId": settings.kaltura.partner_id}
        body = orjson.dumps(route.send.render({**scope, **called, **subject_values(caller)})).decode()
    if "kaltura" not in policy_of(settings).order(route) or route.kaltura is None:
        return _Asked(values, call, body)
    url, form = _kaltura(settings.kaltura, route.kaltura, named(route.kaltura, called, caller))
    return _Asked(values, call, body, url, form)


def _viewer(settings: Settings, route: Route) -> Iterator[str]:
    """Tell whose call it is, and what becomes of who is not known."""
    if route.sign == "in":
        never = settings.mode == "offline"
        token = "no api_token (gateway_off)" if never else f"POST {settings.gateway.url}/auth/token"
        yield f"signs in   GET {settings.identity.discord_url}/users/@me, then {token}"
    elif route.as_ == "user":
        others = "401 login_required" if settings.identity.required else "as the service"
        yield f"viewer     by cookie or bearer token; others: {others}"


def _lines(settings: Settings, route: Route, asked: Sequence[_Asked]) -> Iterator[str]:
    yield from _viewer(settings, route)
    if route.call is not None:
        yield from _each("call", [one.call for one in asked])
        yield f"headers    Accept: application/json; Authorization: Bearer {MASK} ({route.as_}); X-Request-Id"
        if route.send is not None:
            yield from _each("body", [one.body for one in asked])
        yield f"repeated   {'yes' if route.repeatable else 'only if the connection was never made'}"
        yield f"breaker    {route.group}"
    if asked[0].kaltura:
        yield from _each("kaltura", [one.kaltura for one in asked])
        yield from _each("form", [one.form for one in asked])
    ladder = policy_of(settings).order(route)
    yield f"ladder     {' -> '.join([*ladder, 'honest error'])} (mode {settings.mode})"


def _each(name: str, texts: Sequence[str]) -> Iterator[str]:
    """Say what is sent, and what is sent for who is signed in where that is something else."""
    first, *others = texts
    if first:
        yield f"{name:<11}{first}"
    for text in others:
        if text and text != first:
            yield f"{'signed in' if first else name:<11}{text}"


def _kaltura(settings: KalturaSettings, asked: KalturaCall, called: Mapping[str, Value]) -> tuple[str, str]:
    """Return the call of Kaltura and its form."""
    right = {"partnerId": settings.partner_id, "secret": MASK} if asked == "session" else {"ks": MASK}
    try:
        wanted = question(asked, called)
    except InvalidValue as error:
        return f"400 invalid_request: {error}", ""
    form = {"format": "1", **right, **wanted.form}
    return f"POST {settings.url}{wanted.path}", ", ".join(f"{name}={value}" for name, value in form.items())


def _object(body: str) -> Mapping[str, object]:
    if not body:
        return {}
    try:
        content: object = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"the body is not JSON: {error.msg}") from None
    if not isinstance(content, dict):
        raise InvalidInput("the body is not a JSON object")
    return content
