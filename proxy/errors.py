"""What goes wrong between the client and the Activity server, and how an error looks to the client."""

from typing import Literal

import orjson

AwayReason = Literal["refused", "dns", "timeout", "tls", "reset", "malformed"]
"""`reset`: the connection broke before an answer came; `malformed`: what came is no HTTP answer."""


class ActivityAway(Exception):
    """The Activity server gave no answer, and nothing was sent to the client yet: a 502.

    `sent` tells whether it may have seen the request; `detail` are OpenSSL's words where TLS failed. The
    gateway's client, whose connections are of the same make, makes a failure of its own of it.
    """

    def __init__(self, reason: AwayReason, *, sent: bool = False, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent
        self.detail = detail


class MalformedBody(Exception):
    """The client's request body broke its own framing (RFC 9112 section 7): a 400, and no next request."""


def error_body(error: str, message: str, code: str, request_id: str) -> bytes:
    """Return the JSON of an error: the Activity server's two fields and the proxy's two.

    Args:
        error: What failed, in a few words.
        message: What the reader may do or expect; never a URL, a header or a token.
        code: One of a closed set, for programs.
        request_id: The request's id, for finding its log line.
    """
    return orjson.dumps({"error": error, "message": message, "code": code, "requestId": request_id})
