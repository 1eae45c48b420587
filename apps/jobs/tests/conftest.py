"""The application on each test's database."""

from pathlib import Path

import pytest
from httpx import ASGITransport, AsyncClient
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from db_testing import Schema
from jobs.database import SESSION_OPTIONS, SessionOptions
from jobs.main import create_app

KEY = "a key for tests"


@pytest.fixture(scope="session")
def db_schema() -> Schema:
    """Build the database as production does: by its migrations."""
    return Schema.from_alembic(Path(__file__).parents[1] / "alembic.ini")


@pytest.fixture(scope="session")
def db_session_options() -> SessionOptions:
    """Give the tests' own sessions the application's options."""
    return SESSION_OPTIONS


@pytest.fixture
def client(db_sessionmaker: async_sessionmaker[AsyncSession]) -> AsyncClient:
    """Send requests to the API in this process, with its key."""
    transport = ASGITransport(create_app(db_sessionmaker, KEY))
    headers = {"Authorization": f"Bearer {KEY}"}
    return AsyncClient(transport=transport, base_url="http://test", headers=headers)
