"""A small chart of accounts, and shorthand for entries on it."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest
from httpx import AsyncClient

Line = tuple[str, str, str] | tuple[str, str, str, str]
Entry = dict[str, Any]


@pytest.fixture
async def chart(ada: AsyncClient) -> Mapping[str, int]:
    """Open accounts in Ada's book and return their ids by name."""
    accounts = {
        "cash": ("asset", "EUR"),
        "dollars": ("asset", "USD"),
        "yen": ("asset", "JPY"),
        "sales": ("income", "EUR"),
        "rent": ("expense", "EUR"),
    }
    ids = {}
    for name, (type_, currency) in accounts.items():
        body = {"code": name, "name": name, "type": type_, "currency": currency}
        ids[name] = (await ada.post("/accounts", json=body)).json()["id"]
    return ids


@pytest.fixture
def entry_body(chart: Mapping[str, int]) -> Callable[..., Entry]:
    """Write a request's body; a line is (account, side, amount) and perhaps a rate."""

    def entry_body(*lines: Line, date: str = "2026-03-01", description: str = "Sale") -> Entry:
        keys = ("account_id", "side", "amount", "rate")
        return {
            "date": date,
            "description": description,
            "lines": [dict(zip(keys, (chart[name], *rest), strict=False)) for name, *rest in lines],
        }

    return entry_body


@pytest.fixture
def draft(ada: AsyncClient, entry_body: Callable[..., Entry]) -> Callable[..., Awaitable[Entry]]:
    """Write a draft in Ada's book; without lines given, a sale of 10 euros in cash."""

    async def draft(*lines: Line, **fields: str) -> Entry:
        lines = lines or (("cash", "debit", "10.00"), ("sales", "credit", "10.00"))
        response = await ada.post("/journal/entries", json=entry_body(*lines, **fields))
        assert response.status_code == 201, response.text
        entry: Entry = response.json()
        return entry

    return draft


@pytest.fixture
def posted(
    ada: AsyncClient, draft: Callable[..., Awaitable[Entry]]
) -> Callable[..., Awaitable[Entry]]:
    """Write an entry in Ada's book and post it."""

    async def posted(*lines: Line, **fields: str) -> Entry:
        entry = await draft(*lines, **fields)
        response = await ada.post(f"/journal/entries/{entry['id']}/post", headers={"If-Match": "*"})
        assert response.status_code == 200, response.text
        posted_entry: Entry = response.json()
        return posted_entry

    return posted
