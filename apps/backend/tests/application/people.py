"""Who uses the application: how they sign up, and how their passwords are kept here."""

import datetime as dt

from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from backend.users.credentials import Credentials
from backend.users.service import Book

# As cheap as Argon2 can be: nobody guesses passwords here.
_HASHER = Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1)
CREDENTIALS = Credentials("0" * 32, dt.timedelta(minutes=5), PasswordHash((_HASHER,)))


def call(app: FastAPI, token: str | None = None) -> AsyncClient:
    """Call the application in this process, as the owner of the token or as nobody."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return AsyncClient(transport=ASGITransport(app), base_url="http://test", headers=headers)


async def sign_up(app: FastAPI, name: str, base_currency: str = "EUR") -> AsyncClient:
    """Register somebody, and call the application as them."""
    body = {
        "email": f"{name}@example.com",
        "name": name,
        "base_currency": base_currency,
        "password": f"the password of {name}",
    }
    response = await call(app).post("/users", json=body)
    return call(app, response.json()["access_token"])


async def book_of(client: AsyncClient) -> Book:
    """Identify somebody's book to services."""
    user = (await client.get("/users/me")).json()
    return Book(owner_id=user["id"], base_currency=user["base_currency"])
