"""Certificates of a private authority, as files."""

from dataclasses import dataclass, field
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)


@dataclass
class Authority:
    """A private authority, which writes PEM files into a folder."""

    folder: Path
    ca: trustme.CA = field(default_factory=trustme.CA)

    @property
    def file(self) -> Path:
        """The authority's own certificate."""
        path = self.folder / f"ca-{id(self.ca)}.pem"
        self.ca.cert_pem.write_to_path(path)
        return path

    def issue(
        self,
        *names: str,
        stem: str = "server",
        common_name: str | None = None,
        kind: trustme.KeyType = trustme.KeyType.ECDSA,
        pkcs8: bool = False,
    ) -> tuple[Path, Path]:
        """Write a certificate for names or addresses, and its key; return where they are."""
        made = self.ca.issue_cert(*names, common_name=common_name, key_type=kind)
        certificate, key = self.folder / f"{stem}.pem", self.folder / f"{stem}.key"
        certificate.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        private = made.private_key_pem.bytes()
        key.write_bytes(_as_pkcs8(private) if pkcs8 else private)
        return certificate, key


def _as_pkcs8(pem: bytes) -> bytes:
    key = load_pem_private_key(pem, None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
