"""Who is told of what."""

from proxy.events import BreakerRejected, CacheLooked, Event, RequestStarted
from proxy.workshop import Observers


def test_a_listener_is_told_of_what_it_wants() -> None:
    """Some want all events, some a few kinds; each gets them in their order."""
    everything, few = list[Event](), list[Event]()
    observers = Observers([everything.append])
    observers.listen(few.append, CacheLooked, BreakerRejected)
    events: list[Event] = [RequestStarted("public"), CacheLooked("video", "hit"), BreakerRejected("catalog")]
    for event in events:
        observers(event)
    assert (everything, few) == (events, events[1:])


def test_an_observer_does_with_each_kind_what_it_wants() -> None:
    """Whoever comes first is told first, and of other kinds nobody hears."""
    heard = list[object]()
    observers = Observers()
    observers.attach({CacheLooked: lambda event: heard.append(event.route)})
    observers.attach({CacheLooked: heard.append, RequestStarted: heard.append})
    looked = CacheLooked("video", "hit")
    observers(looked)
    observers(BreakerRejected("catalog"))
    assert heard == ["video", looked]
