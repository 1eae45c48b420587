"""Drafts: written, changed and thrown away."""

from typing import Any

import pytest
from fastapi import FastAPI
from httpx import AsyncClient
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from backend.journal.models import JournalLine

from ..ledger import Ledger
from ..people import sign_up


async def test_a_draft_can_be_fetched_from_its_location(ada: AsyncClient, ledger: Ledger) -> None:
    """Creation answers with the draft, where it is and which version it has."""
    body = ledger.entry(("dollars", "debit", "100", "0.925"), ("sales", "credit", "92.5"))

    created = await ada.post("/journal/entries", json=body)

    assert created.status_code == 201
    assert created.headers["ETag"] == '"1"'
    fetched = await ada.get(created.headers["Location"])
    assert fetched.json() == created.json()
    amounts = [
        (line["amount"], line["currency"], line["base_amount"]) for line in fetched.json()["lines"]
    ]
    assert amounts == [("100.00", "USD", "92.50"), ("92.50", "EUR", "92.50")]


async def test_a_draft_need_not_balance(ledger: Ledger) -> None:
    """Work in progress can be saved."""
    entry = await ledger.draft(("cash", "debit", "10.00"))

    assert entry["state"] == "draft"


@pytest.mark.parametrize(
    "change",
    [
        {"date": "2026-02-29"},
        {"description": ""},
        {"description": "a\0b"},
        {"lines": [{"account_id": 1, "side": "debit", "amount": "1.00"}] * 501},
        {"lines": None},
        {"state": "posted"},
    ],
    ids=["no such day", "empty", "NUL", "too many lines", "null", "state"],
)
async def test_an_invalid_entry_is_refused(
    ada: AsyncClient, ledger: Ledger, change: dict[str, Any]
) -> None:
    """Each rule of a field is checked before anything reaches the database."""
    response = await ada.post("/journal/entries", json={**ledger.entry(), **change})

    assert response.status_code == 422


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"amount": 10.5}, "/lines/0/amount"),
        ({"amount": "0"}, "/lines/0/amount"),
        ({"amount": "-10.00"}, "/lines/0/amount"),
        ({"side": "left"}, "/lines/0/side"),
        ({"rate": "0"}, "/lines/0/rate"),
        ({"account_id": None}, "/lines/0/account_id"),
    ],
    ids=str,
)
async def test_an_invalid_line_is_pointed_at(
    ada: AsyncClient, ledger: Ledger, change: dict[str, Any], pointer: str
) -> None:
    """The pointer leads to the field within the line, and a binary float is invalid."""
    body = ledger.entry(("cash", "debit", "10.00"))
    body["lines"][0] |= change

    response = await ada.post("/journal/entries", json=body)

    assert response.json()["errors"][0]["pointer"] == pointer


async def test_a_line_that_does_not_fit_its_account_is_unprocessable(
    ada: AsyncClient, ledger: Ledger
) -> None:
    """A missing rate is found only with the account, and is invalid input all the same."""
    response = await ada.post("/journal/entries", json=ledger.entry(("dollars", "debit", "1.00")))

    assert response.status_code == 422
    assert response.json()["pointer"] == "/lines/0/rate"


async def test_a_line_on_another_users_account_is_refused(ledger: Ledger, app: FastAPI) -> None:
    """Foreign accounts cannot be written to, and look as if they did not exist."""
    bob = await sign_up(app, "bob")
    line = {"account_id": ledger.ids["cash"], "side": "debit", "amount": "1.00"}
    body = {"date": "2026-03-01", "description": "Theft", "lines": [line]}

    response = await bob.post("/journal/entries", json=body)

    assert response.status_code == 404
    assert response.json()["type"] == "/problems/account-not-found"


async def test_a_line_on_an_archived_account_is_refused(ada: AsyncClient, ledger: Ledger) -> None:
    """The error names the accounts that are closed."""
    await ada.post(f"/accounts/{ledger.ids['cash']}/archive", headers={"If-Match": "*"})

    response = await ada.post("/journal/entries", json=ledger.entry(("cash", "debit", "1.00")))

    assert response.status_code == 409
    assert response.json()["codes"] == ["cash"]


async def test_a_draft_is_replaced_with_its_lines(
    ada: AsyncClient, ledger: Ledger, db: AsyncSession
) -> None:
    """The old lines are gone, and the version moves although only lines differ."""
    entry = await ledger.draft()
    body = ledger.entry(("rent", "debit", "7.00"), ("cash", "credit", "7.00"))

    response = await ada.put(
        f"/journal/entries/{entry['id']}", json=body, headers={"If-Match": '"1"'}
    )

    assert response.headers["ETag"] == '"2"'
    assert [line["amount"] for line in response.json()["lines"]] == ["7.00", "7.00"]
    assert await db.scalar(select(func.count()).select_from(JournalLine)) == 2


async def test_a_draft_can_be_deleted(ada: AsyncClient, ledger: Ledger, db: AsyncSession) -> None:
    """Nothing of it stays in the journal."""
    await ledger.draft()

    response = await ada.delete("/journal/entries/1", headers={"If-Match": '"1"'})

    assert response.status_code == 204
    assert (await ada.get("/journal/entries/1")).status_code == 404
    assert await db.scalar(select(func.count()).select_from(JournalLine)) == 0


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/journal/entries/1"),
        ("DELETE", "/journal/entries/1"),
        ("POST", "/journal/entries/1/post"),
        ("POST", "/journal/entries/1/void"),
    ],
)
@pytest.mark.parametrize(("if_match", "status"), [(None, 428), ('"2"', 412)])
async def test_every_change_needs_the_current_version(  # noqa: PLR0917
    ada: AsyncClient, ledger: Ledger, method: str, path: str, if_match: str | None, status: int
) -> None:
    """An entry is changed by nobody who has not seen its latest version."""
    await ledger.draft()
    body = {
        "PUT": {"date": "2026-03-01", "description": "Other"},
        "POST": {"reason": "Mistake"} if path.endswith("void") else None,
    }.get(method)
    headers = {} if if_match is None else {"If-Match": if_match}

    response = await ada.request(method, path, json=body, headers=headers)

    assert response.status_code == status
    assert (await ada.get("/journal/entries/1")).json()["version"] == 1


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/journal/entries/1", None),
        ("PUT", "/journal/entries/1", {"date": "2026-03-01", "description": "Other"}),
        ("DELETE", "/journal/entries/1", None),
        ("POST", "/journal/entries/1/post", None),
        ("POST", "/journal/entries/1/void", {"reason": "Mistake"}),
    ],
)
async def test_another_users_entry_does_not_exist(
    ledger: Ledger, app: FastAPI, method: str, path: str, body: dict[str, str] | None
) -> None:
    """Foreign ids are 404 for reading and for every change."""
    await ledger.draft()
    bob = await sign_up(app, "bob")

    response = await bob.request(method, path, json=body, headers={"If-Match": "*"})

    assert response.status_code == 404
    assert response.json()["type"] == "/problems/entry-not-found"


async def test_round_amounts_are_shown_with_all_their_digits(
    ada: AsyncClient, ledger: Ledger
) -> None:
    """The driver reads 100000 as 1.0E+5, and a client is not to see that."""
    entry = await ledger.draft(("yen", "debit", "100000", "0.006"))

    (line,) = (await ada.get(f"/journal/entries/{entry['id']}")).json()["lines"]

    assert (line["amount"], line["base_amount"]) == ("100000", "600.00")
