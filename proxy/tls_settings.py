"""The sections by which TLS is spoken: towards servers, and on the listeners."""

from pydantic import Field, model_validator

from proxy.misfits import Misfit, Misfits
from proxy.section import Section


class TlsSettings(Section):
    """TLS towards a server. Files are PEM, seen from the configuration's folder."""

    ca: str = Field(default="", description="Authorities to believe instead of the system's; empty: those.")
    certificate: str = Field(default="", description="Shown to a server that asks for one; empty: none.")
    key: str = Field(default="", description="Its private key; empty: in the certificate's file.")

    @model_validator(mode="after")
    def _fits(self) -> "TlsSettings":
        if self.key and not self.certificate:
            raise Misfits([Misfit(("key",), "is of no use without certificate")])
        return self

    def __bool__(self) -> bool:
        return any((self.ca, self.certificate, self.key))


class ServerTlsSettings(Section):
    """TLS of a listener. Files are PEM, seen from the configuration's folder."""

    certificate: str = Field(
        default="", description="Certificate and those between it and its authority; empty: no TLS."
    )
    key: str = Field(default="", description="Its private key; empty: in the certificate's file.")

    @model_validator(mode="after")
    def _fits(self) -> "ServerTlsSettings":
        others = [name for name in type(self).model_fields if getattr(self, name) and not self.certificate]
        if others:
            raise Misfits([Misfit((name,), "is of no use without certificate") for name in others])
        return self

    def __bool__(self) -> bool:
        return bool(self.certificate)


class ListenTlsSettings(ServerTlsSettings):
    """TLS of the public listener."""

    client_ca: str = Field(
        default="", description="Only clients with a certificate of these authorities get in; empty: all."
    )


def needs_tls(scheme: str, url: str, tls: TlsSettings, key: str = "url") -> None:
    """Refuse `tls` beside a URL, the value of `key`, that is not of the scheme. Raises `Misfits`."""
    if tls and not url.startswith(f"{scheme}:"):
        raise Misfits([Misfit(("tls",), f"is of no use, since {key} is not {scheme}", ((key,),))])
