"""What a token endpoint gives, and how it fails to."""

import re
from dataclasses import field

from proxy.call import FailureKind
from proxy.frozen import frozen

_HEADER_SAFE = re.compile(r"[\x21-\x7e]+")


class TokenError(Exception):
    """No token is to be had. `detail` is safe to show; `retry_after` is in seconds."""

    def __init__(self, kind: FailureKind, detail: str, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.retry_after = retry_after


class TokenEndpointFailed(TokenError):
    """The token endpoint is away, slow or broken, or gave what cannot be used."""


class TokenRefused(TokenError):
    """The token endpoint works and says no, or the gateway refuses the tokens that it gives."""


@frozen
class Grant:
    """A token as the endpoint gave it; `expires_at` is its ISO 8601 text, if there was one."""

    token: str = field(repr=False)
    expires_at: str | None = None


@frozen
class Granted:
    """A user's token; `expires_at` is in seconds since the epoch, None where it does not say."""

    token: str = field(repr=False)
    expires_at: float | None


def header_safe(token: str) -> bool:
    """Tell whether a token can go into an `Authorization` header (RFC 9110 section 5.5) as it is."""
    return _HEADER_SAFE.fullmatch(token) is not None
