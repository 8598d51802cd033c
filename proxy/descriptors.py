"""Room for connections: each one is an open file to the system, and what passes through is two."""

import resource

FOR_EACH = 2
"""Files that a connection may take: its own, and one to the Activity server."""


def make_room(connections: int) -> int | None:
    """Raise this process's limit of open files (`ulimit -n`) so far that so many connections fit.

    Returns None when they do, else the limit, which is then as high as it is allowed to be. Without room left
    nobody gets in, at the admin listener neither.
    """
    wanted = connections * FOR_EACH
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return None
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return None if allowed >= wanted else allowed
