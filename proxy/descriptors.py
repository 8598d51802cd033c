"""Room for connections: each one is an open file to the system, and what passes through is two."""

import resource

FOR_EACH = 2
"""Files that a connection may take: its own, and one to the Activity server."""
OTHERS = 512
"""For calls of the gateway, a Redis, those who are turned away, the admin listener, logs and files."""


def wanted(connections: int) -> int:
    """Return how many files a sidecar with so many connections may have open."""
    return connections * FOR_EACH + OTHERS


def make_room(connections: int) -> int | None:
    """Raise this process's limit of open files (`ulimit -n`) so far that so many connections fit.

    Returns None when they do, else the limit, which is then as high as it is allowed to be. Without room left
    nobody gets in, at the admin listener neither.
    """
    files = wanted(connections)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= files:
        return None
    allowed = files if hard == resource.RLIM_INFINITY else min(files, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return None if allowed >= files else allowed
