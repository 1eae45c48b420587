"""Listing accounts: filters and pages."""

from typing import Any

import pytest
from fastapi import FastAPI
from httpx import AsyncClient

from ..ledger import Ledger
from ..people import sign_up


async def _codes(client: AsyncClient, **params: str | int) -> list[str]:
    response = await client.get("/accounts", params=params)
    assert response.status_code == 200, response.text
    return [account["code"] for account in response.json()["items"]]


async def test_a_new_book_has_no_accounts(ada: AsyncClient) -> None:
    """An empty listing is one empty page."""
    assert (await ada.get("/accounts")).json() == {"items": [], "next_cursor": None}


async def test_a_listing_holds_only_ones_own_accounts(
    ada: AsyncClient, ledger: Ledger, app: FastAPI
) -> None:
    """Nothing of another book shows."""
    await ledger.open("1000")
    bob = await sign_up(app, "bob")

    assert await _codes(bob) == []
    assert await _codes(ada) == ["1000"]


@pytest.mark.parametrize(
    ("params", "codes"),
    [
        ({}, ["1000", "1100", "1110", "4000"]),
        ({"type": "income"}, ["4000"]),
        ({"parent_id": "none"}, ["1000", "4000"]),
        ({"parent_id": 1}, ["1100"]),
        ({"archived": "true"}, ["1110"]),
        ({"archived": "false", "type": "asset"}, ["1000", "1100"]),
    ],
    ids=str,
)
async def test_filters_narrow_the_listing(
    ada: AsyncClient, ledger: Ledger, params: dict[str, Any], codes: list[str]
) -> None:
    """Filters combine, and the order is that of the codes."""
    await ledger.open("1000")
    await ledger.open("4000", type="income")
    await ledger.open("1100", parent_id=1)
    await ledger.open("1110", parent_id=3)
    await ada.post("/accounts/4/archive", headers={"If-Match": "*"})

    assert await _codes(ada, **params) == codes


@pytest.mark.parametrize(
    "params",
    [
        {"limit": 0},
        {"limit": 201},
        {"limit": "many"},
        {"type": "assets"},
        {"parent_id": "root"},
        {"archived": "perhaps"},
        {"typ": "asset"},
    ],
    ids=str,
)
async def test_an_invalid_query_is_refused(ada: AsyncClient, params: dict[str, Any]) -> None:
    """A limit out of bounds or a misspelt filter is an error, not a surprising listing."""
    response = await ada.get("/accounts", params=params)

    assert response.status_code == 422
    assert response.json()["errors"][0]["in"] == "query"


@pytest.mark.parametrize(
    ("limit", "pages"),
    [
        (2, [["1", "2"], ["3", "4"]]),
        (3, [["1", "2", "3"], ["4"]]),
        (4, [["1", "2", "3", "4"]]),
        (200, [["1", "2", "3", "4"]]),
    ],
)
async def test_following_cursors_shows_every_account_once(
    ada: AsyncClient, ledger: Ledger, limit: int, pages: list[list[str]]
) -> None:
    """A page that is exactly full is the last one when nothing follows it."""
    for code in ("3", "1", "4", "2"):
        await ledger.open(code)

    seen: list[list[str]] = []
    cursor = None
    while not seen or cursor is not None:
        params = {"limit": limit} if cursor is None else {"limit": limit, "cursor": cursor}
        page = (await ada.get("/accounts", params=params)).json()
        seen.append([account["code"] for account in page["items"]])
        cursor = page["next_cursor"]

    assert seen == pages


async def test_a_page_does_not_shift_when_accounts_are_opened_before_it(
    ada: AsyncClient, ledger: Ledger
) -> None:
    """Rows that appear between two requests neither repeat nor hide others."""
    for code in ("10", "20", "30", "40"):
        await ledger.open(code)
    cursor = (await ada.get("/accounts", params={"limit": 2})).json()["next_cursor"]

    await ledger.open("15")
    await ledger.open("35")

    assert await _codes(ada, cursor=cursor) == ["30", "35", "40"]


@pytest.mark.parametrize("cursor", ["", "x", "YWNjb3VudHM6WyJcdTAwMDAiXQ"])
async def test_a_tampered_cursor_is_refused(ada: AsyncClient, cursor: str) -> None:
    """What the listing did not give out is a bad request; the last one holds a NUL character."""
    response = await ada.get("/accounts", params={"cursor": cursor})

    assert response.status_code == 400
    assert response.json()["type"] == "/problems/malformed-request"


async def test_a_cursor_of_another_listing_is_refused(ada: AsyncClient, ledger: Ledger) -> None:
    """A position among accounts means nothing among entries."""
    await ledger.open("1")
    await ledger.open("2")
    cursor = (await ada.get("/accounts", params={"limit": 1})).json()["next_cursor"]

    response = await ada.get("/journal/entries", params={"cursor": cursor})

    assert response.status_code == 400


async def test_a_cursor_opens_no_other_book(ada: AsyncClient, ledger: Ledger, app: FastAPI) -> None:
    """Another user's cursor is only a position; what can be read stays one's own."""
    for code in ("1", "2", "3"):
        await ledger.open(code)
    cursor = (await ada.get("/accounts", params={"limit": 1})).json()["next_cursor"]
    bob = await sign_up(app, "bob")

    assert await _codes(bob, cursor=cursor) == []
