"""A bank account in euros, and files to import."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from httpx import AsyncClient, Response

Send = Callable[..., Awaitable[Response]]

CSV_FORMAT = {
    "columns": {"date": "Date", "amount": "Amount", "description": ["Payee", "Text"]},
}


@pytest.fixture
async def bank(ada: AsyncClient) -> dict[str, Any]:
    """Open a bank account on an asset account in Ada's book."""
    account = {"code": "1100", "name": "Bank", "type": "asset", "currency": "EUR"}
    account_id = (await ada.post("/accounts", json=account)).json()["id"]
    body = {"account_id": account_id, "name": "Giro", "csv_format": CSV_FORMAT}
    response = await ada.post("/bank-accounts", json=body)
    assert response.status_code == 201, response.text
    bank: dict[str, Any] = response.json()
    return bank


@pytest.fixture
def send(ada: AsyncClient, bank: dict[str, Any]) -> Send:
    """Send a file to Ada's bank account; by default CSV, refused when a row is bad."""

    async def send(
        content: str | bytes, *, on_error: str = "reject", media_type: str = "text/csv"
    ) -> Response:
        return await ada.post(
            f"/bank-accounts/{bank['id']}/imports",
            params={"on_error": on_error},
            content=content,
            headers={"Content-Type": media_type},
        )

    return send


@pytest.fixture
def lines(ada: AsyncClient, bank: dict[str, Any]) -> Callable[[], Awaitable[list[dict[str, Any]]]]:
    """List the lines of Ada's bank account."""

    async def lines() -> list[dict[str, Any]]:
        response = await ada.get(f"/bank-accounts/{bank['id']}/lines", params={"limit": 200})
        items: list[dict[str, Any]] = response.json()["items"]
        return items

    return lines
