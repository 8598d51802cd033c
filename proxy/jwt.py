"""Reads when a JWT was issued and when it ends, without checking its signature.

The proxy is a bearer of these tokens, not their audience: the times only tell it when to ask for another.
See RFC 7519 (JWT) and RFC 7515 section 7.1 (compact serialisation).
"""

import base64
import binascii

import orjson

from proxy.frozen import frozen

# The end of the year 9999; what lies beyond is not seconds (some issuers write milliseconds).
LATEST = 253_402_300_799


@frozen
class Claims:
    """The times of a JWT in seconds since the epoch; None where it has none that can be read."""

    issued_at: float | None
    expires_at: float | None


def claims(token: str) -> Claims | None:
    """Read the times of a JWT; None for an opaque token."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    payload = parts[1]
    try:
        # `urlsafe_b64decode` would skip over characters that do not belong there.
        raw = base64.b64decode(payload + "=" * (-len(payload) % 4), altchars=b"-_", validate=True)
        body = orjson.loads(raw)
    except (binascii.Error, ValueError):
        return None
    if not isinstance(body, dict):
        return None
    return Claims(issued_at=_moment(body.get("iat")), expires_at=_moment(body.get("exp")))


def _moment(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= LATEST else None
