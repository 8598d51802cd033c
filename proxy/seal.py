"""Encrypts what is kept of sessions elsewhere: AES-256 in GCM (NIST SP 800-38D).

Each entry is bound to the key that it is kept under, so that nobody who can write there can give one viewer
another's session, and nothing can be read or altered without the secret.
"""

import os
from collections.abc import Callable
from typing import Final

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from proxy.sessions import Session

FORMAT: Final = b"\x01"
_INFO: Final = b"activity-proxy sessions"
_NONCE: Final = 12


class Seal:
    """Seals and opens sessions with a key derived from `secret` (HKDF, RFC 5869)."""

    def __init__(self, secret: str, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        key = HKDF(algorithm=SHA256(), length=32, salt=None, info=_INFO).derive(secret.encode())
        self._cipher = AESGCM(key)
        self._random_bytes = random_bytes

    def close(self, place: str, session: Session) -> bytes:
        """Return the session as bytes that only `open` reads, at the same place only."""
        plain = orjson.dumps([session.discord_id, session.username, session.expires_at, session.twin])
        nonce = self._random_bytes(_NONCE)
        return FORMAT + nonce + self._cipher.encrypt(nonce, plain, _bound(place))

    def open(self, place: str, sealed: bytes) -> Session | None:
        """Return the session, None for bytes that were not sealed for that place with this key."""
        if len(sealed) <= len(FORMAT) + _NONCE or not sealed.startswith(FORMAT):
            return None
        nonce, rest = sealed[len(FORMAT) : len(FORMAT) + _NONCE], sealed[len(FORMAT) + _NONCE :]
        try:
            plain = self._cipher.decrypt(nonce, rest, _bound(place))
        except InvalidTag:
            return None
        discord_id, username, expires_at, twin = orjson.loads(plain)
        return Session(discord_id, username, expires_at, twin)


def _bound(place: str) -> bytes:
    return FORMAT + place.encode()
