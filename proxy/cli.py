"""The command `activity-proxy`.

Exit status: 0 stopped as asked, 1 failed, 2 bad usage or configuration. Each command imports what it needs,
so that `check` does not wait for what `run` wants.
"""

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from proxy import __version__
from proxy.heap import seldom

if TYPE_CHECKING:
    from proxy.configuration import Configuration

OK, FAILED, BAD_USAGE = 0, 1, 2
MANNERS = ("newer", "older", "plan", "development")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    # Secrets are in what pydantic validates, so that no other package's plugin is to see it; and to look for
    # one in all packages takes time.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    # Its `zoneinfo`, which nobody uses here, is not to read how Python was built, in order to find zones.
    os.environ.setdefault("PYTHONTZPATH", "")
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except KeyboardInterrupt:
        return OK
    except BrokenPipeError:
        # The reader of our output has gone; there is nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="activity-proxy",
        description="Sidecar that gives an unchanged Discord Activity server real answers.",
    )
    parser.add_argument("--version", action="version", version=f"activity-proxy {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(command=command)
        return added

    def with_configuration(added: argparse.ArgumentParser) -> None:
        added.add_argument("-c", "--config", type=Path, required=True, metavar="FILE", help="proxy.yaml")

    def with_addresses(added: argparse.ArgumentParser) -> None:
        added.add_argument("--listen", metavar="H:P", help="public address, over the configuration's")
        added.add_argument("--admin", metavar="H:P", help="admin address, over the configuration's")

    run = add("run", _run, "the sidecar")
    with_configuration(run)
    with_addresses(run)
    demo = add("demo", _demo, "the sidecar with a sandbox around it, to look at in a browser")
    with_addresses(demo)
    demo.add_argument("--manner", choices=MANNERS, default="newer", help="whose manners the gateway has")
    with_configuration(add("check", _check, "say whether a configuration is sound"))
    explain = add("explain", _explain, "say what becomes of a request")
    with_configuration(explain)
    explain.add_argument("method", metavar="METHOD")
    explain.add_argument("target", metavar="TARGET", help="path and query, like /api/kaltura/videos?page=2")
    explain.add_argument("--body", default="", metavar="JSON", help="the request's JSON body")
    with_configuration(add("probe", _probe, "ask the gateway each call and say which dialect fits"))
    sandbox = add("sandbox", _sandbox, "stand-ins for the gateway, Kaltura and the Activity server alone")
    sandbox.add_argument("--manner", choices=MANNERS, default="newer", help="whose manners the gateway has")
    sandbox.add_argument("--host", default="127.0.0.1", help="address to listen at")
    sandbox.add_argument("--activity-port", type=_port, default=3002, metavar="PORT")
    sandbox.add_argument("--gateway-port", type=_port, default=3000, metavar="PORT")
    sandbox.add_argument("--kaltura-port", type=_port, default=3003, metavar="PORT")
    sandbox.add_argument("--discord-port", type=_port, default=3004, metavar="PORT")
    sandbox.add_argument("--token-life", type=float, default=3600.0, metavar="SECONDS")
    health = add("health", _health, "ask a running sidecar whether it is alive (for container health checks)")
    with_configuration(health)
    health.add_argument("--admin", metavar="H:P", help="admin address, over the configuration's")
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port")
    return int(text)


def _configuration(
    path: Path,
    listen: str | None = None,
    admin: str | None = None,
    complain: Callable[[int, str], object] | None = None,
) -> "Configuration | None":
    from proxy.configuration import ConfigurationError, load

    complain = complain or _complain
    try:
        configuration = load(path, os.environ, listen=listen, admin=admin)
    except ConfigurationError as error:
        for problem in error.problems:
            complain(logging.ERROR, str(problem))
        return None
    for warning in configuration.warnings:
        complain(logging.WARNING, str(warning))
    return configuration


@contextmanager
def _stops() -> Iterator[None]:
    """Heed a stop signal before the loop does: the first process of a container has no default for it.

    It ends the process there and then, since nothing runs yet that would have to be ended: an exception amid
    the import of a module in C can crash the interpreter.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    for number in before:
        signal.signal(number, lambda _number, _frame: os._exit(OK))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@_stops()
@seldom()
def _run(options: argparse.Namespace) -> int:
    from proxy.logs import configure

    with configure(sys.stderr):
        configuration = _configuration(options.config, options.listen, options.admin, _log)
        if configuration is None:
            return BAD_USAGE
        from proxy.run import serve

        return asyncio.run(serve(configuration, _say, _log))


@_stops()
@seldom()
def _demo(options: argparse.Namespace) -> int:
    from proxy.configuration import ConfigurationError
    from proxy.demo import demonstrate
    from proxy.logs import configure

    with configure(sys.stderr):
        try:
            return asyncio.run(
                demonstrate(_say, _log, manner=options.manner, listen=options.listen, admin=options.admin)
            )
        except ConfigurationError as error:
            for problem in error.problems:
                _log(logging.ERROR, str(problem))
            return BAD_USAGE


def _check(options: argparse.Namespace) -> int:
    if _configuration(options.config) is None:
        return BAD_USAGE
    _say(f"{options.config}: sound")
    return OK


def _explain(options: argparse.Namespace) -> int:
    configuration = _configuration(options.config)
    if configuration is None:
        return BAD_USAGE
    from proxy.explain import explain

    for line in explain(configuration, options.method.upper(), options.target, options.body):
        _say(line)
    return OK


def _probe(options: argparse.Namespace) -> int:
    configuration = _configuration(options.config)
    if configuration is None:
        return BAD_USAGE
    from proxy.probe import probe

    return asyncio.run(probe(configuration, _say))


@_stops()
def _sandbox(options: argparse.Namespace) -> int:
    from proxy.sandbox import run_sandbox

    return asyncio.run(
        run_sandbox(
            _say,
            manner=options.manner,
            host=options.host,
            activity_port=options.activity_port,
            gateway_port=options.gateway_port,
            kaltura_port=options.kaltura_port,
            discord_port=options.discord_port,
            token_life=options.token_life,
        )
    )


def _health(options: argparse.Namespace) -> int:
    configuration = _configuration(options.config, admin=options.admin, complain=_complain_of_errors)
    if configuration is None:
        return BAD_USAGE
    from proxy.health import ask

    problem = ask(configuration.settings.admin, tls=bool(configuration.settings.admin_tls))
    if problem is not None:
        _say_error(f"activity-proxy: {problem}")
        return FAILED
    return OK


def _say(line: str) -> None:
    sys.stdout.write(line.rstrip("\n") + "\n")
    sys.stdout.flush()


def _complain(level: int, text: str) -> None:
    _say_error(f"warning: {text}" if level == logging.WARNING else text)


def _complain_of_errors(level: int, text: str) -> None:
    """Leave the warnings to `run`: a health check comes every few seconds."""
    if level >= logging.ERROR:
        _say_error(text)


def _log(level: int, text: str) -> None:
    """Complain in the log, whose lines are JSON where a machine reads them."""
    logging.getLogger("activity_proxy").log(level, "%s", text)


def _say_error(text: str) -> None:
    sys.stderr.write(text.rstrip("\n") + "\n")
    sys.stderr.flush()
