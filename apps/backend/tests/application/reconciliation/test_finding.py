"""Finding matches: candidates, proposals, and what is still open."""

import asyncio
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import AsyncClient

from ..bank import Bank
from ..people import sign_up

Match = dict[str, Any]
ANY = {"If-Match": "*"}
MARCH = {"date_from": "2026-03-01", "date_to": "2026-03-31"}


async def _propose(client: AsyncClient, bank: Bank, **changes: object) -> list[tuple[Any, Any]]:
    response = await client.post(f"{bank.url}/proposals", json={**MARCH, **changes})
    assert response.status_code == 200, response.text
    return [(match["line_ids"], match["entry_ids"]) for match in response.json()]


async def test_candidates_are_ranked_by_their_scores(ada: AsyncClient, bank: Bank) -> None:
    """The same amount and words come first, then other words, then another amount."""
    (line,) = await bank.statement(("2026-03-10", "100.00", "ACME INVOICE 7"))
    other_words = await bank.book("2026-03-10", "100.00", "zzz")
    same = await bank.book("2026-03-10", "100.00", "Acme, invoice 7")
    near = await bank.book("2026-03-10", "98.50", "zzz")

    found = (await ada.get(f"{bank.url}/lines/{line}/candidates")).json()

    assert [(one["entry_ids"], one["score"]) for one in found] == [
        ([same], 100),
        ([other_words], 75),
        ([near], 60),
    ]
    assert found[2]["difference"] == "1.50"


async def test_several_entries_can_be_a_candidate(ada: AsyncClient, bank: Bank) -> None:
    """Those that add up to the line exactly."""
    (line,) = await bank.statement(("2026-03-10", "100.00", "Acme"))
    entries = [
        await bank.book("2026-03-09", amount, "Acme") for amount in ("60.00", "40.00", "7.00")
    ]

    (found,) = (await ada.get(f"{bank.url}/lines/{line}/candidates")).json()

    assert found["entry_ids"] == entries[:2]


async def test_a_voided_entry_and_its_reversal_are_no_candidates(
    ada: AsyncClient, bank: Bank
) -> None:
    """Together they have moved nothing."""
    lines = await bank.statement(
        ("2026-03-10", "100.00", "Acme"), ("2026-03-10", "-100.00", "Back to Acme")
    )
    entry = await bank.book("2026-03-10", "100.00", "Acme")
    body = {"reason": "Mistake", "date": "2026-03-10"}
    await ada.post(f"/journal/entries/{entry}/void", json=body, headers=ANY)

    found = [(await ada.get(f"{bank.url}/lines/{line}/candidates")).json() for line in lines]

    assert found == [[], []]


async def test_a_line_on_the_last_day_of_all_has_candidates(ada: AsyncClient, bank: Bank) -> None:
    """A fortnight after the end of the calendar there is none, and no failure either."""
    (line,) = await bank.statement(("9999-12-31", "100.00", "Acme"))
    entry = await bank.book("9999-12-31", "100.00", "Acme")

    (found,) = (await ada.get(f"{bank.url}/lines/{line}/candidates")).json()

    assert found["entry_ids"] == [entry]


async def test_equal_amounts_are_proposed(ada: AsyncClient, bank: Bank) -> None:
    """Each line with the entry that is likeliest, by date and words."""
    lines = await bank.statement(
        ("2026-03-10", "100.00", "Acme invoice 7"), ("2026-03-20", "100.00", "Bolt invoice 8")
    )
    bolt = await bank.book("2026-03-19", "100.00", "Bolt")
    acme = await bank.book("2026-03-11", "100.00", "Acme")

    assert sorted(await _propose(ada, bank)) == [([lines[0]], [acme]), ([lines[1]], [bolt])]


async def test_a_line_of_several_entries_is_proposed(ada: AsyncClient, bank: Bank) -> None:
    """Two invoices paid at once."""
    lines = await bank.statement(("2026-03-10", "100.00", "Acme"))
    entries = [await bank.book("2026-03-10", amount, "Acme") for amount in ("60.00", "40.00")]

    assert await _propose(ada, bank) == [(lines, entries)]


async def test_an_entry_of_several_lines_is_proposed(ada: AsyncClient, bank: Bank) -> None:
    """An invoice paid in two parts."""
    lines = await bank.statement(("2026-03-10", "60.00", "Acme"), ("2026-03-11", "40.00", "Acme"))
    entry = await bank.book("2026-03-10", "100.00", "Acme")

    assert await _propose(ada, bank) == [(lines, [entry])]


async def test_an_entry_of_the_month_before_can_be_proposed(ada: AsyncClient, bank: Bank) -> None:
    """The days are those of the lines; entries may be a fortnight away."""
    lines = await bank.statement(("2026-03-02", "100.00", "Acme"))
    entry = await bank.book("2026-02-25", "100.00", "Acme")

    assert await _propose(ada, bank) == [(lines, [entry])]


