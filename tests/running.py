"""A whole sidecar in front of the sandbox, for tests from end to end."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import ClientSession

from proxy.configuration import Configuration, load
from proxy.sandbox import Sandbox
from proxy.sandbox_releases import GatewayManner
from proxy.sidecar import Sidecar

NOWHERE = "http://127.0.0.1:1"
SEVEN: tuple[tuple[str, str, object], ...] = (
    ("GET", "/api/kaltura/video/1_e0000003", None),
    ("GET", "/api/kaltura/videos?page=2&pageSize=3", None),
    ("GET", "/api/kaltura/videos/search?query=cats&page=1&pageSize=2", None),
    ("POST", "/api/kaltura/session", {"videoId": "1_e0000003", "userId": "80351110224678912"}),
    ("POST", "/api/kaltura/video/1_e0000003/play", {}),
    ("POST", "/api/token", {"code": "discord-code-7c31"}),
    ("GET", "/api/kaltura/video/1_e0000003/details", None),
)


@dataclass(frozen=True)
class Reply:
    """A client's view of an answer."""

    status: int
    headers: Mapping[str, str]
    json: Any

    @property
    def source(self) -> str | None:
        """Where the answer says that it came from."""
        return self.headers.get("Activity-Proxy-Source")


def configured(
    folder: Path,
    text: str = "",
    *,
    activity: str = NOWHERE,
    gateway: str = f"{NOWHERE}/api",
    discord: str = f"{NOWHERE}/api",
) -> Configuration:
    """Load a configuration of that text, with any free port for both listeners."""
    path = folder / "proxy.yaml"
    path.write_text(text)
    surroundings = {"ACTIVITY_URL": activity, "API_GATEWAY_URL": gateway, "DISCORD_API_URL": discord}
    return load(path, surroundings, listen="127.0.0.1:0", admin="127.0.0.1:0")


class Viewer:
    """A client of the public listener."""

    def __init__(self, session: ClientSession, base: str) -> None:
        self.session = session
        self.base = base

    async def ask(self, method: str, target: str, body: object = None) -> Reply:
        """Make a request, with a JSON body if there is one."""
        async with self.session.request(method, self.base + target, json=body) as response:
            json = await response.json() if response.content_type == "application/json" else None
            return Reply(response.status, response.headers, json)


@asynccontextmanager
async def watched(configuration: Configuration, **settings: float) -> AsyncIterator[tuple[Sidecar, Viewer]]:
    """Run a sidecar of that configuration and give it with a viewer."""
    async with (
        Sidecar(configuration, **{"drain": 0.0, "grace": 1.0, **settings}) as sidecar,  # type: ignore[arg-type]  # floats both
        ClientSession() as session,
    ):
        yield sidecar, Viewer(session, f"http://{sidecar.listen}")


@asynccontextmanager
async def watching(
    folder: Path, text: str = "", *, manner: GatewayManner = "newer"
) -> AsyncIterator[tuple[Sandbox, Sidecar, Viewer]]:
    """Run a sandbox with a sidecar in front."""
    async with Sandbox(manner=manner) as sandbox:
        configuration = configured(
            folder,
            text,
            activity=sandbox.activity_url,
            gateway=sandbox.gateway_url,
            discord=sandbox.discord_url,
        )
        async with watched(configuration) as (sidecar, viewer):
            yield sandbox, sidecar, viewer
