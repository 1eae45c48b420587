"""Posting and voiding: what is in the books stays there."""

import datetime as dt

import pytest
from httpx import AsyncClient

from ..ledger import Ledger

ANY = {"If-Match": "*"}


async def test_a_balanced_draft_can_be_posted(ada: AsyncClient, ledger: Ledger) -> None:
    """Posting is a new version of the entry."""
    await ledger.draft()

    response = await ada.post("/journal/entries/1/post", headers={"If-Match": '"1"'})

    assert response.json()["state"] == "posted"
    assert response.headers["ETag"] == '"2"'


async def test_an_entry_balances_in_the_base_currency(ledger: Ledger) -> None:
    """Lines in three currencies balance by their base amounts: 92.50 + 61.00 = 153.50."""
    entry = await ledger.post(
        ("dollars", "debit", "100.00", "0.925"),
        ("yen", "debit", "10000", "0.0061"),
        ("sales", "credit", "153.50"),
    )

    assert [line["base_amount"] for line in entry["lines"]] == ["92.50", "61.00", "153.50"]


async def test_an_unbalanced_draft_cannot_be_posted(ada: AsyncClient, ledger: Ledger) -> None:
    """The problem tells both totals, and the entry stays a draft."""
    await ledger.draft(("cash", "debit", "10.00"), ("sales", "credit", "9.99"))

    response = await ada.post("/journal/entries/1/post", headers=ANY)

    assert response.status_code == 409
    assert (response.json()["debits"], response.json()["credits"]) == ("10.00", "9.99")
    assert (await ada.get("/journal/entries/1")).json()["state"] == "draft"


async def test_a_draft_on_an_account_archived_since_cannot_be_posted(
    ada: AsyncClient, ledger: Ledger
) -> None:
    """An account that was closed in between takes no new lines."""
    await ledger.draft()
    await ada.post(f"/accounts/{ledger.ids['sales']}/archive", headers=ANY)

    response = await ada.post("/journal/entries/1/post", headers=ANY)

    assert response.json()["type"] == "/problems/account-archived"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/journal/entries/1"),
        ("DELETE", "/journal/entries/1"),
        ("POST", "/journal/entries/1/post"),
    ],
)
async def test_a_posted_entry_is_no_draft_any_more(
    ada: AsyncClient, ledger: Ledger, method: str, path: str
) -> None:
    """Once in the books, an entry is neither changed, removed nor posted again."""
    entry = await ledger.post()
    body = ledger.entry() if method == "PUT" else None

    response = await ada.request(method, path, json=body, headers=ANY)

    assert response.status_code == 409
    assert response.json()["state"] == "posted"
    assert (await ada.get("/journal/entries/1")).json() == entry


async def test_voiding_posts_a_reversing_entry(ada: AsyncClient, ledger: Ledger) -> None:
    """The reversal has the same lines with sides swapped, and the two refer to each other."""
    original = await ledger.post(
        ("dollars", "debit", "100.00", "0.925"), ("sales", "credit", "92.50")
    )

    voided = await ada.post(
        "/journal/entries/1/void",
        json={"reason": "Wrong customer", "date": "2026-03-05"},
        headers=ANY,
    )

    assert (voided.json()["state"], voided.json()["reversed_by_id"]) == ("voided", 2)
    reversal = (await ada.get("/journal/entries/2")).json()
    assert (reversal["state"], reversal["reverses_id"]) == ("posted", 1)
    assert (reversal["date"], reversal["description"]) == (
        "2026-03-05",
        "Reversal of entry 1: Wrong customer",
    )
    swapped = {"debit": "credit", "credit": "debit"}
    assert reversal["lines"] == [
        {**line, "side": swapped[line["side"]]} for line in original["lines"]
    ]


