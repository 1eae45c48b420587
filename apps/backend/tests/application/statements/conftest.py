"""A bank account to import into."""

import pytest

from ..bank import Bank
from ..ledger import Ledger


@pytest.fixture
async def bank(ledger: Ledger) -> Bank:
    """Open a bank account in Ada's books."""
    await ledger.open("1100")
    return await Bank.open(ledger, "1100")
