"""Puts together what keeps answers: the store, its snapshot, and the stages that use it."""

import hashlib
from collections.abc import Awaitable, Callable

from proxy.caching import Caching, Keys, Stale
from proxy.call import Call, Source
from proxy.events import BreakerChanged, StoreTroubled, TokenAcquired
from proxy.flights import Flights
from proxy.frozen import frozen
from proxy.settings import Settings
from proxy.store import Store
from proxy.stores import open_store
from proxy.workshop import Workshop


@frozen
class Keeping:
    """The source `stale`, and `before`, which puts the cache before a ladder; `key` is a call's in `store`.

    `quiet` tells whether nothing is at hand or under way for a key.
    `purge` drops everything, the snapshot's content and what is under way too, and tells whether that was
    done.
    """

    store: Store
    key: Callable[[Call], str]
    quiet: Callable[[str], bool]
    stale: Source
    before: Callable[[Source], Source]
    purge: Callable[[], Awaitable[bool]]


async def open_cache(shop: Workshop, gateway: Source) -> Keeping:
    """Open the store that the configuration names; `gateway` renews what is stale."""
    settings = shop.configuration.settings
    store = open_store(
        settings.cache.url,
        settings.cache.max_size,
        shop.clock,
        lambda trouble: shop.observe(StoreTroubled(trouble)),
        shop.client_tls("cache", settings.cache.tls),
    )
    shop.resources.push_async_callback(store.aclose)
    drop: Callable[[], Awaitable[bool]] = store.purge
    snapshot = shop.configuration.snapshot
    if snapshot is not None:
        from proxy.restart import Restart  # noqa: PLC0415  (mostly off; who does not use it does not pay)

        lives = [
            (route.max_age or 0.0) + max(route.stale_while_revalidate or 0.0, route.stale_if_error or 0.0)
            for route in shop.routes
        ]
        restart = Restart(
            snapshot,
            store,
            settings.cache.max_size,
            max(lives, default=0.0),
            shop.clock,
            shop.observe,
        )
        await restart.restore()
        shop.resources.push_async_callback(restart.save)
        shop.run(restart.run())
        drop = restart.purge
    flights = Flights(shop.clock, shop.observe)
    shop.observe.listen(flights.notice, BreakerChanged, TokenAcquired)
    shop.resources.push_async_callback(flights.aclose)
    keys = Keys(key_scope(settings))

    def before(ladder: Source) -> Source:
        return Caching(ladder, gateway, store, keys, flights, shop.clock, shop.random, shop.observe)

    def quiet(key: str) -> bool:
        return store.at_hand(key) is None and flights.under_way(key) is None

    async def purge() -> bool:
        with flights.disowned():  # what began before the purge is done must not be kept after it
            return await drop()

    return Keeping(store, keys.key, quiet, Stale(store, keys, shop.clock), before, purge)


def key_scope(settings: Settings) -> str:
    """Return what else decides the gateway's answers: where it is, and as whom it is called."""
    login, token = settings.gateway.login, settings.gateway.token.get_secret_value()
    caller = [login.discord_id, *sorted(login.roles), token]
    said = "\n".join([settings.gateway.url, settings.kaltura.partner_id, *caller])
    return hashlib.blake2b(said.encode(), digest_size=16).hexdigest()
