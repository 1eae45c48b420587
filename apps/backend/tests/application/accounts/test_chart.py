"""Opening and changing accounts."""

from typing import Any

import pytest
from fastapi import FastAPI
from httpx import AsyncClient

from ..ledger import Ledger
from ..people import sign_up

CASH = {"code": "1000", "name": "Cash", "type": "asset", "currency": "EUR"}


async def test_a_new_account_can_be_fetched_from_its_location(ada: AsyncClient) -> None:
    """Creation answers with the account, where it is and which version it has."""
    created = await ada.post("/accounts", json=CASH)

    assert created.status_code == 201
    assert created.headers["ETag"] == '"1"'
    fetched = await ada.get(created.headers["Location"])
    assert fetched.json() == created.json()
    assert fetched.headers["ETag"] == '"1"'


async def test_a_code_is_unique_in_a_book(ada: AsyncClient) -> None:
    """A second account with the same code is a conflict."""
    await ada.post("/accounts", json=CASH)

    response = await ada.post("/accounts", json={**CASH, "name": "Till"})

    assert response.status_code == 409
    assert response.json()["type"] == "/problems/account-code-taken"


async def test_two_books_can_use_the_same_code(ada: AsyncClient, app: FastAPI) -> None:
    """Uniqueness of codes is a matter of one book."""
    bob = await sign_up(app, "bob")
    await ada.post("/accounts", json=CASH)

    assert (await bob.post("/accounts", json=CASH)).status_code == 201


@pytest.mark.parametrize(
    "change",
    [
        {"code": ""},
        {"code": "10 00"},
        {"code": "1000."},
        {"code": "1" * 33},
        {"code": "1000\n"},
        {"name": " "},
        {"type": "assets"},
        {"currency": "eur"},
        {"parent_id": 0},
        {"parent_id": 2**63},
        {"parent_id": "x"},
        {"balance": "10.00"},
    ],
    ids=str,
)
async def test_an_invalid_account_is_refused(ada: AsyncClient, change: dict[str, Any]) -> None:
    """Each rule of a field is checked before anything reaches the database."""
    response = await ada.post("/accounts", json={**CASH, **change})

    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == f"/{next(iter(change))}"


async def test_a_change_replaces_the_fields_and_makes_a_new_version(ada: AsyncClient) -> None:
    """The answer to a change carries the ETag for the next one."""
    await ada.post("/accounts", json=CASH)

    response = await ada.put(
        "/accounts/1",
        json={**CASH, "code": "1001", "name": "Till", "type": "expense", "currency": "USD"},
        headers={"If-Match": '"1"'},
    )

    assert response.headers["ETag"] == '"2"'
    account = (await ada.get("/accounts/1")).json()
    assert (account["code"], account["type"], account["currency"]) == ("1001", "expense", "USD")


async def test_a_code_cannot_be_changed_to_one_in_use(ada: AsyncClient, ledger: Ledger) -> None:
    """Renaming keeps codes unique too."""
    await ledger.open("1000")
    await ledger.open("2000")

    response = await ada.put(
        "/accounts/2", json={**CASH, "code": "1000"}, headers={"If-Match": "*"}
    )

    assert response.json()["type"] == "/problems/account-code-taken"


@pytest.mark.parametrize(
    ("if_match", "status"), [(None, 428), ('"7"', 412), ('W/"1"', 412), ("1", 400)]
)
async def test_a_change_must_name_the_version_it_was_made_from(
    ada: AsyncClient, ledger: Ledger, if_match: str | None, status: int
) -> None:
    """Without the current ETag nothing changes, and the status tells why."""
    await ledger.open("1000")
    headers = {} if if_match is None else {"If-Match": if_match}

    response = await ada.put("/accounts/1", json={**CASH, "name": "Till"}, headers=headers)

    assert response.status_code == status
    assert (await ada.get("/accounts/1")).json()["name"] == "Account 1000"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/accounts/1"),
        ("PUT", "/accounts/1"),
        ("POST", "/accounts/1/archive"),
        ("POST", "/accounts/1/restore"),
    ],
)
async def test_another_users_account_does_not_exist(
    ledger: Ledger, app: FastAPI, method: str, path: str
) -> None:
    """Foreign ids are 404 like unknown ones, so that nobody can find out which ids are in use."""
    await ledger.open("1000")
    bob = await sign_up(app, "bob")
    body = CASH if method == "PUT" else None

    foreign = await bob.request(method, path, json=body, headers={"If-Match": "*"})
    unknown = await bob.request(
        method, path.replace("1", "9"), json=body, headers={"If-Match": "*"}
    )

    assert foreign.status_code == unknown.status_code == 404
    assert foreign.json()["type"] == unknown.json()["type"] == "/problems/account-not-found"


@pytest.mark.parametrize("account_id", ["0", "-1", "x", str(2**63)])
async def test_an_impossible_id_is_refused(ada: AsyncClient, account_id: str) -> None:
    """An id that no bigint column can hold never reaches the database."""
    assert (await ada.get(f"/accounts/{account_id}")).status_code == 422


async def test_cash_is_an_asset_or_a_liability(ada: AsyncClient) -> None:
    """An overdraft may be cash, sales may not."""
    body = {"code": "x", "name": "x", "currency": "EUR", "activity": "cash"}

    refused = await ada.post("/accounts", json={**body, "type": "income"})
    overdraft = await ada.post("/accounts", json={**body, "type": "liability"})

    assert (refused.status_code, overdraft.status_code) == (422, 201)


@pytest.mark.parametrize(
    ("type_", "activity"),
    [("asset", "operating"), ("equity", "financing"), ("expense", "operating")],
)
async def test_an_account_has_the_usual_activity_unless_given(
    ada: AsyncClient, type_: str, activity: str
) -> None:
    """What owners put in is financing, the rest is operating until somebody says otherwise."""
    body = {"code": "x", "name": "x", "currency": "EUR", "type": type_}

    assert (await ada.post("/accounts", json=body)).json()["activity"] == activity
