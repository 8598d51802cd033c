"""What is deployed agrees with the sidecar: commands, configurations, ports, secrets, times."""

import json
import re
import shlex
import tomllib
from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy import __version__
from proxy.cli import _parser
from proxy.configuration import ConfigurationError, load
from proxy.memory_sessions import MAX_SIZE
from proxy.server import AT_ONCE, CUTTING
from proxy.settings import Settings
from proxy.sidecar import DRAIN, GRACE
from tests.certificates import Authority

ROOT = Path(__file__).parent.parent
SECRETS = re.compile(r"\$\{file:(/run/secrets/[^}]+)\}")


def _yaml(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text())


def _lines(name: str) -> list[str]:
    """Return a file's lines that are no comments."""
    lines = (ROOT / name).read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def _manifest(kind: str) -> Any:
    manifests = yaml.safe_load_all((ROOT / "deploy/kubernetes/activity.yaml").read_text())
    return next(manifest for manifest in manifests if manifest["kind"] == kind)


def _pod() -> Any:
    return _manifest("Deployment")["spec"]["template"]["spec"]


def _instruction(name: str) -> list[str]:
    """Return the last such instruction of the Dockerfile in its JSON form."""
    found = re.findall(rf"^(?:\s+|){name} (\[.*\])$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    words: list[str] = json.loads(found[-1])
    return words


def _parsed(words: list[str]) -> Namespace:
    return _parser().parse_args(words)


def _settings(
    text: str, folder: Path, environ: Mapping[str, str] | None = None, secret_text: str = ""
) -> Settings:
    """Load a configuration as it would be read in its container, with that text in its secret files."""
    for name in SECRETS.findall(text):
        secret = folder / name.removeprefix("/")
        secret.parent.mkdir(parents=True, exist_ok=True)
        secret.write_text(secret_text)
    configuration = folder / "proxy.yaml"
    configuration.write_text(text.replace("/run/secrets/", f"{folder}/run/secrets/"))
    return load(configuration, environ or {}).settings


def _compose_text() -> str:
    return (ROOT / "deploy/proxy.yaml").read_text()


def _kubernetes_text() -> str:
    text: str = _manifest("ConfigMap")["data"]["proxy.yaml"]
    return text


def test_the_image_runs_the_sidecar_and_asks_after_its_health() -> None:
    """The image's commands are the command line's own, both with the configuration that is copied in."""
    assert _instruction("ENTRYPOINT") == ["activity-proxy"]
    run = _parsed(_instruction("CMD"))
    command, *words = _instruction("HEALTHCHECK[^\\[]*CMD")
    assert command == "activity-proxy"
    health = _parsed(words)
    copied = f"COPY config/proxy.yaml {run.config}\n"
    assert run.config == health.config
    assert copied in (ROOT / "Dockerfile").read_text()


def test_every_command_of_the_compose_file_is_one() -> None:
    """The commands that compose and Kubernetes give the image are the command line's own."""
    services = _yaml("deploy/compose.yaml")["services"]
    ours = [service for service in services.values() if service.get("image") == "activity-proxy"]
    assert len(ours) == 2
    for service in ours:
        _parsed(service.get("command", _instruction("CMD")))
    _parsed(_pod()["initContainers"][0]["args"])


@pytest.mark.parametrize("text", [_compose_text(), _kubernetes_text()], ids=["compose", "kubernetes"])
def test_deployed_configurations_are_sound(text: str, tmp_path: Path) -> None:
    """A deployed configuration loads, and its admin listener can be reached from outside of the container."""
    settings = _settings(text, tmp_path)
    assert settings.admin.host == "0.0.0.0"
    assert settings.gateway.token.get_secret_value() == ""


def test_only_the_sandbox_is_no_production(tmp_path: Path) -> None:
    """The sidecar is in production wherever it is deployed, but in front of the sandbox."""
    (file,) = _yaml("deploy/compose.yaml")["services"]["proxy"]["env_file"]
    assert file == {"path": "${COMPOSE_PROFILES:-none}.env", "required": False}
    profiles = dict(line.split("=") for line in _lines("deploy/.env"))
    environ = dict(line.split("=") for line in _lines(f"deploy/{profiles['COMPOSE_PROFILES']}.env"))
    assert _settings(_compose_text(), tmp_path, environ).environment == "development"
    assert not (ROOT / "deploy/real.env").exists()
    assert not (ROOT / "deploy/none.env").exists()
    for text in (_compose_text(), _kubernetes_text()):
        assert _settings(text, tmp_path).environment == "production"


def test_grafana_shows_the_dashboard_where_its_provisioning_looks() -> None:
    """What compose mounts is what the provisioning names, and Prometheus is found by its service's name."""
    services = _yaml("deploy/compose.yaml")["services"]
    mounts = {mount["target"]: mount["source"] for mount in services["grafana"]["volumes"][:2]}
    for source in mounts.values():
        assert (ROOT / "deploy" / source).exists()
    provider = _yaml("deploy/grafana/provisioning/dashboards/activity-proxy.yaml")["providers"][0]
    assert mounts[f"{provider['options']['path']}/dashboard.json"] == "./grafana/dashboard.json"
    assert mounts["/etc/grafana/provisioning"] == "./grafana/provisioning"
    source = _yaml("deploy/grafana/provisioning/datasources/prometheus.yaml")["datasources"][0]
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in services


def test_compose_publishes_what_the_sidecar_listens_at(tmp_path: Path) -> None:
    """Both listeners are published, on loopback only, and Prometheus asks the admin one."""
    settings = _settings(_compose_text(), tmp_path)
    services = _yaml("deploy/compose.yaml")["services"]
    ports = (settings.listen.port, settings.admin.port)
    assert services["proxy"]["ports"] == [f"127.0.0.1:{port}:{port}" for port in ports]
    jobs = {job["job_name"]: job for job in _yaml("deploy/prometheus/prometheus.yml")["scrape_configs"]}
    assert jobs["activity-proxy"]["static_configs"] == [{"targets": [f"proxy:{settings.admin.port}"]}]


def test_the_sandbox_stands_where_the_configuration_looks(tmp_path: Path) -> None:
    """In compose the sandbox answers to the names, at the ports, that the sidecar asks for."""
    environ = dict(line.split("=") for line in _lines("deploy/sandbox.env"))
    settings = _settings(_compose_text(), tmp_path, environ)
    service = _yaml("deploy/compose.yaml")["services"]["sandbox"]
    activity, gateway, discord = service["networks"]["default"]["aliases"]
    sandbox = _parsed(service["command"])
    assert sandbox.host == "0.0.0.0"
    assert settings.activity.url == f"http://{activity}:{sandbox.activity_port}"
    assert settings.gateway.url == f"http://{gateway}:{sandbox.gateway_port}/api"
    assert settings.identity.discord_url == f"http://{discord}:{sandbox.discord_port}/api"


def test_compose_mounts_every_secret_that_is_read() -> None:
    """Each secret file of the configuration is mounted, and nothing else is."""
    named = {name.removeprefix("/run/secrets/") for name in SECRETS.findall(_compose_text())}
    compose = _yaml("deploy/compose.yaml")
    assert set(compose["services"]["proxy"]["secrets"]) == named
    assert set(compose["secrets"]) == named


def test_kubernetes_asks_the_sidecar_where_it_listens(tmp_path: Path) -> None:
    """Ports, probes, Service and the annotation for Prometheus name the configuration's listeners."""
    settings = _settings(_kubernetes_text(), tmp_path)
    sidecar, activity = _pod()["initContainers"][0], _pod()["containers"][0]
    ports = {port["name"]: port["containerPort"] for port in sidecar["ports"]}
    assert ports == {"http": settings.listen.port, "admin": settings.admin.port}
    probes = [sidecar[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")]
    assert [probe["path"] for probe in probes] == ["/readyz", "/readyz", "/livez"]
    assert {probe["port"] for probe in probes} == {"admin"}
    assert settings.activity.url == f"http://127.0.0.1:{activity['ports'][0]['containerPort']}"
    annotations = _manifest("Deployment")["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(settings.admin.port)
    assert _manifest("Service")["spec"]["ports"] == [{"name": "http", "port": 3001, "targetPort": "http"}]


def test_kubernetes_mounts_the_configuration_and_its_secret() -> None:
    """The configuration is found where the sidecar is told to look, and the secret where that one says."""
    sidecar = _pod()["initContainers"][0]
    mounts = {mount["name"]: mount["mountPath"] for mount in sidecar["volumeMounts"]}
    assert str(_parsed(sidecar["args"]).config.parent) == mounts["configuration"]
    named = [path.rpartition("/") for path in SECRETS.findall(_kubernetes_text())]
    assert {folder for folder, _, _ in named} == {mounts["secrets"]}
    text = (ROOT / "deploy/kubernetes/activity.yaml").read_text()
    assert [f"--from-file={name}=FILE" in text for _, _, name in named] == [True] * 3


def test_the_image_has_the_packages_for_the_redis_that_is_suggested() -> None:
    """Those of the extra are pinned, and installed with the others."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    pinned = (ROOT / "deploy/redis-requirements.txt").read_text()
    for requirement in project["project"]["optional-dependencies"]["redis"]:
        assert f"\n{re.split('[<>=]', requirement)[0]}==" in pinned
    installed = "-r deploy/requirements.txt -r deploy/redis-requirements.txt"
    assert installed in (ROOT / "Dockerfile").read_text()


@pytest.mark.parametrize("name", ["compose", "kubernetes"])
def test_nobody_is_killed_for_what_the_limits_allow(name: str) -> None:
    """The memory that is given holds all connections, kept answers, sessions and users' tokens at once."""
    settings, mebi = Settings(), 1024**2
    all_of_it = 55 * mebi + settings.limits.connections * 23 * 1024 + settings.cache.max_size + MAX_SIZE
    if name == "compose":
        given = _yaml("deploy/compose.yaml")["services"]["proxy"]["deploy"]["resources"]["limits"]["memory"]
    else:
        given = _pod()["initContainers"][0]["resources"]["limits"]["memory"]
    assert int(given.rstrip("Mi")) * mebi > all_of_it + 50 * mebi


def test_the_manifest_runs_this_version() -> None:
    """The manifest's image is tagged with the version of the sources that it lies beside."""
    assert _pod()["initContainers"][0]["image"] == f"activity-proxy:{__version__}"


def test_running_requests_get_their_time_at_a_stop() -> None:
    """Nobody kills the sidecar while it lets running requests finish."""
    stopping = DRAIN + GRACE + 2 * (2 * AT_ONCE + CUTTING)  # for each of two listeners
    pod = _pod()
    before = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > before + stopping
    grace = _yaml("deploy/compose.yaml")["services"]["proxy"]["stop_grace_period"]
    assert int(grace.removesuffix("s")) > stopping


def test_our_containers_are_confined() -> None:
    """The sidecar runs without root, capabilities, new privileges, or a file system to write to."""
    for name in ("proxy", "sandbox"):
        service = _yaml("deploy/compose.yaml")["services"][name]
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
    assert _pod()["securityContext"]["runAsNonRoot"]
    confined = _pod()["initContainers"][0]["securityContext"]
    assert confined["readOnlyRootFilesystem"]
    assert not confined["allowPrivilegeEscalation"]
    assert confined["capabilities"] == {"drop": ["ALL"]}
    assert f"\nUSER {confined['runAsUser']}:{confined['runAsGroup']}\n" in (ROOT / "Dockerfile").read_text()


def _blocks(*languages: str) -> Iterator[tuple[str, str]]:
    """Return the code blocks of the documentation whose first line is just a language, and their places."""
    fence = re.compile(rf"^```({'|'.join(languages)})\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    for document in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]):
        text = document.read_text()
        for block in fence.finditer(text):
            line = text.count("\n", 0, block.start()) + 1
            yield f"{document.relative_to(ROOT)}:{line}", block[2]


def test_configurations_in_the_documentation_are_sound(tmp_path: Path) -> None:
    """Each block that says just `yaml` is a configuration that loads, with the files it names beside it."""
    for copy, name in {
        "my-gateway.yaml": "dialects/plan.yaml",
        "my-session.json": "mocks/session.json",
    }.items():
        (tmp_path / copy).write_text((ROOT / "config" / name).read_text())
    authority = Authority(tmp_path)
    authority.ca.cert_pem.write_to_path(tmp_path / "gateway-ca.pem")
    (tmp_path / "tls").mkdir()
    for stem in ("client", "tls/tls"):
        certificate, _ = authority.issue("sidecar.example", stem=stem)
        certificate.rename(certificate.with_suffix(".crt"))
    problems = []
    for place, text in _blocks("yaml"):
        try:
            _settings(text, tmp_path, secret_text="what-a-file-holds-" * 3)
        except ConfigurationError as error:
            problems.append(f"{place}: {error}")
    assert not problems


def test_commands_in_the_documentation_exist() -> None:
    """Each `make …` that the documentation shows is a target, and each `activity-proxy …` parses."""
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    command = re.compile(r"^(?:\$ )?(activity-proxy|make) ([^#|>&\n]+)", re.MULTILINE)
    for place, text in _blocks("console", "sh", "bash", "shell"):
        for tool, rest in command.findall(text):
            words = shlex.split(rest)
            if tool == "make":
                assert {word for word in words if "=" not in word} <= targets, place
            else:
                _parsed(words)
