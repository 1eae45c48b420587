"""The income statement, against figures worked by hand."""

from typing import Any

import pytest
from httpx import AsyncClient

pytestmark = pytest.mark.usefixtures("quarter")
JANUARY, FEBRUARY = "2026-01-01/2026-01-31", "2026-02-01/2026-02-28"
QUARTER = "2026-01-01/2026-03-31"


async def _statement(client: AsyncClient, *periods: str, **params: str) -> dict[str, Any]:
    query = {"period": list(periods), **params}
    response = await client.get("/reports/income-statement", params=query)
    assert response.status_code == 200, response.text
    statement: dict[str, Any] = response.json()
    return statement


def _own(section: dict[str, Any]) -> dict[str, list[str]]:
    return {row["code"]: row["own"] for row in section["rows"]}


async def test_a_period_has_what_was_earned_and_spent_in_it(ada: AsyncClient) -> None:
    """January: sales of 2000 on credit, rent of 800. Money that moved is not the question."""
    statement = await _statement(ada, JANUARY)

    assert _own(statement["income"]) == {"sales": ["2000.00"]}
    assert _own(statement["expenses"]) == {"rent": ["800.00"]}
    assert statement["net_income"] == ["1200.00"]


async def test_periods_are_compared_side_by_side(ada: AsyncClient) -> None:
    """February: 500 dollars at 0.92 are 460, less 800. The quarter is the sum of its months."""
    statement = await _statement(ada, JANUARY, FEBRUARY, "2026-03-01/2026-03-31", QUARTER)

    assert _own(statement["income"])["sales"] == ["2000.00", "460.00", "0.00", "2460.00"]
    assert statement["net_income"] == ["1200.00", "-340.00", "0.00", "860.00"]
    assert statement["periods"][1] == {"first": "2026-02-01", "last": "2026-02-28"}


@pytest.mark.parametrize(
    ("period", "income"),
    [
        ("2026-01-20/2026-01-20", "2000.00"),
        ("2026-01-21/2026-02-19", "0.00"),
        ("2026-01-20/2026-02-20", "2460.00"),
    ],
)
async def test_both_days_of_a_period_belong_to_it(
    ada: AsyncClient, period: str, income: str
) -> None:
    """Sales were on 20 January and on 20 February."""
    assert (await _statement(ada, period))["income"]["total"] == [income]


async def test_the_statement_can_be_in_another_currency(ada: AsyncClient) -> None:
    """At the rate of the period's last day: 2000 / 0.80 = 2500, 800 / 0.80 = 1000."""
    rates = [
        {"date": date, "base": "USD", "quote": "EUR", "rate": rate}
        for date, rate in (("2026-01-01", "0.90"), ("2026-01-31", "0.80"))
    ]
    await ada.put("/rates", json=rates)

    statement = await _statement(ada, JANUARY, currency="USD")

    assert (statement["income"]["total"], statement["net_income"]) == (["2500.00"], ["1500.00"])


async def test_a_reversal_is_a_loss_of_the_period_it_is_dated_in(ada: AsyncClient) -> None:
    """January stays as it was reported when its sale is voided in March."""
    (sale,) = (
        await ada.get(
            "/journal/entries", params={"date_from": "2026-01-20", "date_to": "2026-01-20"}
        )
    ).json()["items"]
    body = {"reason": "Returned", "date": "2026-03-10"}
    url = f"/journal/entries/{sale['id']}/void"
    await ada.post(url, json=body, headers={"If-Match": "*"})

    statement = await _statement(ada, JANUARY, "2026-03-01/2026-03-31")

    assert statement["income"]["total"] == ["2000.00", "-2000.00"]
