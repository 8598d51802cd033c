"""TLS contexts from PEM files: towards servers, and for our own listeners (RFC 8446, RFC 5246).

Whoever is called is always verified, certificate and name; there is no switch for less.
"""

import base64
import binascii
import os
import re
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import field
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Literal

from proxy.frozen import frozen

Part = Literal["ca", "certificate", "key"]

HTTP = ("http/1.1",)
"""The application protocol that is spoken here (RFC 7301)."""
_LARGEST = 4 * 1024 * 1024
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----")
_KEY = re.compile(rb"-----BEGIN ([A-Z0-9 ]*)PRIVATE KEY-----([^-]*)")
# A key's kind: by the label of the older forms, else the identifier in the head of PKCS #8 (RFC 5958).
_KINDS = {
    "RSA": bytes.fromhex("06092a864886f70d010101"),
    "EC": bytes.fromhex("06072a8648ce3d0201"),
    "RSA-PSS": bytes.fromhex("06092a864886f70d01010a"),
    "Ed25519": bytes.fromhex("06032b6570"),
    "Ed448": bytes.fromhex("06032b6571"),
}
_HEAD = 64
_NO_CERTIFICATE = "holds no certificate in PEM"


class TlsMistake(Exception):
    """A file is not what it should be. `part` says which, the text what is wrong; neither shows content."""

    def __init__(self, part: Part, why: str) -> None:
        super().__init__(why)
        self.part = part


class _Encrypted(Exception):
    pass


@frozen
class Pem:
    """What the files held when they were read."""

    ca: bytes | None = field(default=None, repr=False)
    certificate: bytes | None = field(default=None, repr=False)
    key: bytes | None = field(default=None, repr=False)


@frozen
class TlsFiles:
    """Where the PEM files are; None where there is none.

    `ca` is whom to believe. `key` may be left out where the certificate's file holds it too.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    @classmethod
    def within(cls, folder: Path, *, ca: str = "", certificate: str = "", key: str = "") -> "TlsFiles":
        """Return the files of these names, seen from a folder; an empty name is none."""
        return cls(*(folder / name if name else None for name in (ca, certificate, key)))

    def __bool__(self) -> bool:
        """Whether there is any."""
        return any((self.ca, self.certificate, self.key))

    def read(self) -> Pem:
        """Read all of them. Raises `TlsMistake` for one that cannot be read."""
        return Pem(_read("ca", self.ca), _read("certificate", self.certificate), _read("key", self.key))


def client_context(pem: Pem, protocols: Sequence[str] = HTTP) -> ssl.SSLContext:
    """Return a context for calling servers.

    A `ca` is believed instead of the system's authorities; a certificate is shown to servers that ask for
    one. Raises `TlsMistake`.
    """
    authorities = None if pem.ca is None else _authorities(pem.ca)
    with _told("ca", "holds a damaged certificate"):
        context = ssl.create_default_context(cadata=authorities)
    return _ready(context, pem, protocols)


def server_context(pem: Pem) -> ssl.SSLContext:
    """Return a context for a listener: TLS 1.2 or newer, HTTP/1.1.

    With a `ca` only clients get in that show a certificate from it. Raises `TlsMistake`.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    if pem.ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        with _told("ca", "holds a damaged certificate"):
            context.load_verify_locations(cadata=_authorities(pem.ca))
    return _ready(context, pem, HTTP)


def renew(context: ssl.SSLContext, held: Pem, pem: Pem) -> None:
    """Let new handshakes of a context in use have what is new; connections that stand are not touched.

    `held` is what the context has now. An authority is added, and none is taken away. Raises `TlsMistake`,
    and the context is as it was.
    """
    client_context(pem)  # tried on another first, for a failure half-way would leave no pair at all
    if _kind(held) != _kind(pem):
        # OpenSSL keeps a pair for each kind beside the others, and would go on choosing the old one.
        raise TlsMistake(_place(pem), "is a key of another kind than the one in use, which wants a restart")
    if pem.ca is not None:
        context.load_verify_locations(cadata=_authorities(pem.ca))
    _load_pair(context, pem)


def _ready(context: ssl.SSLContext, pem: Pem, protocols: Sequence[str]) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if protocols:
        context.set_alpn_protocols(list(protocols))
    _load_pair(context, pem)
    return context


def _load_pair(context: ssl.SSLContext, pem: Pem) -> None:
    if pem.certificate is None:
        return
    if not _CERTIFICATE.search(pem.certificate):
        raise TlsMistake("certificate", _NO_CERTIFICATE)
    place, key = _place(pem), pem.certificate if pem.key is None else pem.key
    if not _KEY.search(key):
        raise TlsMistake(place, "holds no private key in PEM")
    with _told("certificate", "holds a damaged certificate"):
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=_authorities(pem.certificate))
    try:
        with _path_of(pem.certificate) as certificate, _path_of(key) as private:
            context.load_cert_chain(certificate, private, _no_password)
    except _Encrypted:
        raise TlsMistake(place, "is encrypted; give a key without a password") from None
    except ssl.SSLError as error:
        fits = error.reason != "KEY_VALUES_MISMATCH"
        why = "holds a key that cannot be used" if fits else "does not fit the certificate"
        raise TlsMistake(place, why) from None
    except OSError as error:  # no file descriptor is left, for one
        raise TlsMistake("certificate", f"cannot be loaded: {error.strerror}") from None


def _place(pem: Pem) -> Part:
    """Return which of the files holds the private key."""
    return "certificate" if pem.key is None else "key"


def _kind(pem: Pem) -> str:
    """Return what kind of key the pair has; empty for none, or one that is told by nothing."""
    found = _KEY.search(pem.key or pem.certificate or b"")
    if found is None or found[1]:
        return "" if found is None else found[1].decode("ascii").strip()
    try:
        head = base64.b64decode(b"".join(found[2].split()))[:_HEAD]
    except binascii.Error:
        return ""
    return next((kind for kind, identifier in _KINDS.items() if identifier in head), "")


def _authorities(pem: bytes) -> str:
    """Return the certificates alone: what else is in such files need not be ASCII."""
    found = _CERTIFICATE.findall(pem)
    if not found:
        raise TlsMistake("ca", _NO_CERTIFICATE)
    return b"\n".join(found).decode("ascii", "replace")


@contextmanager
def _told(part: Part, why: str) -> Iterator[None]:
    try:
        yield
    except (ssl.SSLError, ValueError):
        raise TlsMistake(part, why) from None


def _no_password() -> str:
    # Without this OpenSSL would ask for it at the terminal.
    raise _Encrypted


@contextmanager
def _path_of(content: bytes) -> Iterator[str]:
    """Give a path to what was read: OpenSSL reads paths alone, and the files may have changed since."""
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("pem"), "wb") as file:
            file.write(content)
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
    else:
        with NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            yield file.name


def _read(part: Part, path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "that is no file's name"
        raise TlsMistake(part, f"cannot be read: {reason}") from None
    if len(content) > _LARGEST:
        raise TlsMistake(part, "is too large")
    return content
