"""The application on each test's database, and two tenants."""

from pathlib import Path
from typing import Any

import pytest
from httpx import ASGITransport, AsyncClient

from catalog import tenants
from catalog.database import SESSION_OPTIONS, SessionOptions, Sessions
from catalog.main import create_app
from catalog.taxonomy.service import seed
from db_testing import Schema

SCHEMA = Path(__file__).parents[1] / "schema"


@pytest.fixture(scope="session")
def db_schema() -> Schema:
    """Build the database of the files that production runs, with its taxonomy."""
    return Schema.from_sql(SCHEMA, extensions=["pg_trgm", "vector"], seed=seed)


@pytest.fixture(scope="session")
def db_session_options() -> SessionOptions:
    """Give the tests' own sessions the application's options."""
    return SESSION_OPTIONS


@pytest.fixture
async def ada(db_sessionmaker: Sessions) -> AsyncClient:
    """Send requests of one tenant."""
    async with db_sessionmaker.begin() as session:
        _, key = await tenants.add(session, "Ada's")
    headers = {"Authorization": f"Bearer {key}"}
    app: Any = create_app(db_sessionmaker)  # httpx and Litestar describe ASGI each in its own way
    return AsyncClient(transport=ASGITransport(app), base_url="http://test", headers=headers)
