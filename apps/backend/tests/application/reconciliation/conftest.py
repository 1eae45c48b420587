"""A bank account to reconcile."""

import pytest

from ..bank import Bank
from ..ledger import Ledger


@pytest.fixture
async def bank(ledger: Ledger) -> Bank:
    """Open a bank account in Ada's books, and what it is booked against."""
    await ledger.open("bank")
    await ledger.open("cash")
    await ledger.open("sales", type="income")
    return await Bank.open(ledger, "bank")
