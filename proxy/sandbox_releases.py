"""The manners of the API Gateway: what its releases, and the plan's, do differently."""

from collections.abc import Callable, Mapping
from random import Random
from typing import Literal

from proxy.clock import Clock
from proxy.frozen import frozen
from proxy.sandbox_express import number
from proxy.sandbox_library import Library, MadeUp, Videos

GatewayManner = Literal["plan", "older", "newer", "development"]

SESSION = "/api/videos/{id}/session"
DETAILS = "/api/kaltura/video/{id}"
HEALTH = ("/api/health", "/api/gateway/health")
PAGE_SIZE = 10  # videos, where a request does not say


@frozen
class Release:
    """One manner: the routes it lacks, the page of the list that a query gets, and its videos.

    `page` takes the query and returns the page's number and size.
    """

    lacks: frozenset[str]
    page: Callable[[Mapping[str, str]], tuple[int, int]]
    videos: Videos


def release(manner: GatewayManner, random: Random, clock: Clock) -> Release:
    """Return the release of that name; `development` is the newer one without Kaltura behind it."""
    match manner:
        case "plan":
            return Release(frozenset(), _as_asked, Library(random))
        case "older":
            return Release(frozenset({SESSION, *HEALTH}), _always_first, Library(random))
        case "newer":
            return Release(frozenset({SESSION, DETAILS}), _always_first, Library(random))
    return Release(frozenset({SESSION, DETAILS}), _always_first, MadeUp(random, clock))


def _as_asked(query: Mapping[str, str]) -> tuple[int, int]:
    size = number(query.get("limit") or query.get("pageSize"), PAGE_SIZE)
    return number(query.get("page"), 1), size


def _always_first(_query: Mapping[str, str]) -> tuple[int, int]:
    return 1, PAGE_SIZE
