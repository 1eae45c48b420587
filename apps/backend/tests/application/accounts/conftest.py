"""Accounts to start from."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from httpx import AsyncClient

OpenAccount = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture
def open_account(ada: AsyncClient) -> OpenAccount:
    """Open an account in Ada's book; by default one of assets, in euros."""

    async def open_account(code: str, **fields: object) -> dict[str, Any]:
        body = {"code": code, "name": f"Account {code}", "type": "asset", "currency": "EUR"}
        response = await ada.post("/accounts", json={**body, **fields})
        assert response.status_code == 201, response.text
        account: dict[str, Any] = response.json()
        return account

    return open_account
