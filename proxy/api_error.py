"""Why a viewer who has Discord's tokens gets no `api_token`, as the client is told."""

from collections.abc import Mapping
from typing import Final, Literal, get_args

ApiErrorCode = Literal[
    "discord_unreachable",
    "discord_timeout",
    "discord_refused",
    "discord_busy",
    "discord_error",
    "discord_unusable_answer",
    "gateway_off",
    "gateway_unreachable",
    "gateway_timeout",
    "gateway_refused",
    "gateway_error",
    "gateway_unusable_answer",
    "gateway_no_such_route",
    "gateway_breaker_open",
    "sessions_unavailable",
]
"""The closed set of `api_error.code`."""

CODES: Final[tuple[ApiErrorCode, ...]] = get_args(ApiErrorCode)
_MESSAGES: Final[Mapping[str, str]] = {
    "discord": "Discord did not confirm who you are. Signing in again may help.",
    "gateway": "The video service could not sign you in yet. You are recognised all the same.",
    "sessions": "Your sign-in could not be kept. Please sign in again later.",
}


class NotSignedIn(Exception):
    """There is no `api_token` for the viewer. Holds nothing of what was sent or received."""

    def __init__(self, code: ApiErrorCode) -> None:
        super().__init__(code)
        self.code: ApiErrorCode = code


def api_error(code: ApiErrorCode) -> dict[str, str]:
    """Return what the client is told: the code for programs, the message for viewers."""
    return {"code": code, "message": _MESSAGES[code.partition("_")[0]]}
