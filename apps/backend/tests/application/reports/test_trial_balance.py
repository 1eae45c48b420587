"""The trial balance, against figures worked by hand."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest
from httpx import AsyncClient

SignUp = Callable[..., Awaitable[AsyncClient]]
ANY = {"If-Match": "*"}
ZERO = "0.00"
Line = tuple[str, str, str] | tuple[str, str, str, str]

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


async def _open_chart(client: AsyncClient) -> Mapping[str, int]:
    ids: dict[str, int] = {}
    for code, (name, type_, currency, parent) in CHART.items():
        body = {"code": code, "name": name, "type": type_, "currency": currency}
        parent_id = None if parent is None else ids[parent]
        response = await client.post("/accounts", json={**body, "parent_id": parent_id})
        ids[code] = response.json()["id"]
    return ids


async def _post(client: AsyncClient, chart: Mapping[str, int], date: str, *lines: Line) -> int:
    keys = ("side", "amount", "rate")
    body = {
        "date": date,
        "description": "Entry",
        "lines": [
            {"account_id": chart[code], **dict(zip(keys, rest, strict=False))}
            for code, *rest in lines
        ],
    }
    entry_id: int = (await client.post("/journal/entries", json=body)).json()["id"]
    response = await client.post(f"/journal/entries/{entry_id}/post", headers=ANY)
    assert response.status_code == 200, response.text
    return entry_id


async def _report(client: AsyncClient, **params: str | int) -> dict[str, Any]:
    response = await client.get("/reports/trial-balance", params=params)
    assert response.status_code == 200, response.text
    report: dict[str, Any] = response.json()
    return report


def _own(report: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {row["code"]: (row["own"]["debit"], row["own"]["credit"]) for row in report["rows"]}


@pytest.fixture
async def chart(ada: AsyncClient) -> Mapping[str, int]:
    """Open the chart in Ada's book."""
    return await _open_chart(ada)


@pytest.fixture
async def first_quarter(ada: AsyncClient, chart: Mapping[str, int]) -> None:
    """Post a quarter: capital, a loan, a sale on credit, its payment in dollars, rent twice."""
    lines: dict[str, list[Line]] = {
        "2026-01-01": [("1100", "debit", "1000.00"), ("3000", "credit", "1000.00")],
        "2026-01-15": [("1100", "debit", "500.00"), ("2000", "credit", "500.00")],
        "2026-01-31": [("5000", "debit", "300.00"), ("1100", "credit", "300.00")],
        "2026-02-10": [("1200", "debit", "185.00"), ("4000", "credit", "185.00")],
        "2026-02-28": [("5000", "debit", "300.00"), ("1100", "credit", "300.00")],
        "2026-03-20": [("1110", "debit", "200.00", "0.925"), ("1200", "credit", "185.00")],
    }
    for date, entry in lines.items():
        await _post(ada, chart, date, *entry)


