"""The trial balance, against figures worked by hand."""

from typing import Any

import pytest
from fastapi import FastAPI
from httpx import AsyncClient

from ..ledger import Ledger, Line
from ..people import sign_up

ANY = {"If-Match": "*"}
ZERO = "0.00"

# code: (name, type, currency, parent's code)
CHART = {
    "1000": ("Assets", "asset", "EUR", None),
    "1100": ("Bank", "asset", "EUR", "1000"),
    "1110": ("Dollar account", "asset", "USD", "1100"),
    "1200": ("Receivables", "asset", "EUR", "1000"),
    "2000": ("Loan", "liability", "EUR", None),
    "3000": ("Capital", "equity", "EUR", None),
    "4000": ("Sales", "income", "EUR", None),
    "5000": ("Rent", "expense", "EUR", None),
}


async def _open_chart(ledger: Ledger) -> None:
    for code, (name, type_, currency, parent) in CHART.items():
        parent_id = None if parent is None else ledger.ids[parent]
        await ledger.open(code, name=name, type=type_, currency=currency, parent_id=parent_id)


async def _report(client: AsyncClient, **params: str | list[str]) -> dict[str, Any]:
    response = await client.get("/reports/trial-balance", params=params)
    assert response.status_code == 200, response.text
    report: dict[str, Any] = response.json()
    return report


def _own(report: dict[str, Any], column: int = 0) -> dict[str, tuple[str, str]]:
    return {
        row["code"]: (own["debit"], own["credit"])
        for row in report["rows"]
        for own in [row["own"][column]]
    }


@pytest.fixture
async def ledger(ledger: Ledger) -> Ledger:
    """Keep Ada's books, with the chart in them."""
    await _open_chart(ledger)
    return ledger


@pytest.fixture
async def first_quarter(ledger: Ledger) -> None:
    """Post a quarter: capital, a loan, a sale on credit, its payment in dollars, rent twice."""
    entries: dict[str, tuple[Line, Line]] = {
        "2026-01-01": (("1100", "debit", "1000.00"), ("3000", "credit", "1000.00")),
        "2026-01-15": (("1100", "debit", "500.00"), ("2000", "credit", "500.00")),
        "2026-01-31": (("5000", "debit", "300.00"), ("1100", "credit", "300.00")),
        "2026-02-10": (("1200", "debit", "185.00"), ("4000", "credit", "185.00")),
        "2026-02-28": (("5000", "debit", "300.00"), ("1100", "credit", "300.00")),
        "2026-03-20": (("1110", "debit", "200.00", "0.925"), ("1200", "credit", "185.00")),
    }
    for date, lines in entries.items():
        await ledger.post(*lines, date=date)


async def test_an_empty_book_balances_at_zero(ada: AsyncClient) -> None:
    """Without accounts there are no rows, and both totals are zero in the base currency."""
    report = await _report(ada, as_of="2026-03-31")

    assert report == {
        "as_of": ["2026-03-31"],
        "currency": "EUR",
        "rows": [],
        "totals": [{"debit": ZERO, "credit": ZERO}],
        "translation_difference": [ZERO],
    }


@pytest.mark.usefixtures("first_quarter")
async def test_each_account_shows_its_net_balance_on_one_side(ada: AsyncClient) -> None:
    """Bank: 1000 + 500 - 300 - 300 = 900; dollars: 200 at 0.925 = 185; rent: 600."""
    report = await _report(ada, as_of="2026-03-31")

    assert _own(report) == {
        "1000": (ZERO, ZERO),
        "1100": ("900.00", ZERO),
        "1110": ("185.00", ZERO),
        "2000": (ZERO, "500.00"),
        "3000": (ZERO, "1000.00"),
        "4000": (ZERO, "185.00"),
        "5000": ("600.00", ZERO),
    }
    assert report["totals"] == [{"debit": "1685.00", "credit": "1685.00"}]


