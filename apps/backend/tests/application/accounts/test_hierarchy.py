"""The hierarchy: a forest of accounts of one type each."""

import asyncio
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import AsyncClient, Response
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from backend.accounts.models import Account, AccountType, Activity

from ..ledger import Ledger
from ..people import sign_up


async def _move(client: AsyncClient, account: dict[str, Any], parent_id: int | None) -> Response:
    fields = {key: account[key] for key in ("code", "name", "type", "currency")}
    return await client.put(
        f"/accounts/{account['id']}",
        json={**fields, "parent_id": parent_id},
        headers={"If-Match": "*"},
    )


async def test_an_account_can_be_opened_below_another(ada: AsyncClient, ledger: Ledger) -> None:
    """A child is among its parent's children and not on the top level."""
    parent = await ledger.open("1000")
    child = await ledger.open("1100", parent_id=parent["id"])

    children = (await ada.get("/accounts", params={"parent_id": parent["id"]})).json()["items"]

    assert [account["id"] for account in children] == [child["id"]]


async def test_an_account_can_be_moved_to_the_top_level(ada: AsyncClient, ledger: Ledger) -> None:
    """A null parent takes an account out of the hierarchy."""
    parent = await ledger.open("1000")
    child = await ledger.open("1100", parent_id=parent["id"])

    assert (await _move(ada, child, None)).json()["parent_id"] is None


async def test_a_child_has_the_type_of_its_parent(ada: AsyncClient, ledger: Ledger) -> None:
    """A liability below an asset would make the asset's roll-up meaningless."""
    parent = await ledger.open("1000", type="asset")
    body = {"code": "2000", "name": "Loan", "type": "liability", "currency": "EUR"}

    response = await ada.post("/accounts", json={**body, "parent_id": parent["id"]})

    assert response.status_code == 409
    assert response.json()["type"] == "/problems/account-hierarchy"


async def test_a_parent_keeps_the_type_of_its_children(ada: AsyncClient, ledger: Ledger) -> None:
    """Changing the type of a parent alone is a conflict."""
    parent = await ledger.open("1000")
    await ledger.open("1100", parent_id=parent["id"])

    response = await _move(ada, {**parent, "type": "expense"}, None)

    assert response.status_code == 409
    assert "children" in response.json()["detail"]


async def test_another_users_account_cannot_be_a_parent(
    ada: AsyncClient, ledger: Ledger, app: FastAPI
) -> None:
    """A foreign parent is as unknown as one that does not exist."""
    await ledger.open("1000")
    bob = await sign_up(app, "bob")
    body = {"code": "1100", "name": "Till", "type": "asset", "currency": "EUR"}

    foreign = await bob.post("/accounts", json={**body, "parent_id": 1})
    unknown = await bob.post("/accounts", json={**body, "parent_id": 99})

    assert foreign.status_code == unknown.status_code == 409
    assert foreign.json()["detail"].replace("1", "99") == unknown.json()["detail"]
    assert (await ada.get("/accounts", params={"parent_id": 1})).json()["items"] == []


@pytest.mark.parametrize("depth", [0, 1, 2], ids=["itself", "its child", "its grandchild"])
async def test_an_account_cannot_be_moved_below(
    ada: AsyncClient, ledger: Ledger, depth: int
) -> None:
    """No move may close a cycle, however long."""
    chain = [await ledger.open("1")]
    for code in ("2", "3"):
        chain.append(await ledger.open(code, parent_id=chain[-1]["id"]))

    response = await _move(ada, chain[0], chain[depth]["id"])

    assert response.status_code == 409
    assert "descendant" in response.json()["detail"]


async def test_moves_at_once_cannot_close_a_cycle(ada: AsyncClient, ledger: Ledger) -> None:
    """Each of the moves is fine alone; together they would be a cycle, so one of them fails."""
    ring = [await ledger.open(code) for code in ("1", "2", "3", "4")]

    responses = await asyncio.gather(
        *(
            _move(ada, account, parent["id"])
            for account, parent in zip(ring, ring[1:] + ring[:1], strict=True)
        )
    )

    assert sorted(response.status_code for response in responses) == [200, 200, 200, 409]


@pytest.mark.parametrize("type_", [AccountType.ASSET, AccountType.EXPENSE])
async def test_the_database_itself_refuses_a_parent_that_does_not_match(
    ledger: Ledger, app: FastAPI, db: AsyncSession, type_: AccountType
) -> None:
    """The composite foreign key holds for programs that bypass the service."""
    parent = await ledger.open("1000", type="asset")
    await sign_up(app, "bob")
    owner_id = 2 if type_ is AccountType.ASSET else 1
    db.add(
        Account(
            owner_id=owner_id,
            code="1100",
            name="Till",
            type=type_,
            currency="EUR",
            activity=Activity.OPERATING,
            parent_id=parent["id"],
        )
    )

    with pytest.raises(IntegrityError, match="fk_accounts_parent_id_owner_id_type"):
        await db.flush()
