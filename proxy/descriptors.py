"""Room for connections: each one is an open file to the system, and what passes through is two."""

import resource

FOR_EACH = 2
"""Files that a connection may take: its own, and one to the Activity server."""
BESIDE = 600
"""For the admin listener (200), who is turned away (100 at each), Discord (100), a Redis, logs and files."""


def wanted(connections: int, calls: int) -> int:
    """Return how many files a sidecar may have open, with so many connections and calls of others at once."""
    return connections * FOR_EACH + calls + BESIDE


def fitting(files: int, calls: int) -> int:
    """Return for how many connections so many files are enough; half of all few files stay for the rest."""
    return max((files - calls - BESIDE) // FOR_EACH, files // (2 * FOR_EACH), 1)


def make_room(files: int) -> int:
    """Raise this process's limit of open files (`ulimit -n`) to so many, as far as that is allowed.

    Returns how many there may be now, or `files` where that is enough. Without room left nobody gets in, at
    the admin listener neither.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= files:
        return files
    allowed = files if hard == resource.RLIM_INFINITY else min(files, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return allowed