@pytest.mark.usefixtures("first_quarter")
async def test_a_parent_rolls_up_its_descendants(ada: AsyncClient) -> None:
    """On 28 February: bank 900, receivables 185, so assets 1085; the parent has none of its own."""
    report = await _report(ada, as_of="2026-02-28")

    assets = {
        row["code"]: (row["depth"], row["rolled_up"][0]["debit"])
        for row in report["rows"]
        if row["type"] == "asset"
    }
    assert assets == {"1000": (0, "1085.00"), "1100": (1, "900.00"), "1200": (1, "185.00")}


@pytest.mark.usefixtures("first_quarter")
@pytest.mark.parametrize(
    ("as_of", "total"),
    [
        ("2025-12-31", ZERO),
        ("2026-01-01", "1000.00"),
        ("2026-01-31", "1500.00"),
        ("2026-02-27", "1685.00"),
    ],
)
async def test_the_balance_is_that_of_the_end_of_the_day(
    ada: AsyncClient, as_of: str, total: str
) -> None:
    """Entries of the day itself count, later ones do not."""
    report = await _report(ada, as_of=as_of)

    assert report["totals"] == [{"debit": total, "credit": total}]


async def test_a_roll_up_nets_debits_and_credits(ada: AsyncClient, ledger: Ledger) -> None:
    """An overdrawn bank of 70 below receivables of 50 makes assets of 20 in credit."""
    await ledger.post(("5000", "debit", "70.00"), ("1100", "credit", "70.00"), date="2026-01-01")
    await ledger.post(("1200", "debit", "50.00"), ("4000", "credit", "50.00"), date="2026-01-02")

    report = await _report(ada, as_of="2026-01-31")

    assert report["rows"][0]["rolled_up"] == [{"debit": ZERO, "credit": "20.00"}]
    assert report["totals"] == [{"debit": "120.00", "credit": "120.00"}]


async def test_a_draft_is_not_in_the_books(ada: AsyncClient, ledger: Ledger) -> None:
    """Only what is posted counts."""
    await ledger.draft(("1100", "debit", "10.00"), date="2026-01-01")

    assert (await _report(ada, as_of="2026-01-31"))["rows"] == []


async def test_a_voided_entry_counts_until_the_day_of_its_reversal(
    ada: AsyncClient, ledger: Ledger
) -> None:
    """Reports of the time before do not change when an entry is voided later."""
    entry = await ledger.post(
        ("1100", "debit", "10.00"), ("4000", "credit", "10.00"), date="2026-01-10"
    )
    await ada.post(
        f"/journal/entries/{entry['id']}/void",
        json={"reason": "Mistake", "date": "2026-02-01"},
        headers=ANY,
    )

    assert (await _report(ada, as_of="2026-01-31"))["totals"][0]["debit"] == "10.00"
    assert (await _report(ada, as_of="2026-02-01"))["rows"] == []


async def test_archived_accounts_stay_in_the_report(ada: AsyncClient, ledger: Ledger) -> None:
    """Leaving them out would break the totals."""
    await ledger.post(("5000", "debit", "9.00"), ("2000", "credit", "9.00"), date="2026-01-10")
    await ada.post(f"/accounts/{ledger.ids['2000']}/archive", headers=ANY)

    assert (await _report(ada, as_of="2026-01-31"))["totals"] == [
        {"debit": "9.00", "credit": "9.00"}
    ]


@pytest.mark.usefixtures("ledger")
async def test_accounts_without_a_balance_are_shown_on_request(ada: AsyncClient) -> None:
    """All accounts are listed then, children below their parents."""
    report = await _report(ada, include_zero="true")

    assert [(row["code"], row["depth"]) for row in report["rows"]] == [
        ("1000", 0),
        ("1100", 1),
        ("1110", 2),
        ("1200", 1),
        ("2000", 0),
        ("3000", 0),
        ("4000", 0),
        ("5000", 0),
    ]


