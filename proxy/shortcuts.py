"""Puts together what answers at once: kept answers that are ready, and canned ones that stand in."""

from collections.abc import Callable, Mapping

from multidict import CIMultiDict, CIMultiDictProxy

from proxy.ahead import AtOnce, either
from proxy.breaker import Breaker
from proxy.call import Answer, Call, Failure, SourceFailed
from proxy.dialects import Dialects
from proxy.events import BreakerChanged
from proxy.frozen import frozen
from proxy.giving import Giving
from proxy.keeping import Keeping
from proxy.ready import Ready
from proxy.request_id import RequestIds
from proxy.route import Route
from proxy.standing import Standing
from proxy.workshop import Workshop


@frozen
class Shortcuts:
    """What the server asks first, and what the listener shows its answers to."""

    at_once: AtOnce
    learn: Callable[[str, Call, Answer], None]


def open_shortcuts(
    shop: Workshop,
    keeping: Keeping,
    dialects: Dialects,
    breakers: Mapping[str, Breaker],
    *,
    fields: Callable[[Answer, str], CIMultiDict[str]],
    client: Callable[[str | None, CIMultiDictProxy[str]], str],
    request_ids: RequestIds,
    admit: Callable[[str], Mapping[str, str] | None] | None,
) -> Shortcuts:
    """Build both; what they are given beside the parts is what the listener is given."""

    def kept_back(route: Route) -> Failure | None:
        try:
            breakers[route.group].acquire().cancel()
        except SourceFailed as error:
            return error.failure
        return None

    def lets_through(route: Route) -> bool:
        return breakers[route.group].retry_after == 0.0

    give = Giving(fields, client, request_ids, shop.clock, shop.observe, admit)
    ready = Ready(keeping.store, keeping.key, dialects.route, give)
    standing = Standing(keeping.quiet, kept_back, lets_through, keeping.key, dialects.route, give)

    shop.observe.listen(lambda _changed: standing.forget(), BreakerChanged)

    def learn(target: str, call: Call, answer: Answer) -> None:
        ready.learn(target, call, answer)
        standing.learn(target, call, answer)

    return Shortcuts(either(ready, standing), learn)
