"""A ledger: somebody's accounts by their codes, and entries on them, over HTTP."""

from dataclasses import dataclass, field
from typing import Any

from httpx import AsyncClient

Json = dict[str, Any]
Line = tuple[str, str, str] | tuple[str, str, str, str]
"""An account's code, a side, an amount, and in a foreign currency the rate."""

SALE: tuple[Line, Line] = (("cash", "debit", "10.00"), ("sales", "credit", "10.00"))
ANY_VERSION = {"If-Match": "*"}


@dataclass(frozen=True)
class Ledger:
    """Keep somebody's books."""

    client: AsyncClient
    ids: dict[str, int] = field(default_factory=dict)
    """Of the accounts opened, by their codes."""

    async def open(self, code: str, **fields: object) -> Json:
        """Open an account, one of assets in euros unless told otherwise."""
        body = {"code": code, "name": f"Account {code}", "type": "asset", "currency": "EUR"}
        response = await self.client.post("/accounts", json=body | fields)
        assert response.status_code == 201, response.text
        account: Json = response.json()
        self.ids[code] = account["id"]
        return account

    def entry(self, *lines: Line, date: str = "2026-03-01", description: str = "Sale") -> Json:
        """Write what a request says of an entry."""
        keys = ("account_id", "side", "amount", "rate")
        written = [dict(zip(keys, (self.ids[code], *rest), strict=False)) for code, *rest in lines]
        return {"date": date, "description": description, "lines": written}

    async def draft(self, *lines: Line, **fields: str) -> Json:
        """Write a draft, of a sale for cash unless told otherwise."""
        body = self.entry(*(lines or SALE), **fields)
        response = await self.client.post("/journal/entries", json=body)
        assert response.status_code == 201, response.text
        entry: Json = response.json()
        return entry

    async def post(self, *lines: Line, **fields: str) -> Json:
        """Write an entry and post it."""
        draft = await self.draft(*lines, **fields)
        url = f"/journal/entries/{draft['id']}/post"
        response = await self.client.post(url, headers=ANY_VERSION)
        assert response.status_code == 200, response.text
        entry: Json = response.json()
        return entry
