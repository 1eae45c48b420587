"""A company and its first quarter, written once for all tests of a module."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

import pytest
from fastapi import FastAPI
from httpx import AsyncClient
from sqlalchemy.ext.asyncio import AsyncSession

from ...ledger import Ledger
from ...people import sign_up
from ..company import ENTRIES, open_company


@pytest.fixture(scope="module")
async def quarter(
    app: FastAPI, db_layer: Callable[[], AbstractAsyncContextManager[AsyncSession]]
) -> AsyncIterator[Ledger]:
    """Post the quarter in Ada's books; each test begins with it, and is undone to it."""
    async with db_layer():
        ledger = await open_company(Ledger(await sign_up(app, "ada")), "EUR")
        for date, debit, credit in ENTRIES:
            await ledger.post(debit, credit, date=date)
        yield ledger


@pytest.fixture
def ada(quarter: Ledger) -> AsyncClient:
    """Send Ada's requests."""
    return quarter.client


@pytest.fixture
def company(quarter: Ledger) -> Ledger:
    """Keep the company's books, with accounts that are the test's own."""
    return replace(quarter, ids=dict(quarter.ids))
