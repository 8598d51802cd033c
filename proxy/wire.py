"""One exchange with Kaltura on the wire: the whole answer within its time, or how it failed."""

import asyncio

from aiohttp import (
    ClientConnectorError,
    ClientError,
    ClientHandlerType,
    ClientPayloadError,
    ClientRequest,
    ClientResponse,
    ClientResponseError,
    ClientSSLError,
    ConnectionTimeoutError,
)

from proxy.attempts import AttemptFailed
from proxy.call import Failure, FailureKind

MAX_ANSWER = 8 * 1024 * 1024
"""Bytes of an answer's body, the gateway's as well, as it came and decoded."""


async def exchanged(
    request: ClientRequest, send: ClientHandlerType, allowed: float
) -> tuple[ClientResponse, bytes]:
    """Send the request and read the answer to its end, within `allowed` seconds.

    Raises:
        AttemptFailed: There is no answer, or not a whole one. It says nothing of what was sent or received.
    """
    try:
        async with asyncio.timeout(allowed):
            response = await send(request)
            return response, await _read(response)
    except TimeoutError as error:  # first, because the connector's is a ClientError as well
        sent = not isinstance(error, ConnectionTimeoutError)
        raise _failed(FailureKind.TIMEOUT, "no answer in time", sent=sent) from None
    except ClientSSLError:
        raise _failed(FailureKind.UNREACHABLE, "no TLS connection", sent=False) from None
    except ClientConnectorError:
        raise _failed(FailureKind.UNREACHABLE, "no connection", sent=False) from None
    except ClientPayloadError:
        raise _failed(FailureKind.CONTRACT, "the answer was cut short") from None
    except ClientResponseError:
        raise _failed(FailureKind.CONTRACT, "the answer is no HTTP") from None
    except (ClientError, OSError):
        raise _failed(FailureKind.UNREACHABLE, "the connection broke") from None


async def _read(response: ClientResponse) -> bytes:
    body = bytearray()
    try:
        while chunk := await response.content.readany():
            body += chunk
            if len(body) > MAX_ANSWER:
                raise _failed(FailureKind.CONTRACT, "the answer is too large")
    except BaseException:
        response.close()  # given up half read: nobody else has it yet
        raise
    return bytes(body)


def _failed(kind: FailureKind, detail: str, *, sent: bool = True) -> AttemptFailed:
    return AttemptFailed(Failure("kaltura", kind, detail), sent=sent)
