"""Archiving: accounts are closed, never deleted."""

from typing import Any

from httpx import AsyncClient, Response

from ..ledger import Ledger


async def _archive(client: AsyncClient, account: dict[str, Any]) -> Response:
    return await client.post(f"/accounts/{account['id']}/archive", headers={"If-Match": "*"})


async def _restore(client: AsyncClient, account: dict[str, Any]) -> Response:
    return await client.post(f"/accounts/{account['id']}/restore", headers={"If-Match": "*"})


async def test_an_account_is_not_deleted(ada: AsyncClient, ledger: Ledger) -> None:
    """There is no DELETE: the history of an account must stay readable."""
    await ledger.open("1000")

    assert (await ada.delete("/accounts/1")).status_code == 405


async def test_an_archived_account_can_be_restored(ada: AsyncClient, ledger: Ledger) -> None:
    """Archiving is undone without a trace but the version."""
    account = await ledger.open("1000")

    assert (await _archive(ada, account)).json()["archived_at"] is not None
    restored = (await _restore(ada, account)).json()

    assert restored == {**account, "version": 3}


async def test_archiving_again_changes_nothing(ada: AsyncClient, ledger: Ledger) -> None:
    """A repeated request, after a lost answer perhaps, keeps the time and the version."""
    account = await ledger.open("1000")

    first, second = await _archive(ada, account), await _archive(ada, account)

    assert second.json() == first.json()


async def test_a_parent_is_archived_after_its_children(ada: AsyncClient, ledger: Ledger) -> None:
    """An open child below an archived parent would be lost from view."""
    parent = await ledger.open("1000")
    child = await ledger.open("1100", parent_id=parent["id"])

    assert (await _archive(ada, parent)).status_code == 409
    await _archive(ada, child)
    assert (await _archive(ada, parent)).status_code == 200


async def test_a_child_is_restored_after_its_parent(ada: AsyncClient, ledger: Ledger) -> None:
    """Restoring keeps the same order as archiving, the other way round."""
    parent = await ledger.open("1000")
    child = await ledger.open("1100", parent_id=parent["id"])
    await _archive(ada, child)
    await _archive(ada, parent)

    assert (await _restore(ada, child)).status_code == 409
    await _restore(ada, parent)
    assert (await _restore(ada, child)).status_code == 200


async def test_an_archived_account_takes_no_children(ada: AsyncClient, ledger: Ledger) -> None:
    """A new account must have an open parent."""
    parent = await ledger.open("1000")
    await _archive(ada, parent)
    body = {"code": "1100", "name": "Till", "type": "asset", "currency": "EUR"}

    response = await ada.post("/accounts", json={**body, "parent_id": parent["id"]})

    assert response.status_code == 409
    assert "archived" in response.json()["detail"]


async def test_an_archived_account_can_be_renamed(ada: AsyncClient, ledger: Ledger) -> None:
    """Archiving closes an account to lines, not to corrections of its name."""
    parent = await ledger.open("1000")
    child = await ledger.open("1100", parent_id=parent["id"])
    await _archive(ada, child)
    await _archive(ada, parent)
    body = {key: child[key] for key in ("code", "type", "currency", "parent_id")}

    response = await ada.put(
        f"/accounts/{child['id']}", json={**body, "name": "Old till"}, headers={"If-Match": "*"}
    )

    assert response.json()["name"] == "Old till"
