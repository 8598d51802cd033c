"""What an open breaker keeps back is kept back at once: before a queue, and before a request is made up."""

from collections.abc import Awaitable, Callable

from proxy.call import Answer, Call, Source
from proxy.frozen import frozen
from proxy.protocols import Permit


@frozen
class KeptBack:
    """Looks whether the breaker before a call lets one through, and only then asks `source`.

    Each attempt asks the breaker itself; what `permit` gives here is given back at once. But calls that hang
    keep their places after it has opened, and whoever waited for one would wait for a refusal.
    """

    source: Source
    permit: Callable[[Call], Permit]

    def __call__(self, call: Call) -> Awaitable[Answer]:
        """Return the source's answer. Raises `SourceFailed`, at once when the breaker is open."""
        self.permit(call).cancel()
        return self.source(call)
