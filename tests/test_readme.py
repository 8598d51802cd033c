"""What the README and the pages beside it show to be copied is taken as it stands."""

import re
import shlex
from pathlib import Path

import pytest

from proxy.cli import _parser
from proxy.configuration import load
from tests.certificates import Authority

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
CONFIGURATIONS = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
COMMANDS = re.findall(r"^activity-proxy .*", README + (ROOT / "docs/operations.md").read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the files that the README's configurations name."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "tls").mkdir()
    authority = Authority(folder)
    authority.file.rename(folder / "gateway-ca.pem")
    for place, stem in (("tls", "tls"), (".", "client")):
        certificate, key = authority.issue("localhost", stem=stem)
        certificate.rename(folder / place / f"{stem}.crt")
        key.rename(folder / place / f"{stem}.key")
    return folder


@pytest.mark.parametrize("text", CONFIGURATIONS, ids=range(len(CONFIGURATIONS)))
def test_each_configuration_that_is_shown_is_sound(text: str, folder: Path) -> None:
    """With the secret files that it names."""
    for name in re.findall(r"\$\{file:/run/secrets/(\w+)\}", text):
        (folder / name).write_text("a-secret-of-more-than-32-characters")
    (folder / "proxy.yaml").write_text(text.replace("/run/secrets/", ""))
    load(folder / "proxy.yaml", {})


def test_each_command_that_is_shown_is_one() -> None:
    """With the options that there are."""
    assert len(COMMANDS) > 3
    for command in COMMANDS:
        words = shlex.split(command.replace("…", "x"), comments=True)[1:]
        assert _parser().parse_args(words).command
