"""The cash flow statement, against figures worked by hand."""

from typing import Any

import pytest
from fastapi import FastAPI
from httpx import AsyncClient

from ...ledger import Ledger
from ...people import sign_up

pytestmark = pytest.mark.usefixtures("quarter")
JANUARY, FEBRUARY, MARCH = (
    "2026-01-01/2026-01-31",
    "2026-02-01/2026-02-28",
    "2026-03-01/2026-03-31",
)


async def _flows(client: AsyncClient, *periods: str, **params: str) -> dict[str, Any]:
    query = {"period": list(periods), **params}
    response = await client.get("/reports/cash-flow", params=query)
    assert response.status_code == 200, response.text
    flows: dict[str, Any] = response.json()
    return flows


def _rows(report: dict[str, Any]) -> dict[str, dict[str, list[str]]]:
    return {
        flows["activity"]: {row["code"]: row["amounts"] for row in flows["rows"]}
        for flows in report["activities"]
    }


async def test_each_flow_is_of_the_activity_of_its_account(ada: AsyncClient) -> None:
    """January: rent was paid, equipment bought, capital and a loan came in; sales were on credit.

    -800 - 3000 + 10000 + 5000 = 11200.
    """
    report = await _flows(ada, JANUARY)

    assert _rows(report) == {
        "operating": {"rent": ["-800.00"]},
        "investing": {"equipment": ["-3000.00"]},
        "financing": {"capital": ["10000.00"], "loan": ["5000.00"]},
        "exchange": {},
    }
    assert (report["opening"], report["change"], report["closing"]) == (
        ["0.00"],
        ["11200.00"],
        ["11200.00"],
    )


async def test_a_transfer_between_cash_accounts_is_no_flow(ada: AsyncClient) -> None:
    """February: dollars bought from the bank do not show; 1500 + 460 - 800 = 1160 do."""
    report = await _flows(ada, FEBRUARY)

    assert _rows(report)["operating"] == {
        "receivables": ["1500.00"],
        "sales": ["460.00"],
        "rent": ["-800.00"],
    }
    assert report["change"] == ["1160.00"]


async def test_a_period_opens_where_the_one_before_has_closed(ada: AsyncClient) -> None:
    """11200 + 1160 = 12360, and less 1000 of the loan 11360."""
    report = await _flows(ada, JANUARY, FEBRUARY, MARCH)

    assert report["opening"] == ["0.00", "11200.00", "12360.00"]
    assert report["closing"] == ["11200.00", "12360.00", "11360.00"]
    assert report["translation_difference"] == ["0.00"] * 3


async def test_an_entry_may_have_several_reasons(ada: AsyncClient, company: Ledger) -> None:
    """A payment of 1100 of which 100 is rent and 1000 the loan is split by its lines."""
    await company.post(
        ("loan", "debit", "1000.00"),
        ("rent", "debit", "100.00"),
        ("bank", "credit", "1100.00"),
        date="2026-04-01",
    )

    rows = _rows(await _flows(ada, "2026-04-01/2026-04-30"))

    assert rows["operating"] == {"rent": ["-100.00"]}
    assert rows["financing"] == {"loan": ["-1000.00"]}


async def test_revalued_cash_is_an_effect_of_exchange_rates(
    ada: AsyncClient, company: Ledger
) -> None:
    """1500 dollars at 0.95 are 1425, 65 more than booked: no activity has earned them."""
    rate = {"date": "2026-02-28", "base": "USD", "quote": "EUR", "rate": "0.95"}
    await ada.put("/rates", json=[rate])
    body = {
        "date": "2026-02-28",
        "adjustment_account_id": company.ids["valuation"],
        "gain_account_id": company.ids["fx-gains"],
        "loss_account_id": company.ids["fx-losses"],
    }
    await ada.post("/revaluations", json=body)

    report = await _flows(ada, FEBRUARY)

    assert _rows(report)["exchange"] == {"fx-gains": ["65.00"]}
    assert (report["change"], report["closing"]) == (["1225.00"], ["12425.00"])


async def test_the_statement_can_be_in_another_currency(ada: AsyncClient) -> None:
    """Each column at the rate of its last day, opening too: 11200, 1160 and 12360 at 0.80."""
    rates = [
        {"date": date, "base": "USD", "quote": "EUR", "rate": rate}
        for date, rate in (("2026-01-31", "0.90"), ("2026-02-28", "0.80"))
    ]
    await ada.put("/rates", json=rates)

    report = await _flows(ada, FEBRUARY, currency="USD")

    assert (report["opening"], report["change"], report["closing"]) == (
        ["14000.00"],
        ["1450.00"],
        ["15450.00"],
    )


async def test_books_begin_with_the_first_day_of_the_calendar(ada: AsyncClient) -> None:
    """There is no day before it to open with."""
    report = await _flows(ada, "0001-01-01/9999-12-31")

    assert (report["opening"], report["closing"]) == (["0.00"], ["11360.00"])


async def test_without_cash_accounts_there_are_no_flows(ada: AsyncClient, app: FastAPI) -> None:
    """Bob has books of his own, in which nothing is cash yet."""
    report = await _flows(await sign_up(app, "bob"), JANUARY)

    assert (report["change"], report["closing"]) == (["0.00"], ["0.00"])