async def test_an_empty_book_balances_at_zero(ada: AsyncClient) -> None:
    """Without accounts there are no rows, and both totals are zero in the base currency."""
    report = await _report(ada, as_of="2026-03-31")

    assert report == {
        "as_of": "2026-03-31",
        "currency": "EUR",
        "rows": [],
        "totals": {"debit": ZERO, "credit": ZERO},
        "translation_difference": ZERO,
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
    assert report["totals"] == {"debit": "1685.00", "credit": "1685.00"}


@pytest.mark.usefixtures("first_quarter")
async def test_a_parent_rolls_up_its_descendants(ada: AsyncClient) -> None:
    """On 28 February: bank 900, receivables 185, so assets 1085; the parent has none of its own."""
    report = await _report(ada, as_of="2026-02-28")

    assets = {
        row["code"]: (row["depth"], row["rolled_up"]["debit"])
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

    assert report["totals"] == {"debit": total, "credit": total}


async def test_a_roll_up_nets_debits_and_credits(
    ada: AsyncClient, chart: Mapping[str, int]
) -> None:
    """An overdrawn bank of 70 below receivables of 50 makes assets of 20 in credit."""
    await _post(ada, chart, "2026-01-01", ("5000", "debit", "70.00"), ("1100", "credit", "70.00"))
    await _post(ada, chart, "2026-01-02", ("1200", "debit", "50.00"), ("4000", "credit", "50.00"))

    report = await _report(ada, as_of="2026-01-31")

    assert report["rows"][0]["rolled_up"] == {"debit": ZERO, "credit": "20.00"}
    assert report["totals"] == {"debit": "120.00", "credit": "120.00"}


async def test_a_draft_is_not_in_the_books(ada: AsyncClient, chart: Mapping[str, int]) -> None:
    """Only what is posted counts."""
    line = {"account_id": chart["1100"], "side": "debit", "amount": "10.00"}
    await ada.post(
        "/journal/entries", json={"date": "2026-01-01", "description": "x", "lines": [line]}
    )

    assert (await _report(ada, as_of="2026-01-31"))["rows"] == []


async def test_a_voided_entry_counts_until_the_day_of_its_reversal(
    ada: AsyncClient, chart: Mapping[str, int]
) -> None:
    """Reports of the time before do not change when an entry is voided later."""
    entry_id = await _post(
        ada, chart, "2026-01-10", ("1100", "debit", "10.00"), ("4000", "credit", "10.00")
    )
    await ada.post(
        f"/journal/entries/{entry_id}/void",
        json={"reason": "Mistake", "date": "2026-02-01"},
        headers=ANY,
    )

    assert (await _report(ada, as_of="2026-01-31"))["totals"]["debit"] == "10.00"
    assert (await _report(ada, as_of="2026-02-01"))["rows"] == []


async def test_archived_accounts_stay_in_the_report(
    ada: AsyncClient, chart: Mapping[str, int]
) -> None:
    """Leaving them out would break the totals."""
    await _post(ada, chart, "2026-01-10", ("5000", "debit", "9.00"), ("2000", "credit", "9.00"))
    await ada.post(f"/accounts/{chart['2000']}/archive", headers=ANY)

    assert (await _report(ada, as_of="2026-01-31"))["totals"] == {"debit": "9.00", "credit": "9.00"}


@pytest.mark.usefixtures("chart")
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
    ada: AsyncClient, chart: Mapping[str, int]
) -> None:
    """Three times 0.10 dollars at 0.85 are three times 0.08, as posted, not 0.26."""
    for _ in range(3):
        await _post(
            ada,
            chart,
            "2026-01-01",
            ("1110", "debit", "0.10", "0.85"),
            ("4000", "credit", "0.08"),
        )

    assert (await _report(ada, as_of="2026-01-31"))["totals"]["debit"] == "0.24"


@pytest.mark.parametrize(("currency", "zero"), [("JPY", "0"), ("KWD", "0.000")])
async def test_the_report_has_the_scale_of_the_base_currency(
    sign_up: SignUp, currency: str, zero: str
) -> None:
    """Amounts are written with as many decimals as the currency has."""
    client = await sign_up("kenji", currency)

    report = await _report(client)

    assert (report["currency"], report["totals"]["debit"]) == (currency, zero)


@pytest.mark.usefixtures("first_quarter")
async def test_a_report_is_about_ones_own_book(ada: AsyncClient, sign_up: SignUp) -> None:
    """What others post does not show."""
    bob = await sign_up("bob")
    await _open_chart(bob)

    assert (await _report(bob, as_of="2026-03-31"))["rows"] == []
    assert (await _report(ada, as_of="2026-03-31"))["rows"] != []


@pytest.mark.parametrize("params", [{"as_of": "2026-13-01"}, {"date": "2026-01-01"}], ids=str)
async def test_an_invalid_query_is_refused(ada: AsyncClient, params: dict[str, str]) -> None:
    """A misspelt parameter must not yield the report of another day."""
    assert (await ada.get("/reports/trial-balance", params=params)).status_code == 422


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
    assert report["totals"] == {"debit": "2106.25", "credit": "2106.25"}
    assert report["rows"][0]["rolled_up"] == {"debit": "1356.25", "credit": ZERO}
    assert report["translation_difference"] == ZERO
