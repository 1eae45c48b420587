"""What is no query of a report is refused: no parameter and no column is left out in silence."""

from typing import Any

import pytest
from httpx import AsyncClient

JANUARY = "2026-01-01/2026-01-31"


@pytest.mark.parametrize("report", ["trial-balance", "balance-sheet"])
@pytest.mark.parametrize(
    "params",
    [
        {"as_of": "2026-13-01"},
        {"as_of": ["2026-01-01"] * 13},
        {"currency": "EUX"},
        {"date": "2026-01-01"},
        {"period": JANUARY},
    ],
    ids=str,
)
async def test_what_is_no_day_is_refused(
    ada: AsyncClient, report: str, params: dict[str, Any]
) -> None:
    """A misspelt parameter must not yield the report of another day."""
    assert (await ada.get(f"/reports/{report}", params=params)).status_code == 422


@pytest.mark.parametrize("report", ["income-statement", "cash-flow"])
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"period": "2026-01-01"},
        {"period": "2026-01-31/2026-01-01"},
        {"period": "January"},
        {"period": [JANUARY] * 13},
        {"period": JANUARY, "currency": "EUX"},
        {"period": JANUARY, "as_of": "2026-01-01"},
    ],
    ids=str,
)
async def test_what_is_no_period_is_refused(
    ada: AsyncClient, report: str, params: dict[str, Any]
) -> None:
    """A period is two days in order, with a slash between; there is one at least."""
    assert (await ada.get(f"/reports/{report}", params=params)).status_code == 422
