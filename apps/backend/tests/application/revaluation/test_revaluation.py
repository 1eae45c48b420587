"""Revaluing balances in foreign currencies, against figures worked by hand."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import AsyncClient, Response
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from ..ledger import Ledger
from ..people import sign_up

Json = dict[str, Any]
ANY = {"If-Match": "*"}
ACCOUNTS = {
    "dollars": {"currency": "USD"},
    "yen-loan": {"type": "liability", "currency": "JPY"},
    "bank": {},
    "valuation": {},
    "gains": {"type": "income"},
    "losses": {"type": "expense"},
    "dollar-sales": {"type": "income", "currency": "USD"},
}


@pytest.fixture
async def ledger(ledger: Ledger) -> Ledger:
    """Keep Ada's books, with accounts in three currencies."""
    for code, fields in ACCOUNTS.items():
        await ledger.open(code, **fields)
    return ledger


@pytest.fixture
async def dollars(ada: AsyncClient, ledger: Ledger) -> None:
    """Hold 1500 dollars that have cost 1360 euros; what they are worth is known for three days."""
    await ledger.post(
        ("dollars", "debit", "1000.00", "0.90"), ("bank", "credit", "900.00"), date="2026-02-15"
    )
    await ledger.post(
        ("dollars", "debit", "500.00", "0.92"), ("bank", "credit", "460.00"), date="2026-02-20"
    )
    rates = {"2026-02-28": "0.95", "2026-03-31": "0.88", "2026-04-30": "0.90"}
    body = [
        {"date": date, "base": "USD", "quote": "EUR", "rate": rate} for date, rate in rates.items()
    ]
    await ada.put("/rates", json=body)


@pytest.fixture
def revalue(ada: AsyncClient, ledger: Ledger) -> Callable[..., Awaitable[Response]]:
    """Revalue at the end of a day."""

    async def revalue(date: str, **accounts: str) -> Response:
        used = {"adjustment": "valuation", "gain": "gains", "loss": "losses", **accounts}
        body = {f"{name}_account_id": ledger.ids[code] for name, code in used.items()}
        return await ada.post("/revaluations", json={"date": date, **body})

    return revalue


Revalue = Callable[..., Awaitable[Response]]


async def _lines(ledger: Ledger, entry_id: int) -> list[Any]:
    codes = {id_: code for code, id_ in ledger.ids.items()}
    entry = (await ledger.client.get(f"/journal/entries/{entry_id}")).json()
    return [(codes[line["account_id"]], line["side"], line["amount"]) for line in entry["lines"]]


@pytest.mark.usefixtures("dollars")
async def test_a_gain_is_posted(ada: AsyncClient, ledger: Ledger, revalue: Revalue) -> None:
    """1500 at 0.95 are 1425, booked were 1360: 65 more."""
    response = await revalue("2026-02-28")

    assert response.status_code == 201
    revaluation = response.json()
    (item,) = revaluation["items"]
    assert (item["balance"], item["rate"]) == ("1500.00", "0.95")
    assert (item["carrying"], item["revalued"], item["difference"]) == (
        "1360.00",
        "1425.00",
        "65.00",
    )
    assert await _lines(ledger, revaluation["entry_id"]) == [
        ("valuation", "debit", "65.00"),
        ("gains", "credit", "65.00"),
    ]


@pytest.mark.usefixtures("dollars")
async def test_a_loss_is_posted(ada: AsyncClient, ledger: Ledger, revalue: Revalue) -> None:
    """1500 at 0.88 are 1320: 40 less than booked."""
    revaluation = (await revalue("2026-03-31")).json()

    assert await _lines(ledger, revaluation["entry_id"]) == [
        ("losses", "debit", "40.00"),
        ("valuation", "credit", "40.00"),
    ]


