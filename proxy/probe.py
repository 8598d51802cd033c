"""Asks a gateway each call of both route tables, and says what it supports and which dialect fits."""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import orjson
from aiohttp import ClientError, ClientSession, ClientTimeout
from yarl import URL

from proxy.call import FailureKind, Subject
from proxy.clock import SystemClock
from proxy.configuration import Configuration, load
from proxy.dialects import ANY_VIDEO, Questions
from proxy.gateway import subject_values
from proxy.grant import TokenError
from proxy.kaltura_probe import probe_kaltura
from proxy.login import GatewayLogin
from proxy.lookup import carried_directory
from proxy.route import Route
from proxy.tls import client_context
from proxy.tokens import Token, TokenKeeper
from proxy.upstream import gateway_session
from proxy.verdict import Failed, Missing, Refused, Usable, Verdict, judge

MAX_ANSWER = 8 * 1024 * 1024
NEEDED = frozenset({"video", "search"})
NO_TOKEN = Token("", 0)


async def probe(configuration: Configuration, say: Callable[[str], object]) -> int:
    """Ask everything and say the outcome a line each.

    Returns 0 when the gateway can be used, and Kaltura too where it is switched on, else 1.

    The calls are made as the service, once each (a configured token is tried with one of them first); none of
    their answers is shown.
    """
    status = await _probe_gateway(configuration, say)
    if configuration.settings.kaltura.enabled:
        say(f"kaltura    {configuration.settings.kaltura.url}")
        async for asked, came, well in probe_kaltura(configuration):
            say(f"kaltura    {asked:<58} {came}")
            status = status if well else 1
    return status


async def _probe_gateway(configuration: Configuration, say: Callable[[str], object]) -> int:
    settings = configuration.settings.gateway
    tables = {**load(carried_directory() / "proxy.yaml", {}).tables, **configuration.tables}
    login = settings.login
    subject = Subject("service", login.discord_id, login.username, tuple(login.roles))
    clock, fixed = SystemClock(), settings.token.get_secret_value()
    say(f"gateway    {settings.url}")
    files = configuration.tls_files(settings.tls)
    tls = client_context(files.read()) if files else None
    async with gateway_session(settings, tls) as session:
        endpoint = GatewayLogin(settings.url, session, subject, settings.timeout.attempt, clock)
        tokens = TokenKeeper(
            endpoint.login,
            endpoint.refresh,
            clock=clock,
            random=random.random,
            observe=lambda _event: None,
            fixed=fixed or None,
        )
        prober = _Prober(settings.url, session, tokens, subject, settings.timeout.attempt, fixed=bool(fixed))
        say(f"health     {await prober.health()}")
        calls = list(_calls(tables))
        try:
            say(f"token      {await prober.log_in(calls[0][2])}")
        except TokenError as error:
            say(f"token      none: {error.detail}")
            return 1
        usable, unsupported = set(), []
        for name, dialects, route in calls:
            verdict = await prober.ask(route)
            if isinstance(verdict, Usable | Missing):
                usable.add(name)
            elif settings.dialect in dialects:
                unsupported.append(name)
            say(f"{name:<10} {route.call!s:<58} {_words(verdict)} ({', '.join(dialects)})")
        questions = Questions(
            settings.url, session, lambda: tokens, tables["plan"], settings.timeout.attempt, prober.scope
        )
        findings = await questions()
        for name, finding in findings.items():
            say(f"dialect    {name} from {finding.dialect}: {finding.why}")
        say(f"fits       {_fitting({finding.dialect for finding in findings.values()}, len(findings))}")
        if settings.dialect != "auto":
            known = (
                f"not supported: {', '.join(unsupported)}" if unsupported else "all its calls are supported"
            )
            say(f"configured {settings.dialect}: {known}")
        await tokens.aclose()
    return 0 if usable >= NEEDED else 1


