"""What a viewer shows to be recognised: the session cookie, or the gateway token that they were given.

What is kept is found by digests, so that whoever reads the keys has nothing to show, and no comparison's
time tells how near a guess was.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import field
from typing import Final

from proxy.frozen import frozen

COOKIE: Final = "__Host-activity-proxy"
"""`__Host-`: browsers take it with `Secure`, `Path=/` and no `Domain` only (RFC 6265bis section 4.1.3.2)."""

# In the Activity's frame, which is a third party's, cookies work with these only.
_MANNERS: Final = "Path=/; HttpOnly; Secure; SameSite=None; Partitioned"
_OURS: Final = COOKIE.encode() + b"="


@frozen
class Presented:
    """What a request shows; None is nothing, and empty what is of no use, as of two that differ."""

    cookie: str | None = field(default=None, repr=False)
    bearer: str | None = field(default=None, repr=False)

    @property
    def cookie_key(self) -> str | None:
        """The key by which the cookie's session is kept."""
        return cookie_key(self.cookie) if self.cookie else None

    @property
    def bearer_key(self) -> str | None:
        """The key by which the token's session is kept."""
        return bearer_key(self.bearer) if self.bearer else None


def presented(fields: Iterable[tuple[bytes, bytes]]) -> Presented:
    """Read the cookie and the bearer token of a request's header fields.

    Credentials of another scheme than `Bearer` are somebody else's and count as none.
    """
    cookies: set[bytes] = set()
    authorizations: list[bytes] = []
    for name, value in fields:
        folded = name.lower()
        if folded == b"cookie" and _OURS in value:
            cookies.update(crumb[len(_OURS) :] for crumb in _crumbs(value) if crumb.startswith(_OURS))
        elif folded == b"authorization":
            authorizations.append(value)
    cookie = bearer = None
    if cookies:
        cookie = cookies.pop().decode("latin-1") if len(cookies) == 1 else ""
    if len(authorizations) > 1:
        bearer = ""
    elif authorizations:
        scheme, _, token = authorizations[0].strip().partition(b" ")
        if scheme.lower() == b"bearer":
            bearer = token.strip().decode("latin-1")
    return Presented(cookie, bearer)


def without_cookie(value: bytes) -> bytes:
    """Return a `Cookie` field's value without the session cookie; to the byte, where it is not in there."""
    if _OURS not in value:
        return value
    return b"; ".join(crumb for crumb in _crumbs(value) if crumb and not crumb.startswith(_OURS))


def without_session(fields: Sequence[tuple[bytes, bytes]]) -> Sequence[tuple[bytes, bytes]]:
    """Return header fields without the session cookie, and without a `Cookie` that held nothing else."""
    if not any(_OURS in value for _, value in fields):
        return fields
    passed = [(name, without_cookie(value) if name.lower() == b"cookie" else value) for name, value in fields]
    return [field for field, before in zip(passed, fields, strict=True) if field[1] or not before[1]]


def cookie_key(cookie: str) -> str:
    """Return the key of a cookie's session."""
    return _digest(f"cookie\n{cookie}")


def bearer_key(token: str) -> str:
    """Return the key of a token's session, which no cookie has."""
    return _digest(f"bearer\n{token}")


def set_cookie(value: str, max_age: float) -> str:
    """Return the `Set-Cookie` value that keeps the cookie for `max_age` seconds (RFC 6265)."""
    return f"{COOKIE}={value}; Max-Age={int(max_age)}; {_MANNERS}"


def clear_cookie() -> str:
    """Return the `Set-Cookie` value that takes the cookie away."""
    return set_cookie("", 0)


def _crumbs(value: bytes) -> list[bytes]:
    return [crumb.strip() for crumb in value.split(b";")]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
