"""Asks a running sidecar whether it is alive, without anything but the standard library."""

from http.client import HTTPConnection, HTTPException

from proxy.units import HostPort

TIMEOUT = 2.0
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # nosec B104 # noqa: S104  (read, not bound)


def ask(admin: HostPort) -> str | None:
    """Ask the admin listener's `/livez`. Returns what is wrong, or None when all is well."""
    host = _ANY.get(admin.host, admin.host)
    connection = HTTPConnection(host, admin.port, timeout=TIMEOUT)
    try:
        connection.request("GET", "/livez")
        status = connection.getresponse().status
    except (OSError, HTTPException):
        return f"no answer from {host} port {admin.port}"
    finally:
        connection.close()
    return None if status == 200 else f"the admin listener answered {status}"
