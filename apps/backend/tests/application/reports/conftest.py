"""A company's first quarter, small enough to be worked out by hand."""

from collections.abc import Awaitable, Callable, Mapping

import pytest
from httpx import AsyncClient

Line = tuple[str, str, str] | tuple[str, str, str, str]

# By code: type, currency and activity.
COMPANY = {
    "bank": ("asset", "EUR", "cash"),
    "dollars": ("asset", "USD", "cash"),
    "receivables": ("asset", "EUR", "operating"),
    "equipment": ("asset", "EUR", "investing"),
    "valuation": ("asset", "EUR", "cash"),
    "loan": ("liability", "EUR", "financing"),
    "capital": ("equity", "EUR", "financing"),
    "sales": ("income", "EUR", "operating"),
    "fx-gains": ("income", "EUR", "exchange"),
    "rent": ("expense", "EUR", "operating"),
    "fx-losses": ("expense", "EUR", "exchange"),
}

# date, debit, credit, amount, and for the dollar account the rate of what is debited
QUARTER: list[tuple[str, str, str, str, str | None]] = [
    ("2026-01-01", "bank", "capital", "10000.00", None),
    ("2026-01-05", "bank", "loan", "5000.00", None),
    ("2026-01-10", "equipment", "bank", "3000.00", None),
    ("2026-01-20", "receivables", "sales", "2000.00", None),
    ("2026-01-31", "rent", "bank", "800.00", None),
    ("2026-02-10", "bank", "receivables", "1500.00", None),
    ("2026-02-15", "dollars", "bank", "1000.00", "0.90"),  # 900 euros
    ("2026-02-20", "dollars", "sales", "500.00", "0.92"),  # 460 euros
    ("2026-02-28", "rent", "bank", "800.00", None),
    ("2026-03-05", "loan", "bank", "1000.00", None),
]
EUROS = {"1000.00@0.90": "900.00", "500.00@0.92": "460.00"}


@pytest.fixture
async def company(ada: AsyncClient) -> Mapping[str, int]:
    """Open the company's accounts in Ada's book and return their ids."""
    ids = {}
    for code, (type_, currency, activity) in COMPANY.items():
        body = {"code": code, "name": code, "type": type_, "currency": currency}
        response = await ada.post("/accounts", json={**body, "activity": activity})
        assert response.status_code == 201, response.text
        ids[code] = response.json()["id"]
    return ids


@pytest.fixture
def post(ada: AsyncClient, company: Mapping[str, int]) -> Callable[..., Awaitable[int]]:
    """Post an entry of lines (account, side, amount) and perhaps a rate."""

    async def post(date: str, *lines: Line) -> int:
        keys = ("account_id", "side", "amount", "rate")
        written = [dict(zip(keys, (company[code], *rest), strict=False)) for code, *rest in lines]
        body = {"date": date, "description": "Entry", "lines": written}
        entry_id: int = (await ada.post("/journal/entries", json=body)).json()["id"]
        url = f"/journal/entries/{entry_id}/post"
        response = await ada.post(url, headers={"If-Match": "*"})
        assert response.status_code == 200, response.text
        return entry_id

    return post


@pytest.fixture
async def quarter(post: Callable[..., Awaitable[int]]) -> None:
    """Post the quarter."""
    for date, debit, credit, amount, rate in QUARTER:
        if rate is None:
            await post(date, (debit, "debit", amount), (credit, "credit", amount))
        else:
            euros = EUROS[f"{amount}@{rate}"]
            await post(date, (debit, "debit", amount, rate), (credit, "credit", euros))
