"""Asks a running sidecar whether it is alive, without anything but the standard library."""

import ssl
from http.client import HTTPConnection, HTTPException, HTTPSConnection

from proxy.endpoints import HostPort

TIMEOUT = 2.0
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # nosec B104 # noqa: S104  (read, not bound)


def ask(admin: HostPort, *, tls: bool = False) -> str | None:
    """Ask the admin listener's `/livez`. Returns what is wrong, or None when all is well."""
    host = _ANY.get(admin.host, admin.host)
    if tls:
        connection: HTTPConnection = HTTPSConnection(host, admin.port, timeout=TIMEOUT, context=_unverified())
    else:
        connection = HTTPConnection(host, admin.port, timeout=TIMEOUT)
    try:
        connection.request("GET", "/livez")
        status = connection.getresponse().status
    except (OSError, HTTPException):
        return f"no answer from {host} port {admin.port}"
    finally:
        connection.close()
    return None if status == 200 else f"the admin listener answered {status}"


def _unverified() -> ssl.SSLContext:
    """Return a context for asking ourselves: nothing secret is sent, and all that counts is that we answer.

    The certificate bears another name than the address that is asked, and one that has just run out must not
    have the container restarted.
    """
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