def _calls(tables: Mapping[str, Mapping[str, Route]]) -> Iterator[tuple[str, list[str], Route]]:
    """Give each distinct call once, with the tables that have it."""
    found: dict[tuple[str, str], tuple[list[str], Route]] = {}
    for dialect, table in tables.items():
        for name, route in table.items():
            if route.call is not None:
                found.setdefault((name, str(route.call)), ([], route))[0].append(dialect)
    # Lists first: they give the id of a video that exists.
    order = sorted(found.items(), key=lambda item: item[1][1].paging is None)
    for (name, _), (dialects, route) in order:
        yield name, dialects, route


def _fitting(dialects: set[str], answered: int) -> str:
    if answered < 2:
        return "not known: the gateway did not answer both questions; auto follows plan until it does"
    if len(dialects) == 1:
        return f"{dialects.pop()} (auto chooses it by itself)"
    return "auto: no single table fits this gateway"


def _words(verdict: Verdict | None) -> str:
    match verdict:
        case Usable() | Missing():
            return "supported"
        case Refused(status, _):
            return f"refused with {status}"
        case Failed():
            return f"not usable: {verdict.detail}"
        case None:
            return "no answer"


@dataclass(slots=True)
class _Prober:
    """Makes the calls. `video` is the id of a video that exists, once one is known.

    `fixed` tells that a token is configured.
    """

    base: str
    session: ClientSession
    tokens: TokenKeeper
    subject: Subject
    timeout: float
    fixed: bool
    token: Token = NO_TOKEN
    video: str = ANY_VIDEO

    async def health(self) -> str:
        """Ask both health endpoints that gateways have, and say which answers."""
        root = str(URL(self.base).origin())
        for url in (f"{self.base}/health", f"{root}/health"):
            exchange = await self._exchange("GET", url, None, {})
            if exchange is not None and exchange[0] == 200:
                return f"well, says {URL(url).path}"
        return "no answer on /health"

    async def log_in(self, route: Route) -> str:
        """Get a token and say how; a configured one that the gateway refuses is replaced, as `run` does it.

        Raises `TokenError` when none is to be had.
        """
        self.token = await self.tokens.get()
        if not self.tokens.status.fixed:
            return "the configured one is over; got by logging in" if self.fixed else "got by logging in"
        verdict = await self.ask(route)
        if not isinstance(verdict, Failed) or verdict.kind is not FailureKind.UNAUTHORIZED:
            return "as configured"
        self.tokens.void(self.token.generation)
        self.token = await self.tokens.get()
        return "the configured one is refused; got by logging in"

    async def ask(self, route: Route) -> Verdict | None:
        """Make one call and judge its answer; None when there is none."""
        if route.call is None:
            return None
        values: dict[str, object] = {
            **{name: wanted.default for name, wanted in route.inputs.items()},
            "videoId": self.video,
            "userId": "anonymous",
            "query": "a",
            "page": 1,
            "pageSize": 1,
        }
        scope = {**self.scope(), **values}
        body = None if route.send is None else orjson.dumps(route.send.render(scope))
        headers = {"Authorization": f"Bearer {self.token.value}"}
        url = self.base + route.call.render(values)
        exchange = await self._exchange(route.call.method, url, body, headers)
        if exchange is None:
            return None
        verdict = judge(route, *exchange, scope)
        if isinstance(verdict, Usable) and route.paging is not None:
            self._remember(verdict.reply.get(route.paging))
        return verdict

    def scope(self) -> Mapping[str, object]:
        """Return the values that every body and mapping may use."""
        return {"now": time.time(), "partnerId": "", **subject_values(self.subject)}

    def _remember(self, videos: object) -> None:
        if isinstance(videos, list) and videos and isinstance(videos[0].get("id"), str):
            self.video = videos[0]["id"]

    async def _exchange(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, bytes] | None:
        more = {"Accept": "application/json"}
        if body is not None:
            more["Content-Type"] = "application/json"
        try:
            async with self.session.request(
                method,
                URL(url, encoded=True),
                data=body,
                headers={**headers, **more},
                allow_redirects=False,
                timeout=ClientTimeout(total=self.timeout),
            ) as response:
                return response.status, (await response.read())[:MAX_ANSWER]
        except (ClientError, TimeoutError):
            return None
