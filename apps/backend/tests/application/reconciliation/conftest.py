"""A bank account with a statement, entries that may belong to it, and matches of the two."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from httpx import AsyncClient

Match = dict[str, Any]
ANY = {"If-Match": "*"}


@pytest.fixture
async def chart(ada: AsyncClient) -> dict[str, int]:
    """Open accounts in Ada's book and return their ids by name."""
    ids = {}
    for name, type_ in {"bank": "asset", "cash": "asset", "sales": "income"}.items():
        body = {"code": name, "name": name, "type": type_, "currency": "EUR"}
        ids[name] = (await ada.post("/accounts", json=body)).json()["id"]
    return ids


@pytest.fixture
async def bank(ada: AsyncClient, chart: dict[str, int]) -> str:
    """Open a bank account and return its URL."""
    columns = {"date": "Date", "amount": "Amount", "description": ["Text"]}
    body = {"account_id": chart["bank"], "name": "Giro", "csv_format": {"columns": columns}}
    response = await ada.post("/bank-accounts", json=body)
    location: str = response.headers["Location"]
    return location


@pytest.fixture
def statement(ada: AsyncClient, bank: str) -> Callable[..., Awaitable[list[int]]]:
    """Import lines (date, amount, text) and return their ids."""

    async def statement(*lines: tuple[str, str, str]) -> list[int]:
        content = "Date,Amount,Text\n" + "".join(",".join(line) + "\n" for line in lines)
        headers = {"Content-Type": "text/csv"}
        response = await ada.post(f"{bank}/imports", content=content, headers=headers)
        assert response.status_code == 201, response.text
        query = {"import_id": response.json()["id"]}
        found = (await ada.get(f"{bank}/lines", params=query)).json()["items"]
        return [line["id"] for line in found]

    return statement


@pytest.fixture
def post(ada: AsyncClient, chart: dict[str, int]) -> Callable[..., Awaitable[int]]:
    """Post what moves the bank account, against sales unless told otherwise."""

    async def post(date: str, amount: str, text: str, against: str = "sales") -> int:
        sides = ("credit", "debit") if amount.startswith("-") else ("debit", "credit")
        lines = [
            {"account_id": chart[name], "side": side, "amount": amount.lstrip("-")}
            for name, side in zip(("bank", against), sides, strict=True)
        ]
        body = {"date": date, "description": text, "lines": lines}
        entry_id: int = (await ada.post("/journal/entries", json=body)).json()["id"]
        response = await ada.post(f"/journal/entries/{entry_id}/post", headers=ANY)
        assert response.status_code == 200, response.text
        return entry_id

    return post


@pytest.fixture
def match(ada: AsyncClient, bank: str) -> Callable[..., Awaitable[Match]]:
    """Propose a match by hand."""

    async def match(line_ids: list[int], entry_ids: list[int]) -> Match:
        body = {"line_ids": line_ids, "entry_ids": entry_ids}
        response = await ada.post(f"{bank}/matches", json=body)
        assert response.status_code == 201, response.text
        made: Match = response.json()
        return made

    return match
