"""The gateway stand-in's tokens: real JWTs, signed with HS256 (RFC 7515, RFC 7519)."""

import base64
import hashlib
import hmac
import json
import secrets

from proxy.clock import Clock
from proxy.frozen import frozen


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


_HEADER = _json({"alg": "HS256", "typ": "JWT"})


@frozen
class User:
    """Whom a token speaks for."""

    discord_id: str
    username: str
    role: str

    @property
    def kaltura_id(self) -> str:
        """The user's name at Kaltura."""
        return f"discord_{self.discord_id}"

    def fields(self) -> dict[str, str]:
        """Return the user as the gateway's answers and tokens name them."""
        return {
            "discordId": self.discord_id,
            "discordUsername": self.username,
            "kalturaUserId": self.kaltura_id,
            "kalturaRole": self.role,
        }


class Tokens:
    """Issues tokens that live for `life` seconds and takes back only those."""

    def __init__(self, clock: Clock, life: float) -> None:
        self._clock = clock
        self._life = life
        self._key = secrets.token_bytes(32)

    @property
    def life(self) -> float:
        """Seconds from a token's issue to its end."""
        return self._life

    def issue(self, user: User) -> str:
        """Return a new token of that user."""
        issued = int(self._clock.time())
        claims = {**user.fields(), "iat": issued, "exp": issued + int(self._life)}
        signed = f"{_encode(_HEADER)}.{_encode(_json(claims))}"
        return f"{signed}.{self._signature(signed)}"

    def read(self, token: str) -> User | None:
        """Return whose token it is; None if it is forged, revoked or past its end."""
        signed, _, signature = token.rpartition(".")
        if not hmac.compare_digest(signature.encode(errors="replace"), self._signature(signed).encode()):
            return None
        payload = signed.partition(".")[2]
        claims = json.loads(_decode(payload))
        if self._clock.time() >= claims["exp"]:
            return None
        return User(claims["discordId"], claims["discordUsername"], claims["kalturaRole"])

    def revoke(self) -> None:
        """Make every token issued so far void.

        Done by a new key: two tokens of one user and one second are the same bytes, so a list of
        the void ones would hit their successors.
        """
        self._key = secrets.token_bytes(32)

    def _signature(self, signed: str) -> str:
        return _encode(hmac.new(self._key, signed.encode(errors="replace"), hashlib.sha256).digest())


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
