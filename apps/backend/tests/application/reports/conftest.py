"""A company, and its books."""

import pytest
from httpx import AsyncClient

from backend.users.service import Book

from ..ledger import Ledger
from ..people import book_of
from .company import open_company


@pytest.fixture
async def book(ada: AsyncClient) -> Book:
    """Identify Ada's books to services."""
    return await book_of(ada)


@pytest.fixture
async def company(ledger: Ledger) -> Ledger:
    """Open the company's accounts in Ada's books."""
    return await open_company(ledger, "EUR")
