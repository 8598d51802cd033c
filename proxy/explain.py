"""Says what would become of a request, without sending anything: route, call, headers, ladder."""

from collections.abc import Iterator, Mapping, Sequence

import orjson

from proxy.assembly import policy_of, service_of
from proxy.caching import Keys
from proxy.call import Value
from proxy.clock import SystemClock
from proxy.configuration import Configuration
from proxy.gateway import subject_values
from proxy.identity import CLAIM, claimed
from proxy.inputs import InvalidInput, called_with, query_values, read_inputs
from proxy.kaltura_calls import InvalidValue, question
from proxy.keeping import key_scope
from proxy.paths import AMBIGUOUS, PathIndex
from proxy.route import KalturaCall, Route
from proxy.settings import KalturaSettings, Settings
from proxy.target import Target

MASK = "****"


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
            values = read_inputs(route.inputs, parameters, query_values(target.query), _object(body))
            values = _verified(configuration, values)
            called = called_with(route.inputs, values)
            call = "" if route.call is None else route.call.render(called)
        except (InvalidInput, ValueError) as error:
            yield f"refused    400 invalid_request: {error}"
            return
        yield "values     " + (", ".join(f"{name}={value!r}" for name, value in values.items()) or "none")
        if route.max_age is not None and configuration.settings.mode == "auto":
            yield f"cache key  {Keys(key_scope(configuration.settings)).of(route, values)}"
        yield from _lines(configuration, route, called, call)


def _only(tables: Mapping[str, object], variants: Sequence[tuple[str, Route]]) -> str:
    """Say which tables do not have the route, so that `auto` has no choice."""
    having = [name for name, _ in variants]
    lacking = [name for name in tables if name not in having]
    return f" (auto takes it from there; not in {' and '.join(lacking)})" if lacking else ""


def _verified(configuration: Configuration, values: dict[str, Value]) -> dict[str, Value]:
    """Return the values as they count for a caller who is not signed in."""
    settings = configuration.settings
    if CLAIM not in values:
        return values
    believed = settings.environment == "development"
    return {**values, CLAIM: claimed(values[CLAIM], service_of(settings), believed=believed)}


def _viewer(settings: Settings, route: Route) -> Iterator[str]:
    """Tell whose call it is, and what becomes of who is not known."""
    if route.sign == "in":
        never = settings.mode == "offline"
        token = "no api_token (gateway_off)" if never else f"POST {settings.gateway.url}/auth/token"
        yield f"signs in   GET {settings.identity.discord_url}/users/@me, then {token}"
    elif route.as_ == "user":
        others = "401 login_required" if settings.identity.required else "as the service"
        yield f"viewer     by cookie or bearer token; others: {others}"


def _lines(
    configuration: Configuration, route: Route, called: Mapping[str, Value], call: str
) -> Iterator[str]:
    settings = configuration.settings
    yield from _viewer(settings, route)
    if route.call is not None:
        yield f"call       {route.call.method} {settings.gateway.url}{call}"
        yield f"headers    Accept: application/json; Authorization: Bearer {MASK} ({route.as_}); X-Request-Id"
        if route.send is not None:
            scope = {
                "now": SystemClock().time(),
                "partnerId": settings.kaltura.partner_id,
                **subject_values(service_of(settings)),
            }
            yield f"body       {orjson.dumps(route.send.render({**scope, **called})).decode()}"
        yield f"repeated   {'yes' if route.repeatable else 'only if the connection was never made'}"
        yield f"breaker    {route.group}"
    ladder = policy_of(settings).order(route)
    if "kaltura" in ladder and route.kaltura is not None:
        yield from _kaltura(settings.kaltura, route.kaltura, called)
    yield f"ladder     {' -> '.join([*ladder, 'honest error'])} (mode {settings.mode})"


def _kaltura(settings: KalturaSettings, asked: KalturaCall, called: Mapping[str, Value]) -> Iterator[str]:
    right = {"partnerId": settings.partner_id, "secret": MASK} if asked == "session" else {"ks": MASK}
    try:
        wanted = question(asked, called)
    except InvalidValue as error:
        yield f"kaltura    400 invalid_request: {error}"
        return
    yield f"kaltura    POST {settings.url}{wanted.path}"
    form = {"format": "1", **right, **wanted.form}
    yield f"form       {', '.join(f'{name}={value}' for name, value in form.items())}"


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
