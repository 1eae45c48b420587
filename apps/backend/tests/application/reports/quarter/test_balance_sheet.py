"""The balance sheet, against figures worked by hand."""

from typing import Any

import pytest
from httpx import AsyncClient

from ...ledger import Ledger

pytestmark = pytest.mark.usefixtures("quarter")


async def _sheet(client: AsyncClient, *as_of: str, **params: str) -> dict[str, Any]:
    response = await client.get("/reports/balance-sheet", params={"as_of": list(as_of), **params})
    assert response.status_code == 200, response.text
    sheet: dict[str, Any] = response.json()
    return sheet


def _own(section: dict[str, Any]) -> dict[str, list[str]]:
    return {row["code"]: row["own"] for row in section["rows"]}


async def test_the_sheet_shows_what_is_owned_and_owed(ada: AsyncClient) -> None:
    """On 28 February.

    Bank: 10000 + 5000 - 3000 - 800 + 1500 - 900 - 800 = 11000. Dollars: 900 + 460 = 1360.
    Receivables: 2000 - 1500 = 500. Earnings: sales 2000 + 460, less rent 2 x 800, are 860.
    """
    sheet = await _sheet(ada, "2026-02-28")

    assert _own(sheet["assets"]) == {
        "bank": ["11000.00"],
        "dollars": ["1360.00"],
        "receivables": ["500.00"],
        "equipment": ["3000.00"],
    }
    assert _own(sheet["liabilities"]) == {"loan": ["5000.00"]}
    assert _own(sheet["equity"]) == {"capital": ["10000.00"]}
    assert sheet["earnings"] == ["860.00"]
    assert sheet["assets"]["total"] == sheet["liabilities_and_equity"] == ["15860.00"]
    assert sheet["translation_difference"] == ["0.00"]


async def test_days_are_compared_side_by_side(ada: AsyncClient) -> None:
    """The three ends of months, in the order asked for.

    January: bank 11200, receivables 2000, equipment 3000. March: the loan's 1000 less.
    """
    sheet = await _sheet(ada, "2026-03-31", "2026-02-28", "2026-01-31")

    assert sheet["as_of"] == ["2026-03-31", "2026-02-28", "2026-01-31"]
    assert _own(sheet["assets"])["bank"] == ["10000.00", "11000.00", "11200.00"]
    assert _own(sheet["assets"])["dollars"] == ["1360.00", "1360.00", "0.00"]
    assert sheet["liabilities"]["total"] == ["4000.00", "5000.00", "5000.00"]
    assert sheet["earnings"] == ["860.00", "860.00", "1200.00"]
    assert sheet["assets"]["total"] == ["14860.00", "15860.00", "16200.00"]


async def test_before_the_first_entry_there_is_nothing(ada: AsyncClient) -> None:
    """Empty sections have totals all the same."""
    sheet = await _sheet(ada, "2025-12-31")

    assert sheet["assets"] == {"rows": [], "total": ["0.00"]}
    assert sheet["liabilities_and_equity"] == ["0.00"]


async def test_today_is_meant_unless_days_are_given(ada: AsyncClient) -> None:
    """One column, of everything that has happened."""
    assert (await _sheet(ada))["assets"]["total"] == ["14860.00"]


async def test_a_parent_rolls_up_its_children(ada: AsyncClient, company: Ledger) -> None:
    """The tools below the equipment: 3000 of its own and 200 below it."""
    await company.open("equipment.tools", parent_id=company.ids["equipment"])
    lines = ("equipment.tools", "debit", "200.00"), ("bank", "credit", "200.00")
    await company.post(*lines, date="2026-01-15")

    rows = (await _sheet(ada, "2026-01-31"))["assets"]["rows"]

    shown = {row["code"]: (row["depth"], row["own"], row["rolled_up"]) for row in rows}
    assert shown["equipment"] == (0, ["3000.00"], ["3200.00"])
    assert shown["equipment.tools"] == (1, ["200.00"], ["200.00"])


async def test_the_sheet_can_be_in_another_currency(ada: AsyncClient) -> None:
    """At 0.95 euros for a dollar each account is divided by 0.95 and rounded.

    11000 / 0.95 = 11578.95, 1360: 1431.58, 500: 526.32, 3000: 3157.89, together 16694.74.
    5000: 5263.16, 10000: 10526.32, 2460 - 1600: 2589.47 - 1684.21 = 905.26, together the same.
    """
    rate = {"date": "2026-02-28", "base": "USD", "quote": "EUR", "rate": "0.95"}
    await ada.put("/rates", json=[rate])

    sheet = await _sheet(ada, "2026-02-28", currency="USD")

    assert sheet["currency"] == "USD"
    assert _own(sheet["assets"])["bank"] == ["11578.95"]
    assert sheet["assets"]["total"] == ["16694.74"]
    assert sheet["liabilities"]["total"] == ["5263.16"]
    assert sheet["earnings"] == ["905.26"]
    assert sheet["translation_difference"] == ["0.00"]


async def test_each_column_has_the_rate_of_its_day(ada: AsyncClient) -> None:
    """16200 at 0.80 are 20250 dollars in January, 15860 at 0.50 are 31720 in February."""
    rates = [
        {"date": date, "base": "USD", "quote": "EUR", "rate": rate}
        for date, rate in (("2026-01-31", "0.80"), ("2026-02-28", "0.50"))
    ]
    await ada.put("/rates", json=rates)

    sheet = await _sheet(ada, "2026-01-31", "2026-02-28", currency="USD")

    assert sheet["assets"]["total"] == ["20250.00", "31720.00"]


async def test_rounding_of_a_translation_is_shown(ada: AsyncClient) -> None:
    """Whole yen, were one worth 7 euros, on 31 March.

    10000 / 7 = 1429, 1360: 194, 500: 71, 3000: 429, together 2123.
    4000: 571, 10000: 1429, 2460 - 1600: 351 - 229 = 122, together 2122: one yen is rounding.
    """
    rate = {"date": "2026-01-01", "base": "JPY", "quote": "EUR", "rate": "7"}
    await ada.put("/rates", json=[rate])

    sheet = await _sheet(ada, "2026-03-31", currency="JPY")

    assert sheet["assets"]["total"] == sheet["liabilities_and_equity"] == ["2123"]
    assert sheet["earnings"] == ["122"]
    assert sheet["translation_difference"] == ["1"]


async def test_a_currency_without_rates_is_refused(ada: AsyncClient) -> None:
    """The problem says which rate is missing."""
    response = await ada.get("/reports/balance-sheet", params={"currency": "CHF"})

    assert response.status_code == 404
    assert (response.json()["base"], response.json()["quote"]) == ("EUR", "CHF")
