"""Bank accounts: which accounts of the chart have one, and how their files are read."""

from typing import Any

import pytest
from fastapi import FastAPI
from httpx import AsyncClient

from ..bank import Bank
from ..people import sign_up

ANY = {"If-Match": "*"}
FORMAT = {"columns": {"date": "Date", "amount": "Amount", "description": ["Payee"]}}


async def _account(client: AsyncClient, type_: str, currency: str = "EUR") -> int:
    body = {"code": type_, "name": type_, "type": type_, "currency": currency}
    account_id: int = (await client.post("/accounts", json=body)).json()["id"]
    return account_id


@pytest.mark.parametrize("type_", ["asset", "liability"])
async def test_an_account_for_money_can_have_a_bank_account(ada: AsyncClient, type_: str) -> None:
    """A giro account is an asset, a credit card a liability; the currency is the account's."""
    account_id = await _account(ada, type_, "USD")

    created = await ada.post("/bank-accounts", json={"account_id": account_id, "name": "Bank"})

    assert created.status_code == 201
    assert created.json()["currency"] == "USD"
    fetched = await ada.get(created.headers["Location"])
    assert fetched.json() == created.json()
    assert fetched.headers["ETag"] == '"1"'


@pytest.mark.parametrize("type_", ["equity", "income", "expense"])
async def test_other_accounts_can_have_none(ada: AsyncClient, type_: str) -> None:
    """No bank sends statements of one's sales."""
    account_id = await _account(ada, type_)

    response = await ada.post("/bank-accounts", json={"account_id": account_id, "name": "Bank"})

    assert (response.status_code, response.json()["type"]) == (409, "/problems/no-bank-account")


async def test_an_account_has_one_bank_account(ada: AsyncClient, bank: Bank) -> None:
    """Two statements of one account of the chart could not be told apart in the books."""
    body = {"account_id": bank.shown["account_id"], "name": "Another"}

    response = await ada.post("/bank-accounts", json=body)

    assert response.json()["type"] == "/problems/bank-account-taken"


async def test_an_archived_account_gets_no_bank_account(ada: AsyncClient) -> None:
    """What is closed has no new movements."""
    account_id = await _account(ada, "asset")
    await ada.post(f"/accounts/{account_id}/archive", headers=ANY)

    response = await ada.post("/bank-accounts", json={"account_id": account_id, "name": "Bank"})

    assert response.json()["type"] == "/problems/account-archived"


async def test_the_currency_of_a_bank_accounts_account_is_fixed(
    ada: AsyncClient, bank: Bank
) -> None:
    """The amounts on its statements are in that currency."""
    body = {"code": "1100", "name": "Bank", "type": "asset", "currency": "USD"}

    response = await ada.put(f"/accounts/{bank.shown['account_id']}", json=body, headers=ANY)

    assert (response.status_code, response.json()["type"]) == (409, "/problems/account-in-use")


async def test_a_bank_account_can_be_given_another_format(ada: AsyncClient, bank: Bank) -> None:
    """A bank that changes its files is no new bank account."""
    body = {"account_id": bank.shown["account_id"], "name": "Giro", "csv_format": FORMAT}
    url = f"{bank.url}"

    response = await ada.put(url, json=body, headers={"If-Match": '"1"'})

    assert response.headers["ETag"] == '"2"'
    stored = (await ada.get(url)).json()["csv_format"]
    assert stored["columns"]["description"] == ["Payee"]


async def test_a_bank_account_stays_with_its_account(ada: AsyncClient, bank: Bank) -> None:
    """Its lines are about that account of the chart."""
    body = {"account_id": await _account(ada, "liability"), "name": "Giro"}

    response = await ada.put(f"{bank.url}", json=body, headers=ANY)

    assert response.status_code == 409


async def test_a_stale_change_of_a_bank_account_is_refused(ada: AsyncClient, bank: Bank) -> None:
    """As for any other resource, the ETag must be the one last read."""
    body = {"account_id": bank.shown["account_id"], "name": "Giro"}

    response = await ada.put(f"{bank.url}", json=body, headers={"If-Match": '"7"'})

    assert response.status_code == 412


async def test_bank_accounts_are_listed_page_by_page(ada: AsyncClient) -> None:
    """Each page leads to the next one."""
    for type_ in ("asset", "liability"):
        body = {"account_id": await _account(ada, type_), "name": type_}
        await ada.post("/bank-accounts", json=body)

    first = (await ada.get("/bank-accounts", params={"limit": 1})).json()
    query = {"limit": 1, "cursor": first["next_cursor"]}
    second = (await ada.get("/bank-accounts", params=query)).json()

    assert [item["name"] for item in first["items"] + second["items"]] == ["asset", "liability"]
    assert second["next_cursor"] is None


@pytest.mark.parametrize(
    "change",
    [
        {"columns": {"date": "Date", "description": ["Payee"]}},
        {"columns": {"date": "D", "amount": {"money_in": "In"}, "description": ["Payee"]}},
        {"columns": {"date": "Date", "amount": "Amount", "description": []}},
        {"delimiter": "ab"},
        {"encoding": "utf-16"},
        {"date_format": "%x"},
        {"preamble_lines": -1},
    ],
    ids=str,
)
async def test_a_format_that_cannot_be_read_is_refused(
    ada: AsyncClient, bank: Bank, change: dict[str, Any]
) -> None:
    """A mistake shows when the format is declared and not at the next import."""
    csv_format = {**FORMAT, **change}
    body = {"account_id": bank.shown["account_id"], "name": "Giro", "csv_format": csv_format}

    response = await ada.put(f"{bank.url}", json=body, headers=ANY)

    assert response.status_code == 422


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("PUT", ""),
        ("POST", "/imports"),
        ("GET", "/imports"),
        ("DELETE", "/imports/1"),
        ("GET", "/lines"),
    ],
)
async def test_another_users_bank_account_does_not_exist(
    bank: Bank, app: FastAPI, method: str, path: str
) -> None:
    """Whatever is asked of it, the answer is that of an unknown one."""
    bob = await sign_up(app, "bob")
    body = {"account_id": 1, "name": "Mine"} if method == "PUT" else None

    response = await bob.request(method, f"{bank.url}{path}", json=body, headers=ANY)

    assert (response.status_code, response.json()["type"]) == (
        404,
        "/problems/bank-account-not-found",
    )
