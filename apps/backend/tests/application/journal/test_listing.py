"""Listing entries: filters and pages."""

from typing import Any

import pytest
from fastapi import FastAPI
from httpx import AsyncClient

from ..ledger import Ledger
from ..people import sign_up


async def _ids(client: AsyncClient, **params: str | int) -> list[int]:
    response = await client.get("/journal/entries", params=params)
    assert response.status_code == 200, response.text
    return [entry["id"] for entry in response.json()["items"]]


@pytest.fixture
async def entries(ada: AsyncClient, ledger: Ledger) -> None:
    """Write four entries: two drafts, one voided and its reversal."""
    rent = (("rent", "debit", "500.00"), ("cash", "credit", "500.00"))
    await ledger.draft(date="2026-01-31", description="Sale to 100% Ltd")
    await ledger.draft(*rent, date="2026-02-01", description="Rent, February")
    await ledger.post(date="2026-02-28", description="Sale_of_stock")
    await ada.post(
        "/journal/entries/3/void",
        json={"reason": "refund", "date": "2026-03-01"},
        headers={"If-Match": "*"},
    )


@pytest.mark.usefixtures("entries")
@pytest.mark.parametrize(
    ("params", "ids"),
    [
        ({}, [4, 3, 2, 1]),
        ({"date_from": "2026-02-01", "date_to": "2026-02-28"}, [3, 2]),
        ({"date_from": "2026-03-02"}, []),
        ({"state": "draft"}, [2, 1]),
        ({"state": "voided"}, [3]),
        ({"account_id": 5}, [2]),
        ({"account_id": 999}, []),
        ({"text": "SALE"}, [3, 1]),
        ({"text": "%"}, [1]),
        ({"text": "_"}, [3]),
        ({"text": "sale", "state": "draft"}, [1]),
    ],
    ids=str,
)
async def test_filters_narrow_the_listing(
    ada: AsyncClient, params: dict[str, Any], ids: list[int]
) -> None:
    """Filters combine; text ignores case, and `%` and `_` in it are ordinary characters."""
    assert await _ids(ada, **params) == ids


@pytest.mark.parametrize(
    "params",
    [
        {"date_from": "2026-03-02", "date_to": "2026-03-01"},
        {"date_from": "yesterday"},
        {"state": "open"},
        {"account_id": "cash"},
        {"text": ""},
        {"text": "\0"},
        {"limit": "0"},
    ],
    ids=str,
)
async def test_an_invalid_query_is_refused(ada: AsyncClient, params: dict[str, str]) -> None:
    """A filter that can match nothing, or means nothing, is an error."""
    assert (await ada.get("/journal/entries", params=params)).status_code == 422


async def test_entries_of_one_day_are_paged_newest_first(ada: AsyncClient, ledger: Ledger) -> None:
    """Where dates are equal, ids decide, so that no entry is lost between two pages."""
    for _ in range(5):
        await ledger.draft(date="2026-03-01")

    first = (await ada.get("/journal/entries", params={"limit": 2})).json()
    rest = await _ids(ada, cursor=first["next_cursor"])

    assert [entry["id"] for entry in first["items"]] == [5, 4]
    assert rest == [3, 2, 1]


async def test_a_filter_holds_on_every_page(ada: AsyncClient, ledger: Ledger) -> None:
    """The cursor is used together with the filter it came from."""
    for write in (ledger.draft, ledger.post, ledger.draft, ledger.post, ledger.draft):
        await write()
    params: dict[str, Any] = {"state": "draft", "limit": 2}
    cursor = (await ada.get("/journal/entries", params=params)).json()["next_cursor"]

    assert await _ids(ada, **params, cursor=cursor) == [1]


async def test_a_listing_holds_only_ones_own_entries(ledger: Ledger, app: FastAPI) -> None:
    """Not even filtering by a foreign account's id shows anything."""
    await ledger.draft()
    bob = await sign_up(app, "bob")

    assert await _ids(bob) == []
    assert await _ids(bob, account_id=ledger.ids["cash"]) == []
