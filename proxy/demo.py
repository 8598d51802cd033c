"""The sidecar between a sandbox Activity server and a sandbox gateway, with a Kaltura to fall back to."""

from proxy.configuration import load
from proxy.lookup import carried_directory
from proxy.run import Complain, Say, serve
from proxy.sandbox import Sandbox
from proxy.sandbox_releases import GatewayManner

LISTEN = "127.0.0.1:3001"
ADMIN = "127.0.0.1:9464"


async def demonstrate(
    say: Say,
    complain: Complain,
    *,
    manner: GatewayManner = "newer",
    listen: str | None = None,
    admin: str | None = None,
) -> int:
    """Run all of them until told to stop, and return the exit status. Raises `ConfigurationError`."""
    async with Sandbox(manner=manner) as sandbox:
        surroundings = {
            "ACTIVITY_URL": sandbox.activity_url,
            "API_GATEWAY_URL": sandbox.gateway_url,
            "DISCORD_API_URL": sandbox.discord_url,
            "ENABLE_DIRECT_KALTURA": "true",
            "KALTURA_API_ENDPOINT": sandbox.kaltura.url,
            "KALTURA_PARTNER_ID": sandbox.kaltura.partner_id,
            "KALTURA_ADMIN_SECRET": sandbox.kaltura.secret,
        }
        configuration = load(
            carried_directory() / "proxy.yaml",
            surroundings,
            listen=listen or LISTEN,
            admin=admin or ADMIN,
        )
        return await serve(
            configuration, say, complain, then="Open http://{public}/ in a browser; Ctrl-C stops the demo."
        )
