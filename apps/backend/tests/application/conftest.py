"""The application on each test's database, and people who use it."""

import datetime as dt
from collections.abc import Awaitable, Callable

import pytest
from httpx import ASGITransport, AsyncClient
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from backend.main import create_app
from backend.users.credentials import Credentials
from backend.users.service import Book

SignUp = Callable[..., Awaitable[AsyncClient]]


@pytest.fixture(scope="session")
def credentials() -> Credentials:
    """Hash passwords as cheaply as Argon2 can: nobody guesses them here."""
    passwords = PasswordHash((Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1),))
    return Credentials("0" * 32, dt.timedelta(minutes=5), passwords)


@pytest.fixture(scope="session")
def transport(
    db_sessionmaker: async_sessionmaker[AsyncSession], credentials: Credentials
) -> ASGITransport:
    """Call the application in this process; one serves all tests."""
    return ASGITransport(create_app(db_sessionmaker, credentials))


@pytest.fixture
def client(transport: ASGITransport) -> AsyncClient:
    """Send requests without a token."""
    return AsyncClient(transport=transport, base_url="http://test")


@pytest.fixture
def sign_up(client: AsyncClient, transport: ASGITransport) -> SignUp:
    """Register somebody, and send requests with their token."""

    async def sign_up(name: str, base_currency: str = "EUR") -> AsyncClient:
        body = {
            "email": f"{name}@example.com",
            "name": name,
            "base_currency": base_currency,
            "password": f"the password of {name}",
        }
        token = (await client.post("/users", json=body)).json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        return AsyncClient(transport=transport, base_url="http://test", headers=headers)

    return sign_up


@pytest.fixture
async def ada(sign_up: SignUp) -> AsyncClient:
    """Register Ada, who keeps her books in euros."""
    return await sign_up("ada")


@pytest.fixture
async def book(ada: AsyncClient) -> Book:
    """Identify Ada's book to services."""
    user = (await ada.get("/users/me")).json()
    return Book(owner_id=user["id"], base_currency=user["base_currency"])