@pytest.mark.usefixtures("dollars")
async def test_a_later_revaluation_posts_what_has_changed_since(revalue: Revalue) -> None:
    """February 1360 to 1425: 65. March 1425 to 1320: -105. April 1320 to 1350: 30."""
    days = ("2026-02-28", "2026-03-31", "2026-04-30")
    items = [(await revalue(day)).json()["items"][0] for day in days]

    assert [(item["carrying"], item["difference"]) for item in items] == [
        ("1360.00", "65.00"),
        ("1425.00", "-105.00"),
        ("1320.00", "30.00"),
    ]


@pytest.mark.usefixtures("dollars")
async def test_a_second_revaluation_of_a_day_posts_nothing(revalue: Revalue) -> None:
    """It is recorded, with the difference of zero that it has found."""
    await revalue("2026-02-28")

    again = (await revalue("2026-02-28")).json()

    assert again["entry_id"] is None
    assert [item["difference"] for item in again["items"]] == ["0.00"]


async def test_what_is_owed_gains_the_other_way(
    ada: AsyncClient, ledger: Ledger, revalue: Revalue
) -> None:
    """A loan of 100000 yen, 600 euros when it was taken, is 650 now: a loss of 50."""
    await ledger.post(
        ("yen-loan", "credit", "100000", "0.0060"), ("bank", "debit", "600.00"), date="2026-02-01"
    )
    rate = {"date": "2026-02-28", "base": "JPY", "quote": "EUR", "rate": "0.0065"}
    await ada.put("/rates", json=[rate])

    revaluation = (await revalue("2026-02-28")).json()

    (item,) = revaluation["items"]
    assert (item["balance"], item["difference"]) == ("-100000", "-50.00")
    assert await _lines(ledger, revaluation["entry_id"]) == [
        ("losses", "debit", "50.00"),
        ("valuation", "credit", "50.00"),
    ]


@pytest.mark.usefixtures("dollars")
async def test_several_currencies_are_revalued_at_once(
    ada: AsyncClient, ledger: Ledger, revalue: Revalue
) -> None:
    """Each account by its own rate, in one entry: 65 gained in dollars, 50 lost in yen."""
    await ledger.post(
        ("yen-loan", "credit", "100000", "0.0060"), ("bank", "debit", "600.00"), date="2026-02-01"
    )
    rate = {"date": "2026-02-28", "base": "JPY", "quote": "EUR", "rate": "0.0065"}
    await ada.put("/rates", json=[rate])

    items = (await revalue("2026-02-28")).json()["items"]

    assert {item["currency"]: item["difference"] for item in items} == {
        "USD": "65.00",
        "JPY": "-50.00",
    }


@pytest.mark.usefixtures("dollars")
async def test_what_was_realised_is_cleared_when_the_balance_is_gone(
    ledger: Ledger, revalue: Revalue
) -> None:
    """1500 dollars sold at 0.94 for 1410: 50 more than they had cost stay on an empty account."""
    await ledger.post(
        ("dollars", "credit", "1500.00", "0.94"), ("bank", "debit", "1410.00"), date="2026-02-27"
    )

    (item,) = (await revalue("2026-02-28")).json()["items"]

    assert (item["balance"], item["carrying"], item["difference"]) == ("0.00", "-50.00", "50.00")


async def test_income_in_foreign_currency_is_not_revalued(
    ada: AsyncClient, ledger: Ledger, revalue: Revalue
) -> None:
    """A sale was worth what it was worth on its day."""
    await ledger.post(
        ("dollar-sales", "credit", "100.00", "0.90"), ("bank", "debit", "90.00"), date="2026-02-15"
    )

    assert (await revalue("2026-02-28")).json()["items"] == []


@pytest.mark.usefixtures("dollars")
async def test_what_comes_later_is_not_in_it(revalue: Revalue) -> None:
    """On 18 February there were 1000 dollars, and no rate yet; with one there are no more."""
    response = await revalue("2026-02-18")

    assert (response.status_code, response.json()["type"]) == (404, "/problems/rate-not-found")


