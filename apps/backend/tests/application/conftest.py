"""The application on each test's database, and Ada, who uses it."""

import pytest
from fastapi import FastAPI
from httpx import AsyncClient
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from backend.main import create_app

from .ledger import Ledger
from .people import CREDENTIALS, call, sign_up


@pytest.fixture(scope="session")
def app(db_sessionmaker: async_sessionmaker[AsyncSession]) -> FastAPI:
    """Create the application; one serves all tests."""
    return create_app(db_sessionmaker, CREDENTIALS)


@pytest.fixture
def client(app: FastAPI) -> AsyncClient:
    """Send requests without a token."""
    return call(app)


@pytest.fixture
async def ada(app: FastAPI) -> AsyncClient:
    """Register Ada, who keeps her books in euros, and send her requests."""
    return await sign_up(app, "ada")


@pytest.fixture
def ledger(ada: AsyncClient) -> Ledger:
    """Keep Ada's books, over HTTP."""
    return Ledger(ada)
