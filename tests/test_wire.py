"""What failures of the session that Kaltura is asked by come to."""

from typing import cast

import pytest
from aiohttp import (
    ClientRequest,
    ClientResponse,
    ConnectionTimeoutError,
    ServerDisconnectedError,
    SocketTimeoutError,
)

from proxy.attempts import AttemptFailed
from proxy.call import FailureKind
from proxy.wire import exchanged


@pytest.mark.parametrize(
    ("error", "kind", "was_sent"),
    [
        (ConnectionTimeoutError("x"), FailureKind.TIMEOUT, False),
        (SocketTimeoutError("x"), FailureKind.TIMEOUT, True),
        (ServerDisconnectedError("x"), FailureKind.UNREACHABLE, True),
        (BrokenPipeError("x"), FailureKind.UNREACHABLE, True),
    ],
)
async def test_whether_it_was_sent_is_known(error: Exception, kind: FailureKind, was_sent: bool) -> None:
    """Only where no connection came about is it certain that Kaltura has not seen the request."""

    async def send(_request: ClientRequest) -> ClientResponse:
        raise error

    with pytest.raises(AttemptFailed) as caught:
        await exchanged(cast("ClientRequest", None), send, 1.0)
    assert (caught.value.failure.kind, caught.value.sent) == (kind, was_sent)
