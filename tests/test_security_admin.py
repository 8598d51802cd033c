"""The admin listener's token."""

import hmac
from pathlib import Path

import pytest
from aiohttp import ClientSession

from tests.running import configured, watched

ADMIN_TOKEN = "correct-horse-battery"
ELSEWHERE = f"admin_token: {ADMIN_TOKEN}"


async def test_the_token_is_compared_in_constant_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How long a refusal takes says nothing of how much of a token was right."""
    compared: list[tuple[bytes, bytes]] = []
    compare = hmac.compare_digest

    def comparing(given: bytes, right: bytes) -> bool:
        compared.append((given, right))
        return compare(given, right)

    monkeypatch.setattr(hmac, "compare_digest", comparing)
    monkeypatch.setattr("proxy.endpoints.HostPort.loopback", False)
    async with watched(configured(tmp_path, ELSEWHERE)) as (sidecar, _), ClientSession() as session:
        for token, status in ((ADMIN_TOKEN, 200), (ADMIN_TOKEN[:-1], 401), ("c", 401), ("", 401)):
            headers = {"Authorization": f"Bearer {token}"}
            async with session.get(f"http://{sidecar.admin}/status", headers=headers) as got:
                assert got.status == status
            assert compared.pop() == (token.encode(), ADMIN_TOKEN.encode())
