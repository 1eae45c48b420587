"""A small chart of accounts."""

import pytest

from ..ledger import Ledger

CHART = {
    "cash": {},
    "dollars": {"currency": "USD"},
    "yen": {"currency": "JPY"},
    "sales": {"type": "income"},
    "rent": {"type": "expense"},
}


@pytest.fixture
async def ledger(ledger: Ledger) -> Ledger:
    """Keep Ada's books, with these accounts in them."""
    for code, fields in CHART.items():
        await ledger.open(code, **fields)
    return ledger