async def test_rounding_happens_per_line_and_not_in_the_report(
    ada: AsyncClient, ledger: Ledger
) -> None:
    """Three times 0.10 dollars at 0.85 are three times 0.08, as posted, not 0.26."""
    for _ in range(3):
        await ledger.post(
            ("1110", "debit", "0.10", "0.85"), ("4000", "credit", "0.08"), date="2026-01-01"
        )

    assert (await _report(ada, as_of="2026-01-31"))["totals"][0]["debit"] == "0.24"


@pytest.mark.parametrize(("currency", "zero"), [("JPY", "0"), ("KWD", "0.000")])
async def test_the_report_has_the_scale_of_the_base_currency(
    app: FastAPI, currency: str, zero: str
) -> None:
    """Amounts are written with as many decimals as the currency has."""
    client = await sign_up(app, "kenji", currency)

    report = await _report(client)

    assert (report["currency"], report["totals"][0]["debit"]) == (currency, zero)


@pytest.mark.usefixtures("first_quarter")
async def test_a_report_is_about_ones_own_book(ada: AsyncClient, app: FastAPI) -> None:
    """What others post does not show."""
    bob = await sign_up(app, "bob")
    await _open_chart(Ledger(bob))

    assert (await _report(bob, as_of="2026-03-31"))["rows"] == []
    assert (await _report(ada, as_of="2026-03-31"))["rows"] != []


@pytest.mark.usefixtures("first_quarter")
async def test_the_report_can_be_in_another_currency(ada: AsyncClient) -> None:
    """At 0.80 euros for a dollar: bank 900 is 1125, dollars 185 are 231.25, rent 600 is 750.

    Each account is rounded by itself; here nothing is left over.
    """
    rate = {"date": "2026-03-31", "base": "USD", "quote": "EUR", "rate": "0.80"}
    await ada.put("/rates", json=[rate])

    report = await _report(ada, as_of="2026-03-31", currency="USD")

    assert _own(report)["1100"] == ("1125.00", ZERO)
    assert _own(report)["1110"] == ("231.25", ZERO)
    assert report["totals"] == [{"debit": "2106.25", "credit": "2106.25"}]
    assert report["rows"][0]["rolled_up"] == [{"debit": "1356.25", "credit": ZERO}]
    assert report["translation_difference"] == [ZERO]


@pytest.mark.usefixtures("first_quarter")
async def test_days_are_compared_side_by_side(ada: AsyncClient) -> None:
    """The quarter's last day and January's, in the order asked for.

    In January the bank had 1000 + 500 - 300 = 1200, and nobody owed anything. In March the sale of
    185 is paid, so receivables are nothing on both days and have no row of their own.
    """
    report = await _report(ada, as_of=["2026-03-31", "2026-01-31"])

    assert report["as_of"] == ["2026-03-31", "2026-01-31"]
    march, january = _own(report), _own(report, 1)
    assert (march["1100"], january["1100"]) == (("900.00", ZERO), ("1200.00", ZERO))
    assert (march["1110"], january["1110"]) == (("185.00", ZERO), (ZERO, ZERO))
    assert "1200" not in march
    assert report["rows"][0]["rolled_up"] == [
        {"debit": "1085.00", "credit": ZERO},
        {"debit": "1200.00", "credit": ZERO},
    ]
    assert report["totals"] == [
        {"debit": "1685.00", "credit": "1685.00"},
        {"debit": "1500.00", "credit": "1500.00"},
    ]


@pytest.mark.usefixtures("first_quarter")
async def test_each_column_has_the_rate_of_its_day(ada: AsyncClient) -> None:
    """Totals of 1500 at 0.50 are 3000 dollars in January, 1685 at 0.80 are 2106.25 in March."""
    rates = [
        {"date": date, "base": "USD", "quote": "EUR", "rate": rate}
        for date, rate in (("2026-01-31", "0.50"), ("2026-03-31", "0.80"))
    ]
    await ada.put("/rates", json=rates)

    report = await _report(ada, as_of=["2026-01-31", "2026-03-31"], currency="USD")

    assert [total["debit"] for total in report["totals"]] == ["3000.00", "2106.25"]
