"""The audit trail tells who did what, and when."""

import datetime as dt
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import AsyncClient

from ..ledger import Ledger
from ..people import sign_up

ANY = {"If-Match": "*"}


async def _events(client: AsyncClient, **params: str | int) -> list[dict[str, Any]]:
    response = await client.get("/journal/audit-events", params=params)
    events: list[dict[str, Any]] = response.json()["items"]
    return events


async def test_every_step_of_an_entrys_life_is_recorded(ada: AsyncClient, ledger: Ledger) -> None:
    """From the draft to the reversal, steps are listed in the order they were taken."""
    before = dt.datetime.now(dt.UTC)
    await ledger.draft()
    body = ledger.entry(("cash", "debit", "7.00"), ("sales", "credit", "7.00"))
    await ada.put("/journal/entries/1", json=body, headers=ANY)
    await ada.post("/journal/entries/1/post", headers=ANY)
    await ada.post("/journal/entries/1/void", json={"reason": "Mistake"}, headers=ANY)

    events = await _events(ada)

    assert [(event["entry_id"], event["action"]) for event in events] == [
        (1, "created"),
        (1, "updated"),
        (1, "posted"),
        (2, "posted"),
        (1, "voided"),
    ]
    assert {event["actor_id"] for event in events} == {1}
    times = [dt.datetime.fromisoformat(event["occurred_at"]) for event in events]
    assert times == sorted(times)
    assert times[-1] >= before
    assert events[-1]["details"] == {"reason": "Mistake", "reversed_by_id": 2}


async def test_an_event_holds_what_the_entry_said(ada: AsyncClient, ledger: Ledger) -> None:
    """The details are a snapshot with exact amounts, so that later changes do not rewrite it."""
    await ledger.draft(("dollars", "debit", "100.00", "0.925"), description="Invoice 7")

    (event,) = await _events(ada)

    assert event["details"]["description"] == "Invoice 7"
    assert event["details"]["lines"] == [
        {
            "account_id": 2,
            "side": "debit",
            "amount": "100.00",
            "currency": "USD",
            "rate": "0.925",
            "base_amount": "92.50",
            "memo": None,
        }
    ]


async def test_the_trail_outlives_a_deleted_draft(ada: AsyncClient, ledger: Ledger) -> None:
    """What a draft said can still be read after it is gone."""
    await ledger.draft(description="Oops")
    await ada.delete("/journal/entries/1", headers=ANY)

    events = await _events(ada, entry_id=1)

    assert [event["action"] for event in events] == ["created", "deleted"]
    assert events[-1]["details"]["description"] == "Oops"


@pytest.mark.parametrize("if_match", ["*", '"9"'], ids=["unbalanced", "stale"])
async def test_what_failed_is_not_recorded(ada: AsyncClient, ledger: Ledger, if_match: str) -> None:
    """An event commits together with what it records, or not at all."""
    await ledger.draft(("cash", "debit", "1.00"))

    await ada.post("/journal/entries/1/post", headers={"If-Match": if_match})

    assert [event["action"] for event in await _events(ada)] == ["created"]


async def test_the_trail_of_another_book_is_not_shown(ledger: Ledger, app: FastAPI) -> None:
    """Not even by the id of an entry."""
    await ledger.draft()
    bob = await sign_up(app, "bob")

    assert await _events(bob) == []
    assert await _events(bob, entry_id=1) == []


async def test_the_trail_is_paged(ada: AsyncClient, ledger: Ledger) -> None:
    """A page's cursor leads to the events after it."""
    for _ in range(3):
        await ledger.draft()

    first = (await ada.get("/journal/audit-events", params={"limit": 2})).json()
    rest = await _events(ada, cursor=first["next_cursor"])

    assert [event["entry_id"] for event in first["items"]] == [1, 2]
    assert [event["entry_id"] for event in rest] == [3]
