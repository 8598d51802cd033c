"""What an open breaker keeps back is kept back at once: before a queue, and before a request is made up."""

from collections.abc import Mapping
from dataclasses import dataclass

from proxy.call import Answer, Call, Source
from proxy.protocols import Breaker


@dataclass(frozen=True, slots=True)
class KeptBack:
    """Looks whether the breaker of a call's group lets one through, and only then asks `source`.

    Each attempt asks the breaker itself; here nothing is taken of it. But calls that hang keep their places
    after it has opened, and whoever waited for one would wait for a refusal.
    """

    source: Source
    breakers: Mapping[str, Breaker]

    async def __call__(self, call: Call) -> Answer:
        """Return the source's answer. Raises `SourceFailed`, at once when the breaker is open."""
        self.breakers[call.route.group].acquire().cancel()
        return await self.source(call)
