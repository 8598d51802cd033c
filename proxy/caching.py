"""The cache before the ladder: fresh answers, stale ones while a new one is got, and one call for many.

    fresh?   give it
    stale?   within stale_while_revalidate give it, and get a new one in the background
    missing? get one: everyone who asks for the same meanwhile waits for the same call

What is kept was fetched as the service and is the same for everyone; answers for a user never come here.
Follows RFC 9111 and RFC 5861. Only what the gateway said is kept: a 200 for the route's `max_age`, a 404 for
a short time, errors never. A 404 stands beside the last good answer, in one entry: a failing gateway says it
of anything, and what is asked for most must not be what is lost first.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace
from typing import Literal

from proxy.call import Answer, Call, Failure, FailureKind, Source, SourceFailed, Value, missing
from proxy.clock import Clock
from proxy.events import CacheLooked, Observe
from proxy.flights import Flight, Flights
from proxy.frozen import frozen
from proxy.paths import escaped
from proxy.route import Route
from proxy.store import Entry, Store

MISSING_AGE = 10.0
"""Seconds that a 404 is kept at most."""
JITTER = 0.1
"""Share by which lives are cut at random, so that what came together does not end together."""


@frozen
class Keys:
    """Names entries. `scope` is what else decides an answer: the gateway's address and the partner."""

    scope: str
    _known: dict[int, tuple[Route, str, Sequence[tuple[str, str]]]] = field(default_factory=dict, repr=False)

    def key(self, call: Call) -> str:
        """Return the one key for all spellings of the same call: the route's own values, nothing else."""
        return self.of(call.route, call.values)

    def of(self, route: Route, given: Mapping[str, Value]) -> str:
        """Return the key of a route's answer for these values."""
        known = self._known.get(id(route))
        if known is None:
            known = self._known[id(route)] = self._looked_at(route)
        return known[1] + "&".join([prefix + escaped(given[name]) for name, prefix in known[2]])

    def _looked_at(self, route: Route) -> tuple[Route, str, Sequence[tuple[str, str]]]:
        """Return what is the same in all keys of a route; the route too, so that its id is nobody else's."""
        made_by = f"{self.scope}\n{route.call}\n{route.reply and route.reply.text}"
        digest = hashlib.blake2b(made_by.encode(), digest_size=8).hexdigest()
        names = [(name, f"{escaped(name)}=") for name in sorted(route.inputs)]
        return route, f"{route.name}:{digest}:", names