@pytest.mark.usefixtures("dollars")
async def test_a_revaluation_can_be_reversed(
    ada: AsyncClient, ledger: Ledger, revalue: Revalue
) -> None:
    """The reversing entry has the sides swapped, on the day asked for."""
    revaluation = (await revalue("2026-02-28")).json()

    response = await ada.post(
        f"/revaluations/{revaluation['id']}/reverse", json={"date": "2026-03-01"}
    )

    assert response.status_code == 200
    entry = (await ada.get(f"/journal/entries/{revaluation['entry_id']}")).json()
    reversal = (await ada.get(f"/journal/entries/{entry['reversed_by_id']}")).json()
    assert (entry["state"], reversal["date"]) == ("voided", "2026-03-01")
    assert await _lines(ledger, reversal["id"]) == [
        ("valuation", "credit", "65.00"),
        ("gains", "debit", "65.00"),
    ]


@pytest.mark.usefixtures("dollars")
@pytest.mark.parametrize(
    "path", ["/revaluations/1/reverse", "/journal/entries/3/void"], ids=["here", "in the journal"]
)
async def test_after_a_reversal_the_next_one_begins_from_the_books(
    ada: AsyncClient, revalue: Revalue, path: str
) -> None:
    """1360 again and not 1425, whichever way the entry was reversed: -40 and not -105."""
    await revalue("2026-02-28")
    body = {"date": "2026-03-01", "reason": "Next month"}
    assert (await ada.post(path, json=body, headers=ANY)).status_code == 200

    (item,) = (await revalue("2026-03-31")).json()["items"]

    assert (item["carrying"], item["difference"]) == ("1360.00", "-40.00")


@pytest.mark.usefixtures("dollars")
async def test_until_its_reversal_a_revaluation_is_in_force(
    ada: AsyncClient, revalue: Revalue
) -> None:
    """Reversed as of April, the revaluation of February counts on the last day of March."""
    await revalue("2026-02-28")
    await ada.post("/revaluations/1/reverse", json={"date": "2026-04-01"})

    (item,) = (await revalue("2026-03-31")).json()["items"]

    assert item["carrying"] == "1425.00"


@pytest.mark.usefixtures("dollars")
async def test_a_revaluation_is_reversed_once(ada: AsyncClient, revalue: Revalue) -> None:
    """The journal refuses the second time."""
    await revalue("2026-02-28")
    await ada.post("/revaluations/1/reverse", json={})

    response = await ada.post("/revaluations/1/reverse", json={})

    assert (response.status_code, response.json()["type"]) == (409, "/problems/entry-state")


async def test_without_a_difference_there_is_nothing_to_reverse(
    ada: AsyncClient, revalue: Revalue
) -> None:
    """A book without foreign currencies can be revalued, to no effect."""
    assert (await revalue("2026-02-28")).json()["entry_id"] is None

    response = await ada.post("/revaluations/1/reverse", json={})

    assert (response.status_code, response.json()["type"]) == (409, "/problems/nothing-posted")


@pytest.mark.usefixtures("dollars")
async def test_a_day_before_a_revaluation_cannot_be_revalued(
    ada: AsyncClient, revalue: Revalue
) -> None:
    """The later one has counted on the books of then; reversed, it does not matter any more."""
    await revalue("2026-03-31")

    refused = await revalue("2026-02-28")
    await ada.post("/revaluations/1/reverse", json={"date": "2026-03-31"})
    accepted = await revalue("2026-02-28")

    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/revaluation-order")
    assert accepted.status_code == 201


@pytest.mark.usefixtures("dollars")
@pytest.mark.parametrize(
    "accounts",
    [{"adjustment": "gains"}, {"adjustment": "dollars"}, {"gain": "bank"}, {"loss": "valuation"}],
    ids=str,
)
async def test_each_account_must_fit_its_purpose(
    revalue: Revalue, accounts: dict[str, str]
) -> None:
    """Adjustments on an asset or liability, gains and losses on results, all in euros."""
    response = await revalue("2026-02-28", **accounts)

    assert (response.status_code, response.json()["type"]) == (409, "/problems/revaluation-account")


