"""The ladder: a route's sources in order; the first that answers wins, and the answer says which it was.

When none answers the client gets an honest error: 502 for an answer that cannot be used, 503 for a gateway
that is away or kept back, 504 for one that took too long.
"""

import math
from collections.abc import Mapping
from dataclasses import field, replace
from typing import Literal

from proxy.call import Answer, Call, Failure, FailureKind, Problem, Source, SourceFailed, SourceName
from proxy.events import Observe, SourceFailedEvent
from proxy.frozen import frozen
from proxy.route import Route

_ERRORS: Mapping[FailureKind, tuple[int, str]] = {
    FailureKind.UNREACHABLE: (503, "gateway_unreachable"),
    FailureKind.TIMEOUT: (504, "gateway_timeout"),
    FailureKind.STATUS: (502, "gateway_error"),
    FailureKind.CONTRACT: (502, "gateway_unusable_answer"),
    FailureKind.NO_SUCH_ROUTE: (502, "gateway_no_such_route"),
    FailureKind.UNAUTHORIZED: (502, "gateway_unauthorized"),
    FailureKind.TOKEN: (503, "gateway_token_unavailable"),
    FailureKind.BREAKER_OPEN: (503, "gateway_breaker_open"),
    FailureKind.OVERLOADED: (503, "gateway_overloaded"),
    FailureKind.NOTHING_KEPT: (503, "nothing_kept"),
    FailureKind.OFF: (503, "gateway_off"),
}
_BUSY = frozenset({429, 503})
# What the operator has to mend: no viewer who comes back in some seconds finds it otherwise.
_LASTING = frozenset({FailureKind.NO_SUCH_ROUTE, FailureKind.UNAUTHORIZED, FailureKind.OFF})
_DEFAULT_RETRY_AFTER = 5.0
RESERVED_SHARE = 0.25
"""The share of a call's time that the gateway leaves for Kaltura behind it."""


@frozen
class Policy:
    """Which sources a route's ladder has, by mode and environment.

    `named` are the routes whose fallback the operator wrote out: those may mock a credential in production.
    `kaltura` tells whether Kaltura may be asked; what it answers is no mock.
    """

    mode: Literal["auto", "live", "offline"]
    production: bool
    named: frozenset[str]
    kaltura: bool = False

    def order(self, route: Route) -> tuple[SourceName, ...]:
        """Return the route's sources, first to last."""
        secret = self.production and route.credential and route.name not in self.named
        mocked = self.mode != "live" and not secret
        if route.call is None:  # the Activity server's own business
            return tuple(source for source in route.fallback if mocked or source == "activity")
        if self.mode == "offline":
            return tuple(source for source in route.fallback if mocked and source == "canned")
        if self.mode == "live":
            return ("gateway",)
        direct = self.kaltura and route.kaltura is not None
        first = direct and route.prefer == "kaltura"
        after = [
            source for source in route.fallback if (direct and not first if source == "kaltura" else mocked)
        ]
        return ("kaltura", "gateway", *after) if first else ("gateway", *after)


@frozen
class Ladder:
    """Asks a route's sources in turn, as `policy` orders them.

    `reserve` is how much of its time, in seconds, a call keeps for Kaltura where that comes after the
    gateway: one that hangs would else leave it none, and be covered for only once its breaker is open.
    """

    sources: Mapping[SourceName, Source]
    policy: Policy
    observe: Observe
    reserve: float = 0.0
    _orders: dict[int, tuple[Route, tuple[SourceName, ...]]] = field(default_factory=dict, repr=False)

    async def __call__(self, call: Call) -> Answer:
        """Return the first answer, or the honest error of the first failure."""
        failures: list[Failure] = []
        order = self._order(call.route)
        for place, name in enumerate(order):
            asked = call
            if name == "gateway" and self.reserve and "kaltura" in order[place:]:
                asked = replace(call, deadline=call.deadline - self.reserve)
            try:
                answer = await self.sources[name](asked)
            except SourceFailed as error:
                if error.failure.kind is FailureKind.NOTHING_KEPT:
                    continue  # no failure: it was never promised
                failures.append(error.failure)
                self.observe(SourceFailedEvent(call.route.name, error.failure, call.request_id))
                continue
            return replace(answer, failures=tuple(failures)) if failures else answer
        if not failures:
            failures.append(
                Failure("gateway", FailureKind.OFF, f"no source may answer in mode {self.policy.mode}")
            )
        return honest_error(tuple(failures))

    def _order(self, route: Route) -> tuple[SourceName, ...]:
        """Return the order of the policy, which is the same for a route each time."""
        known = self._orders.get(id(route))
        if known is None:
            # The route too: its id is nobody else's meanwhile.
            known = self._orders[id(route)] = route, self.policy.order(route)
        return known[1]


def honest_error(failures: tuple[Failure, ...]) -> Answer:
    """Return the error that tells a client what is wrong and when to come back (RFC 9110, 10.2.3).

    Its message can be shown to a viewer; what exactly failed is in `failures`, for `Proxy-Status` and log.
    """
    # Kaltura is asked beside the gateway: what is wrong with the service is what is wrong with the gateway.
    first = next((failure for failure in failures if failure.source != "kaltura"), failures[0])
    status, code = _ERRORS[first.kind]
    service = "The Activity" if first.source == "activity" else "The video service"
    if first.source == "activity":
        late = first.kind is FailureKind.TIMEOUT
        status, code = (504, "activity_timeout") if late else (502, "activity_unreachable")
    elif first.status in _BUSY:
        status, code = 503, "gateway_busy"
    headers: tuple[tuple[str, str], ...] = ()
    again = "later"
    if first.kind not in _LASTING:
        seconds = math.ceil(
            _DEFAULT_RETRY_AFTER if first.retry_after is None else max(1.0, first.retry_after)
        )
        headers = (("Retry-After", str(seconds)),)
        again = f"in {seconds} seconds"
    error = {502: "Bad gateway", 503: "Service unavailable", 504: "Gateway timeout"}[status]
    message = f"{service} is not available right now. Please try again {again}."
    problem = Problem(error, message, code)
    return Answer(status, b"", None, headers=headers, failures=failures, problem=problem)