@frozen
class Caching:
    """Answers from the store where it may, else by `answer`, the ladder.

    `gateway` gets a new answer in the background. `random` gives numbers from 0 up to 1.
    """

    answer: Source
    gateway: Source
    store: Store
    keys: Keys
    flights: Flights
    clock: Clock
    random: Callable[[], float]
    observe: Observe

    async def __call__(self, call: Call) -> Answer:
        """Return an answer, kept or new."""
        route = call.route
        if route.max_age is None or call.subject.kind == "user":
            return await self.answer(call)
        key, landings = self.keys.key(call), self.flights.landings
        entry = await self._kept_under(key)
        fresh = None if entry is None else self._fresh(call, entry)
        if fresh is not None:
            return self._looked(call, "hit", fresh)
        if entry is not None and self._may_be_stale(call, entry):
            if self.flights.under_way(key) is None and not self.flights.pausing(key):
                self.flights.launch(key, self._renew(key, call, entry))
            ttl = entry.max_age - self._age(entry)
            return self._looked(call, "stale", _kept(entry, "stale", ttl))
        flight = self.flights.under_way(key)
        if flight is not None:
            return await self._join(flight, call)
        answer = await self.flights.launch(key, self._fill(key, call, entry, landings)).landing()
        return self._looked(call, "hit" if answer.source == "cache" else "miss", answer)

    async def _join(self, flight: Flight, call: Call) -> Answer:
        """Wait for another's call, as far as what it brings is for everyone."""
        try:
            answer = await flight.landing()
        except SourceFailed:
            # A renewal in the background failed; its key pauses now, so this does not come back here.
            return await self(call)
        if answer.source == "activity":
            # It was asked with the first viewer's own request, and may be for nobody else.
            return self._looked(call, "miss", await self.answer(call))
        return self._looked(call, "coalesced", _forwarded(answer, "fwd=miss; collapsed"))

    async def _kept_under(self, key: str) -> Entry | None:
        """Return what is kept; nothing when a purge came between, for it must not be written back."""
        purges = self.flights.purges
        entry = await self.store.get(key)
        return entry if purges == self.flights.purges else None

    def _fresh(self, call: Call, entry: Entry) -> Answer | None:
        """Return what the gateway said last, while that is young enough."""
        left = entry.max_age - self._age(entry)
        if entry.missing_until:
            left = entry.missing_until - self.clock.time()
        if left <= 0 or (entry.missing_until and left > MISSING_AGE):  # the clock was set back
            return None
        if entry.status == 404 or entry.missing_until:
            return Answer(404, b"", "cache", problem=missing(call), cache=f"hit; ttl={int(left)}")
        return _kept(entry, "cache", left)

    def _may_be_stale(self, call: Call, entry: Entry) -> bool:
        if entry.status != 200:
            return False
        past = self._age(entry) - entry.max_age
        if past < (call.route.stale_while_revalidate or 0.0) and not entry.missing_until:
            return True
        key_fails = self.flights.pausing(self.keys.key(call))
        return key_fails and past < (call.route.stale_if_error or 0.0) and "stale" in call.route.fallback

    async def _fill(self, key: str, call: Call, before: Entry | None, landings: int) -> Answer:
        """Go down the ladder, and keep what the gateway said.

        `landings` is how many calls had landed before the store was asked.
        """
        if landings != self.flights.landings:  # another call for the key may be among them
            before = await self._kept_under(key) or before
            fresh = None if before is None else self._fresh(call, before)
            if fresh is not None:
                return fresh
        answer = await self.answer(call)
        if answer.source != "gateway":
            self.flights.failed(key)
            return _forwarded(answer, "fwd=miss" if before is None else "fwd=stale")
        return await self._keep(key, call, answer, before)

    async def _renew(self, key: str, call: Call, before: Entry) -> Answer:
        """Get a new answer while a stale one is given."""
        try:
            answer = await self.gateway(call)
        except SourceFailed:
            self.flights.failed(key)
            raise
        return await self._keep(key, call, answer, before)

    async def _keep(self, key: str, call: Call, answer: Answer, before: Entry | None) -> Answer:
        self.flights.succeeded(key)
        route, fwd = call.route, "fwd=miss" if before is None else "fwd=stale"
        if answer.status not in {200, 404} or route.max_age is None or not self.flights.holds(key):
            return answer.forwarded(fwd)
        now, life = self.clock.time(), route.max_age * (1.0 - JITTER * self.random())
        if answer.status == 200:
            # A copy: what orjson wrote holds on to eight times its length.
            entry = Entry(200, bytes(memoryview(answer.body)), _etag(answer.body), now, life)
            stale = max(route.stale_while_revalidate or 0.0, route.stale_if_error or 0.0)
            kept = await self.store.set(key, entry, life + stale)
            return answer.forwarded(f"{fwd}; stored" if kept else fwd, entry.etag)
        life = min(life, MISSING_AGE)
        left = 0.0
        if before is not None and before.status == 200:
            left = before.max_age + (route.stale_if_error or 0.0) - self._age(before)
        if before is not None and left > 0:
            await self.store.set(key, replace(before, missing_until=now + life), max(left, life))
        else:
            await self.store.set(key, Entry(404, b"", _etag(b""), now, life), life)
        return answer.forwarded(fwd)

    def _age(self, entry: Entry) -> float:
        return max(0.0, self.clock.time() - entry.stored_at)

    def _looked(
        self, call: Call, result: Literal["hit", "stale", "miss", "coalesced"], answer: Answer
    ) -> Answer:
        self.observe(CacheLooked(call.route.name, result))
        return answer


@frozen
class Stale:
    """The source `stale`: the last good answer, while it may stand in for a gateway that fails."""

    store: Store
    keys: Keys
    clock: Clock

    async def __call__(self, call: Call) -> Answer:
        """Return the kept answer. Raises `SourceFailed` when there is none, or none young enough."""
        entry = await self.store.get(self.keys.key(call))
        if entry is not None and entry.status == 200:
            past = self.clock.time() - entry.stored_at - entry.max_age
            if past < (call.route.stale_if_error or 0.0):
                return _kept(entry, "stale", -past)
        raise SourceFailed(Failure("stale", FailureKind.NOTHING_KEPT, "there is no earlier answer"))


def _kept(entry: Entry, source: Literal["cache", "stale"], left: float) -> Answer:
    """Return a good entry as an answer, with the seconds that are left of its life."""
    return Answer(200, entry.body, source, etag=entry.etag, cache=f"hit; ttl={int(left)}")


def _forwarded(answer: Answer, status: str) -> Answer:
    """Say that the answer was got anew; a kept one that stood in says so itself."""
    return answer if answer.source in {"cache", "stale"} else answer.forwarded(status, answer.etag)


def _etag(body: bytes) -> str:
    return f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