@pytest.mark.usefixtures("dollars")
async def test_an_archived_account_takes_no_difference(
    ada: AsyncClient, ledger: Ledger, revalue: Revalue
) -> None:
    """What is closed stays closed, and nothing of the revaluation is kept."""
    await ada.post(f"/accounts/{ledger.ids['gains']}/archive", headers=ANY)

    response = await revalue("2026-02-28")

    assert response.json()["type"] == "/problems/account-archived"
    assert (await ada.get("/revaluations")).json()["items"] == []


async def test_a_difference_that_no_line_can_hold_is_refused(
    ada: AsyncClient, ledger: Ledger, revalue: Revalue
) -> None:
    """Two balances of almost 10^15 each are still a balance, but no amount of a line."""
    most = "999999999999999.00"
    await ledger.post(
        ("dollars", "debit", most, "0.90"),
        ("bank", "credit", "899999999999999.10"),
        date="2026-02-15",
    )
    await ledger.post(
        ("dollars", "debit", most, "0.90"),
        ("bank", "credit", "899999999999999.10"),
        date="2026-02-15",
    )
    rate = {"date": "2026-02-28", "base": "USD", "quote": "EUR", "rate": "9"}
    await ada.put("/rates", json=[rate])

    response = await revalue("2026-02-28")

    assert response.json()["type"] == "/problems/revaluation-too-large"


@pytest.mark.usefixtures("dollars")
async def test_revaluations_are_listed_by_date(ada: AsyncClient, revalue: Revalue) -> None:
    """Each can be fetched from where it was made."""
    made = [(await revalue(day)) for day in ("2026-02-28", "2026-03-31")]

    first = (await ada.get("/revaluations", params={"limit": 1})).json()
    rest = (await ada.get("/revaluations", params={"cursor": first["next_cursor"]})).json()

    assert first["items"] + rest["items"] == [response.json() for response in made]
    shown = await ada.get(made[0].headers["Location"])
    assert shown.json() == made[0].json()


@pytest.mark.usefixtures("dollars")
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_another_users_revaluation_does_not_exist(
    revalue: Revalue, app: FastAPI, method: str
) -> None:
    """Foreign revaluations are 404 like unknown ones, to read and to reverse."""
    await revalue("2026-02-28")
    bob = await sign_up(app, "bob")
    suffix = "" if method == "GET" else "/reverse"
    body: Json | None = None if method == "GET" else {}

    foreign = await bob.request(method, f"/revaluations/1{suffix}", json=body)
    unknown = await bob.request(method, f"/revaluations/9{suffix}", json=body)

    assert foreign.status_code == unknown.status_code == 404
    assert (await bob.get("/revaluations")).json()["items"] == []


# Two requests that see the same books: only real transactions do.
@pytest.mark.db(isolation="commit")
@pytest.mark.usefixtures("dollars")
async def test_two_revaluations_at_once_post_one_difference(revalue: Revalue) -> None:
    """The second waits for the first, and finds nothing left."""
    responses = await asyncio.gather(*(revalue("2026-02-28") for _ in range(3)))

    differences = [response.json()["items"][0]["difference"] for response in responses]
    assert sorted(differences) == ["0.00", "0.00", "65.00"]


@pytest.mark.usefixtures("dollars")
async def test_the_database_checks_the_sum(revalue: Revalue, db: AsyncSession) -> None:
    """Carrying amount and difference are the new value, whatever writes them."""
    await revalue("2026-02-28")

    with pytest.raises(IntegrityError, match="difference_is_exact"):
        await db.execute(text("UPDATE revaluation_items SET difference = 64"))