async def test_a_reversal_is_dated_today_unless_given(ada: AsyncClient, ledger: Ledger) -> None:
    """Periods that are over stay as they were reported."""
    await ledger.post(date="2026-03-01")
    earliest = dt.datetime.now(dt.UTC).date()

    await ada.post("/journal/entries/1/void", json={"reason": "Mistake"}, headers=ANY)

    reversal = (await ada.get("/journal/entries/2")).json()
    latest = dt.datetime.now(dt.UTC).date()
    assert earliest <= dt.date.fromisoformat(reversal["date"]) <= latest


async def test_a_reversal_of_an_entry_to_come_has_its_date(
    ada: AsyncClient, ledger: Ledger
) -> None:
    """Nothing is taken out of the books before it goes in."""
    await ledger.post(date="9999-12-31")

    await ada.post("/journal/entries/1/void", json={"reason": "Mistake"}, headers=ANY)

    assert (await ada.get("/journal/entries/2")).json()["date"] == "9999-12-31"


async def test_a_reversal_cannot_be_dated_before_its_entry(
    ada: AsyncClient, ledger: Ledger
) -> None:
    """A client that asks for the impossible date is told so."""
    await ledger.post(date="2026-03-01")

    response = await ada.post(
        "/journal/entries/1/void",
        json={"reason": "Mistake", "date": "2026-02-28"},
        headers=ANY,
    )

    assert response.status_code == 422
    assert response.json()["type"] == "/problems/void-date"


async def test_a_draft_cannot_be_voided(ada: AsyncClient, ledger: Ledger) -> None:
    """What is not in the books needs no reversal."""
    await ledger.draft()

    response = await ada.post("/journal/entries/1/void", json={"reason": "x"}, headers=ANY)

    assert (response.status_code, response.json()["state"]) == (409, "draft")


@pytest.mark.parametrize("entry_id", [1, 2], ids=["the original", "its reversal"])
async def test_a_voided_pair_is_final(ada: AsyncClient, ledger: Ledger, entry_id: int) -> None:
    """Neither side of a reversal can be voided; what was right is posted anew."""
    await ledger.post()
    await ada.post("/journal/entries/1/void", json={"reason": "Mistake"}, headers=ANY)

    response = await ada.post(
        f"/journal/entries/{entry_id}/void", json={"reason": "Regret"}, headers=ANY
    )

    assert response.status_code == 409
    assert response.json()["type"] == "/problems/entry-state"


async def test_an_entry_on_an_archived_account_can_be_voided(
    ada: AsyncClient, ledger: Ledger
) -> None:
    """A mistake can be put right even on an account that is closed."""
    await ledger.post()
    await ada.post(f"/accounts/{ledger.ids['sales']}/archive", headers=ANY)

    response = await ada.post("/journal/entries/1/void", json={"reason": "Mistake"}, headers=ANY)

    assert response.json()["state"] == "voided"


@pytest.mark.parametrize("change", [{"type": "expense"}, {"currency": "USD"}], ids=str)
async def test_an_account_with_lines_keeps_its_type_and_currency(
    ada: AsyncClient, ledger: Ledger, change: dict[str, str]
) -> None:
    """Lines, of drafts too, were written for what the account is."""
    await ledger.draft()
    account = (await ada.get(f"/accounts/{ledger.ids['cash']}")).json()
    body = {key: account[key] for key in ("code", "name", "type", "currency")}

    response = await ada.put(f"/accounts/{ledger.ids['cash']}", json=body | change, headers=ANY)

    assert response.status_code == 409
    assert response.json()["type"] == "/problems/account-in-use"


async def test_an_account_with_lines_can_be_renamed(ada: AsyncClient, ledger: Ledger) -> None:
    """Code and name mean nothing to a line."""
    await ledger.draft()
    body = {"code": "1000", "name": "Till", "type": "asset", "currency": "EUR"}

    response = await ada.put(f"/accounts/{ledger.ids['cash']}", json=body, headers=ANY)

    assert response.json()["name"] == "Till"
