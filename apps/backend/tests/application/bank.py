"""A bank account: what the bank says of it, what the ledger says, and matches of the two."""

from dataclasses import dataclass
from typing import Self

from httpx import Response

from .ledger import Json, Ledger

CSV_FORMAT = {"columns": {"date": "Date", "amount": "Amount", "description": ["Payee", "Text"]}}
HEADER = "Date,Payee,Text,Amount\n"


@dataclass(frozen=True)
class Bank:
    """Import statements, and reconcile them."""

    ledger: Ledger
    code: str
    """Of its account in the ledger."""
    shown: Json
    """What the API has answered when it was opened."""

    @classmethod
    async def open(cls, ledger: Ledger, code: str) -> Self:
        """Open a bank account on an account of the ledger."""
        body = {"account_id": ledger.ids[code], "name": "Giro", "csv_format": CSV_FORMAT}
        response = await ledger.client.post("/bank-accounts", json=body)
        assert response.status_code == 201, response.text
        return cls(ledger, code, response.json())

    @property
    def url(self) -> str:
        """Where it is."""
        return f"/bank-accounts/{self.shown['id']}"

    async def send(
        self, content: str | bytes, *, on_error: str = "reject", media_type: str = "text/csv"
    ) -> Response:
        """Send a file; by default CSV, refused when a row is bad."""
        return await self.ledger.client.post(
            f"{self.url}/imports",
            params={"on_error": on_error},
            content=content,
            headers={"Content-Type": media_type},
        )

    async def lines(self, **query: int) -> list[Json]:
        """List lines of its statements."""
        params = {"limit": 200, **query}
        response = await self.ledger.client.get(f"{self.url}/lines", params=params)
        items: list[Json] = response.json()["items"]
        return items

    async def statement(self, *lines: tuple[str, str, str]) -> list[int]:
        """Import lines (date, amount, text) and return their ids."""
        rows = "".join(f"{date},,{text},{amount}\n" for date, amount, text in lines)
        response = await self.send(HEADER + rows)
        assert response.status_code == 201, response.text
        return [line["id"] for line in await self.lines(import_id=response.json()["id"])]

    async def book(self, date: str, amount: str, text: str, against: str = "sales") -> int:
        """Post what moves the account in the ledger; what comes in is positive."""
        here, there = ("credit", "debit") if amount.startswith("-") else ("debit", "credit")
        size = amount.lstrip("-")
        lines = (self.code, here, size), (against, there, size)
        entry_id: int = (await self.ledger.post(*lines, date=date, description=text))["id"]
        return entry_id

    async def match(self, line_ids: list[int], entry_ids: list[int]) -> Json:
        """Propose by hand that lines are entries."""
        body = {"line_ids": line_ids, "entry_ids": entry_ids}
        response = await self.ledger.client.post(f"{self.url}/matches", json=body)
        assert response.status_code == 201, response.text
        match: Json = response.json()
        return match
