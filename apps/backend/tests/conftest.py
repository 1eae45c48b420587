"""The application on each test's database, and people who use it."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from httpx import ASGITransport, AsyncClient
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from backend.database import SESSION_OPTIONS, SessionOptions
from backend.main import create_app
from db_testing import Schema

SignUp = Callable[..., Awaitable[AsyncClient]]


@pytest.fixture(scope="session")
def db_schema() -> Schema:
    """Build the database as production does: by its migrations."""
    return Schema.from_alembic(Path(__file__).parents[1] / "alembic.ini")


@pytest.fixture(scope="session")
def db_session_options() -> SessionOptions:
    """Give the tests' own sessions the application's options."""
    return SESSION_OPTIONS


@pytest.fixture(scope="session")
def transport(db_sessionmaker: async_sessionmaker[AsyncSession]) -> ASGITransport:
    """Call the application in this process; one serves all tests."""
    return ASGITransport(create_app(db_sessionmaker))


@pytest.fixture
def client(transport: ASGITransport) -> AsyncClient:
    """Send requests without a token."""
    return AsyncClient(transport=transport, base_url="http://test")


@pytest.fixture
def sign_up(client: AsyncClient, transport: ASGITransport) -> SignUp:
    """Register somebody, and send requests with their token."""

    async def sign_up(name: str, base_currency: str = "EUR") -> AsyncClient:
        body = {"email": f"{name}@example.com", "name": name, "base_currency": base_currency}
        token = (await client.post("/users", json=body)).json()["token"]
        headers = {"Authorization": f"Bearer {token}"}
        return AsyncClient(transport=transport, base_url="http://test", headers=headers)

    return sign_up


@pytest.fixture
async def ada(sign_up: SignUp) -> AsyncClient:
    """Register Ada, who keeps her books in euros."""
    return await sign_up("ada")
