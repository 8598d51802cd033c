"""What a request's target is after: a rewritten route, or what the Activity server has under that path."""

from typing import NamedTuple

from proxy.paths import Found, PathIndex, split_target, without_discord_prefix

PASS = "pass"  # nosec B105 # noqa: S105  (the route label of what passes through)


class Target(NamedTuple):
    """Path and query as they go on, the query alone, and the name and path parameters of the route found."""

    sent: str
    query: str
    found: Found[str]

    @classmethod
    def of(
        cls, routes: PathIndex[str], method: str, raw_path: str, host: str | None = None
    ) -> "Target | None":
        """Read a raw target, which may be `/.proxy/…` as Discord's edge has it; None is to be refused.

        `host` is as for `origin_form`.
        """
        target = origin_form(raw_path, host)
        if target is None:
            return None
        target = without_discord_prefix(target)
        path, query = split_target(target)
        return cls(target, query, routes.find(method, path))


def origin_form(raw_path: str, host: str | None = None) -> str | None:
    """Return the path and query of a request target (RFC 9112 section 3.2), or None to refuse it.

    An absolute form is reduced to its path; when `host` is given, it must name that very host. Refused are
    the authority form, `*`, other schemes, and targets with a fragment.
    """
    if "#" in raw_path:
        return None
    if raw_path.startswith("/"):
        return raw_path
    scheme, separator, rest = raw_path.partition("://")
    if not separator or scheme.lower() not in ("http", "https"):
        return None
    end = min((at for at in (rest.find("/"), rest.find("?")) if at >= 0), default=len(rest))
    authority, path = rest[:end], rest[end:]
    if not authority or (host is not None and authority.lower() != host.lower()):
        return None
    return path if path.startswith("/") else "/" + path
