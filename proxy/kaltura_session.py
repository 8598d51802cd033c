"""Starts Kaltura sessions (KS): each for one need, with no more rights and no longer a life than that.

The secret is sent in a form and nowhere else.
"""

from pydantic import SecretStr

from proxy.call import SourceFailed
from proxy.clock import Clock
from proxy.frozen import frozen
from proxy.grant import Grant, TokenEndpointFailed, TokenRefused, header_safe
from proxy.kaltura_api import Complained, KalturaApi, Unusable
from proxy.kaltura_calls import READING_LIFE, Question, reading
from proxy.template import iso_time

LONGEST = 4096
"""Characters of a KS."""


@frozen
class KalturaSessions:
    """Starts sessions of one account."""

    api: KalturaApi
    partner_id: str
    secret: SecretStr
    clock: Clock

    async def start(self, question: Question, deadline: float) -> str:
        """Return a new KS. Raises `Complained` and `SourceFailed` as `KalturaApi.ask` does."""
        right = {"partnerId": self.partner_id, "secret": self.secret.get_secret_value()}
        return await self.api.ask(question.having(right), _ks, deadline)

    async def for_reading(self) -> Grant:
        """Return a new session that reads all entries, for a `TokenKeeper`.

        Raises:
            TokenRefused: Kaltura refuses the partner id or its secret.
            TokenEndpointFailed: It is away, slow or broken.
        """
        asked, started = self.clock.time(), self.clock.monotonic()
        try:
            ks = await self.start(reading(), started + self.api.timeout)
        except Complained as error:
            failed = TokenEndpointFailed if error.ill else TokenRefused
            raise failed(error.failure.kind, error.failure.detail) from None
        except SourceFailed as error:
            failure = error.failure
            raise TokenEndpointFailed(failure.kind, failure.detail, failure.retry_after) from None
        return Grant(ks, iso_time(asked + READING_LIFE))


def _ks(content: object) -> str:
    if not isinstance(content, str) or len(content) > LONGEST or not header_safe(content):
        raise Unusable("ks", "Kaltura's answer is no session")
    return content
