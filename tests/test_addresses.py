"""How names are looked up: once for all who wait, and anew when that is due."""

import asyncio
import socket

import pytest

from proxy import addresses
from proxy.addresses import Addresses
from proxy.errors import ActivityAway
from proxy.exchange import OriginRequest
from proxy.origin import Origin
from tests.origins import OK, PATIENCE, answering, request, until

FOUND = [
    (socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 80))
    for host in ("192.0.2.1", "192.0.2.2", "192.0.2.3")
]


class Resolver:
    """Stands in for the system's: `found` is what it finds, as soon as it may."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.found: object = FOUND
        self.asked = 0
        self.may = asyncio.Event()
        self.may.set()
        patch.setattr(asyncio.get_running_loop(), "getaddrinfo", self)

    async def __call__(self, *_: object, **__: object) -> object:
        """Look up a name."""
        self.asked += 1
        await self.may.wait()
        if isinstance(self.found, OSError):
            raise self.found
        return self.found


@pytest.fixture
async def resolver(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    """Put the stand-in into this test's loop."""
    return Resolver(monkeypatch)


async def test_who_waits_for_the_same_name_waits_for_one_look_up(resolver: Resolver) -> None:
    """However many want a connection, one thread is busy with the name; who leaves fails nobody."""
    resolver.may.clear()
    wanted = Addresses("gateway.example", 80)
    waiting = [asyncio.create_task(wanted()) for _ in range(50)]
    await until(lambda: resolver.asked == 1)
    waiting[0].cancel()
    resolver.may.set()
    first, *others = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(first, asyncio.CancelledError)
    assert all(isinstance(found, list) and sorted(found) == FOUND for found in others)
    assert resolver.asked == 1


async def test_who_asks_as_a_look_up_ends_has_what_it_found(resolver: Resolver) -> None:
    """Also within the very turn of the loop in which it ends, before anybody has been told."""
    resolver.may.clear()
    wanted = Addresses("gateway.example", 80)
    first = asyncio.create_task(wanted())
    await until(lambda: resolver.asked == 1)
    resolver.may.set()  # the look-up goes on in the loop's next turn, and then the others
    late = [asyncio.create_task(wanted()) for _ in range(2)]
    assert [sorted(found) for found in await asyncio.gather(first, *late)] == [FOUND] * 3
    assert resolver.asked == 1


async def test_each_connection_begins_with_another_address(resolver: Resolver) -> None:
    """So that several servers of one name have their share each, without another look-up."""
    wanted = Addresses("gateway.example", 80)
    firsts = [(await wanted())[0] for _ in range(6)]
    assert firsts == [*FOUND, *FOUND]
    assert resolver.asked == 1


async def test_addresses_are_believed_for_a_while(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After that the name is looked up anew."""
    monkeypatch.setattr(addresses, "BELIEVED", 0.0)
    wanted = Addresses("gateway.example", 80)
    await wanted()
    resolver.found = FOUND[2:]
    assert await wanted() == FOUND[2:]


async def test_who_asked_for_a_name_that_is_not_found_is_told(resolver: Resolver) -> None:
    """And the next one asks again; a failure that nobody waits for is no complaint."""
    resolver.found = socket.gaierror(-2, "Name or service not known")
    wanted = Addresses("gateway.example", 80)
    for _ in range(2):
        with pytest.raises(socket.gaierror):
            await wanted()
    assert resolver.asked == 2
    resolver.may.clear()
    left = asyncio.create_task(wanted())
    await until(lambda: resolver.asked == 3)
    left.cancel()
    await asyncio.wait([left])
    resolver.may.set()
    await until(lambda: len(asyncio.all_tasks()) == 1)
    resolver.found = FOUND
    assert await wanted()


async def test_a_server_that_has_moved_is_found_at_once(resolver: Resolver) -> None:
    """Where an address gives no connection the next one asks for the address anew."""
    async with answering(OK) as there:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            resolver.found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", closed.getsockname())]
            async with Origin(there.url) as origin:
                with pytest.raises(ActivityAway, match="refused"):
                    await origin.open(PATIENCE)
                resolver.found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", there.url.port))]
                answer = await origin.ask(OriginRequest(request(b"GET /")))
                assert answer.message.code == 200
    assert resolver.asked == 2


async def test_nothing_is_left_of_a_look_up_that_lasts(resolver: Resolver) -> None:
    """Closing ends it, and with it whoever waits."""
    resolver.may.clear()
    wanted = Addresses("gateway.example", 80)
    waiting = asyncio.create_task(wanted())
    await until(lambda: resolver.asked == 1)
    wanted.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert asyncio.all_tasks() == {asyncio.current_task()}