async def test_nothing_is_proposed_twice(ada: AsyncClient, bank: Bank) -> None:
    """While a proposal waits for review, its line and its entry are spoken for."""
    await bank.statement(("2026-03-10", "100.00", "Acme"))
    await bank.book("2026-03-10", "100.00", "Acme")
    await _propose(ada, bank)

    assert await _propose(ada, bank) == []


async def test_what_was_rejected_is_not_proposed_again(ada: AsyncClient, bank: Bank) -> None:
    """The next likeliest is, which had lost against it before."""
    lines = await bank.statement(("2026-03-10", "100.00", "Acme"))
    likely, other = [await bank.book("2026-03-10", "100.00", text) for text in ("Acme", "Bolt")]
    assert await _propose(ada, bank) == [(lines, [likely])]
    await ada.post("/matches/1/reject", headers=ANY)

    assert await _propose(ada, bank) == [(lines, [other])]


async def test_unlikely_matches_are_not_proposed(ada: AsyncClient, bank: Bank) -> None:
    """The caller says how likely is likely enough."""
    lines = await bank.statement(("2026-03-10", "100.00", "Acme"))
    entry = await bank.book("2026-03-20", "100.00", "zzz")

    assert await _propose(ada, bank, min_score=80) == []
    assert await _propose(ada, bank, min_score=50) == [(lines, [entry])]


async def test_an_amount_that_differs_is_not_proposed(ada: AsyncClient, bank: Bank) -> None:
    """It could not be confirmed."""
    await bank.statement(("2026-03-10", "100.00", "Acme"))
    await bank.book("2026-03-10", "99.99", "Acme")

    assert await _propose(ada, bank, min_score=0) == []


@pytest.mark.parametrize(
    "change", [{"date_from": "2026-04-01"}, {"date_to": "2030-01-01"}, {"min_score": 101}], ids=str
)
async def test_an_impossible_request_for_proposals_is_refused(
    ada: AsyncClient, bank: Bank, change: dict[str, Any]
) -> None:
    """Days in order, a year at most, a score that can be reached."""
    response = await ada.post(f"{bank.url}/proposals", json={**MARCH, **change})

    assert response.status_code == 422


# Two requests that look at the same lines at the same time: only real transactions do.
@pytest.mark.db(isolation="commit")
async def test_proposals_asked_for_twice_at_once_are_made_once(
    ada: AsyncClient, bank: Bank
) -> None:
    """The second request waits for the first, and finds its proposals."""
    lines = await bank.statement(("2026-03-10", "100.00", "Acme"))
    entry = await bank.book("2026-03-10", "100.00", "Acme")

    found = await asyncio.gather(*(_propose(ada, bank) for _ in range(3)))

    assert sorted(found) == [[], [], [(lines, [entry])]]


async def test_the_summary_says_what_is_open_on_both_sides(ada: AsyncClient, bank: Bank) -> None:
    """Statement 100 - 9 = 91, journal 100 + 20 = 120; confirmed 100, so open are -9 and 20."""
    lines = await bank.statement(("2026-03-10", "100.00", "Acme"), ("2026-03-31", "-9.00", "Fee"))
    entry = await bank.book("2026-03-10", "100.00", "Acme")
    await bank.book("2026-03-30", "20.00", "Not yet at the bank")
    await _propose(ada, bank)
    await ada.post("/matches/1/confirm", headers=ANY)

    summary = (await ada.get(f"{bank.url}/reconciliation", params={"as_of": "2026-03-31"})).json()

    assert (lines[0], entry) == (1, 1)
    assert summary["statement"] == {
        "count": 2,
        "total": "91.00",
        "open_count": 1,
        "open_total": "-9.00",
    }
    assert summary["journal"] == {
        "count": 2,
        "total": "120.00",
        "open_count": 1,
        "open_total": "20.00",
    }


async def test_the_summary_ends_with_the_day(ada: AsyncClient, bank: Bank) -> None:
    """What comes later is not in it."""
    await bank.statement(("2026-03-10", "100.00", "Acme"))
    await bank.book("2026-03-11", "100.00", "Acme")

    summary = (await ada.get(f"{bank.url}/reconciliation", params={"as_of": "2026-03-10"})).json()

    assert (summary["statement"]["count"], summary["journal"]["count"]) == (1, 0)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/lines/1/candidates"),
        ("POST", "/proposals"),
        ("POST", "/matches"),
        ("GET", "/matches"),
        ("GET", "/reconciliation"),
    ],
)
async def test_another_users_bank_account_has_nothing_to_reconcile(
    bank: Bank, app: FastAPI, method: str, path: str
) -> None:
    """As everywhere, what belongs to somebody else does not exist."""
    bob = await sign_up(app, "bob")
    bodies = {"/proposals": MARCH, "/matches": {"line_ids": [1], "entry_ids": [1]}}
    body = bodies.get(path) if method == "POST" else None

    response = await bob.request(method, f"{bank.url}{path}", json=body)

    assert response.json()["type"] == "/problems/bank-account-not-found"
