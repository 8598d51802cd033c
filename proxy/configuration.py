"""The whole configuration: read once at start, every mistake told at once, nothing left to fail later."""

from collections.abc import Iterable, Mapping
from dataclasses import field
from importlib.util import find_spec
from pathlib import Path

from proxy.cautions import cautions, nobody_signs_in
from proxy.diagnosis import dotted, read_model
from proxy.frozen import frozen
from proxy.lookup import Files, carried_directory, read
from proxy.mocks import load_mocks
from proxy.nodes import Mark, Problem, Scalar, Table, overlay, written_at
from proxy.route import Route
from proxy.settings import Settings
from proxy.store_url import parse_store_url
from proxy.substitution import Substitution
from proxy.tables import RouteTable, load_tables
from proxy.template import JsonTemplate
from proxy.tls import TlsFiles, TlsMistake, client_context, server_context
from proxy.tls_settings import ListenTlsSettings, ServerTlsSettings, TlsSettings

_MAX_SECRET = 64 * 1024
_FOR_REDIS = ("redis", "cryptography")
_OFF = "Kaltura is off; kaltura.enabled switches it on"


class ConfigurationError(Exception):
    """A configuration is not sound. Its text is one `FILE:LINE:COLUMN: what is wrong` a line."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(str(problem) for problem in self.problems))


@frozen
class Configuration:
    """A sound configuration.

    `tables` holds the routes by the dialect's name (`plan` and `newer` for `auto`; a file's name as it
    is written) and their own; `mocks` the canned answers by the route's name. `warnings` are no mistakes.
    `folder` is where it was read from.
    """

    settings: Settings
    tables: Mapping[str, Mapping[str, Route]] = field(repr=False)
    mocks: Mapping[str, JsonTemplate] = field(repr=False)
    warnings: tuple[Problem, ...] = ()
    folder: Path = Path()

    @property
    def snapshot(self) -> Path | None:
        """Where the kept answers survive a restart, if anywhere."""
        name = self.settings.cache.snapshot
        return self.folder / name if name else None

    def tls_files(self, section: TlsSettings | ServerTlsSettings) -> TlsFiles:
        """Return where the files of a TLS section are."""
        return _tls_files(self.folder, section)


def load(
    path: Path, environ: Mapping[str, str], *, listen: str | None = None, admin: str | None = None
) -> Configuration:
    """Read a configuration file and all that it names. Raises `ConfigurationError`.

    What it does not set is as in the carried file. `listen` and `admin` are those of the command line
    and go over the file's.
    """
    folder, carried = path.parent, carried_directory()
    secrets = Substitution(environ, lambda name: _secret(folder / name))
    files = Files((folder, carried), secrets)
    problems: list[Problem] = []
    document = files.document(path)
    problems += document.problems
    top = document.root
    if not _same(path, carried / "proxy.yaml"):
        base = files.document(carried / "proxy.yaml")
        problems += base.problems
        top = _over(base.root, top)
    top = _over(top, _options(listen=listen, admin=admin))
    own = str(path)
    settings = read_model(Settings, top, (), {own, "--listen", "--admin"}, problems.append)
    tables = load_tables(files, top, own, problems.append)
    mocks = load_mocks(files, tables, problems.append)
    if settings is not None:
        problems += [*_loops(settings, top, own), *_extras(settings, top)]
        problems += _kaltura(settings, tables, top, own)
        problems += [*_tls(settings, folder, top), *_locked_out(settings, tables, top)]
    if problems or settings is None:
        raise ConfigurationError(map(_without_key, problems))
    routes = {table.name: table.routes for table in tables}
    warnings = cautions(settings, tables, folder, top)
    return Configuration(settings, routes, mocks, tuple(map(_without_key, warnings)), folder)


def _over(base: Table, top: Table) -> Table:
    merged = overlay(base, top)
    return merged if isinstance(merged, Table) else top


def _options(**options: str | None) -> Table:
    """Return the options of the command line as if a file of that name held them."""
    given = {
        name: (Mark(f"--{name}"), Scalar(Mark(f"--{name}"), value, value))
        for name, value in options.items()
        if value is not None
    }
    return Table(Mark("--"), given)


def _without_key(problem: Problem) -> Problem:
    """Return the problem of an option without the key that the option stands for."""
    option = problem.mark.file
    if not option.startswith("--"):
        return problem
    return Problem(problem.mark, problem.message.removeprefix(f"{option[2:]}: "))


def _secret(path: Path) -> bytes:
    data = read(path, _MAX_SECRET)
    if len(data) > _MAX_SECRET:
        raise OSError(0, f"it is larger than {_MAX_SECRET // 1024} KiB")
    return data


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except (OSError, ValueError):
        return False


def _loops(settings: Settings, top: Table, own: str) -> Iterable[Problem]:
    """A sidecar that asks itself answers each request with another one.

    Told where the operator said something: on the command line, else in their own file.
    """
    upstreams = [
        ("activity", "url", settings.activity.url),
        ("gateway", "url", settings.gateway.url),
        ("identity", "discord_url", settings.identity.discord_url),
    ]
    if settings.kaltura.enabled:
        upstreams.append(("kaltura", "url", settings.kaltura.url))
    for section, key, url in upstreams:
        for name, address in (("listen", settings.listen), ("admin", settings.admin)):
            if address.leads_here(url):
                at_url, at_name = (written_at(top, path)[1] for path in ((section, key), (name,)))
                told = (at_url, f"{section}.{key}: is the address of {name}")
                if at_name.file == f"--{name}" or at_name.file == own != at_url.file:
                    told = (at_name, f"{name}: is the address of {section}.{key}")
                yield Problem(told[0], f"{told[1]}; the sidecar would call itself")


def _locked_out(settings: Settings, tables: Iterable[RouteTable], top: Table) -> Iterable[Problem]:
    """To want viewers to be signed in where nobody can."""
    if settings.identity.required:
        mark = written_at(top, ("identity", "required"))[1]
        for table in filter(nobody_signs_in, tables):
            text = f"no route of {table.name} signs viewers in (sign: in)"
            yield Problem(mark, f"identity.required: {text}")


def _extras(settings: Settings, top: Table) -> Iterable[Problem]:
    """A Redis without the packages for it."""
    if parse_store_url(settings.cache.url) is not None and not all(map(find_spec, _FOR_REDIS)):
        mark = written_at(top, ("cache", "url"))[1]
        yield Problem(mark, "cache.url: needs the packages redis and cryptography, this one's extra [redis]")


def _kaltura(settings: Settings, tables: Iterable[RouteTable], top: Table, own: str) -> Iterable[Problem]:
    """What direct Kaltura wants, and what wants direct Kaltura."""
    kaltura = settings.kaltura
    if kaltura.enabled:
        for key, given in (("partner_id", kaltura.partner_id), ("admin_secret", kaltura.admin_secret)):
            if not given:
                marks = [written_at(top, ("kaltura", name))[1] for name in (key, "enabled")]
                mark = next((mark for mark in marks if mark.file == own), marks[0])
                yield Problem(mark, f"kaltura.{key}: is empty, and kaltura.enabled wants it")
        return
    for name, laid in settings.routes.items():
        fallback = laid.get("fallback")
        if isinstance(fallback, tuple) and "kaltura" in fallback:
            path = ("routes", name, "fallback", fallback.index("kaltura"))
            yield Problem(written_at(top, path)[1], f"{dotted(path)}: {_OFF}")
    for table in tables:
        for name, route in table.routes.items():
            if route.prefer is not None:
                yield Problem(table.mark(name, "prefer"), f"{dotted(('routes', name, 'prefer'))}: {_OFF}")


def _tls_files(folder: Path, section: TlsSettings | ServerTlsSettings) -> TlsFiles:
    if isinstance(section, TlsSettings):
        ca = section.ca
    else:
        ca = section.client_ca if isinstance(section, ListenTlsSettings) else ""
    return TlsFiles.within(folder, ca=ca, certificate=section.certificate, key=section.key)


def _tls(settings: Settings, folder: Path, top: Table) -> Iterable[Problem]:
    """Each file of a TLS section that cannot be used."""
    sections: Mapping[tuple[str, ...], TlsSettings | ServerTlsSettings] = {
        ("activity", "tls"): settings.activity.tls,
        ("gateway", "tls"): settings.gateway.tls,
        ("identity", "tls"): settings.identity.tls,
        ("kaltura", "tls"): settings.kaltura.tls,
        ("cache", "tls"): settings.cache.tls,
        ("listen_tls",): settings.listen_tls,
        ("admin_tls",): settings.admin_tls,
    }
    for path, section in sections.items():
        if not section:
            continue
        ours = isinstance(section, ServerTlsSettings)
        try:
            pem = _tls_files(folder, section).read()
            _ = server_context(pem) if ours else client_context(pem)
        except TlsMistake as mistake:
            key = "client_ca" if ours and mistake.part == "ca" else mistake.part
            yield Problem(written_at(top, (*path, key))[1], f"{dotted((*path, key))}: {mistake}")
