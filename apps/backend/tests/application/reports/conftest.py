"""A company, and its first quarter."""

import pytest
from httpx import AsyncClient

from backend.users.service import Book

from ..ledger import Ledger
from ..people import book_of
from .quarter import ENTRIES, open_company


@pytest.fixture
async def book(ada: AsyncClient) -> Book:
    """Identify Ada's books to services."""
    return await book_of(ada)


@pytest.fixture
async def company(ledger: Ledger) -> Ledger:
    """Open the company's accounts in Ada's books."""
    return await open_company(ledger, "EUR")


@pytest.fixture
async def quarter(company: Ledger) -> None:
    """Post the quarter."""
    for date, debit, credit in ENTRIES:
        await company.post(debit, credit, date=date)
