"""Registration, tokens, and who a request comes from."""

import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from httpx import AsyncClient
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from backend.users.models import User

ADA = {"email": "ada@example.com", "name": "Ada", "base_currency": "EUR"}


async def test_a_new_user_is_told_their_token(client: AsyncClient) -> None:
    """The answer to a registration holds the user and a token of 256 bits, not to be cached."""
    response = await client.post("/users", json=ADA)

    assert response.status_code == 201
    assert response.headers["Cache-Control"] == "no-store"
    user = response.json()
    assert (user["id"], user["email"], user["base_currency"]) == (1, "ada@example.com", "EUR")
    assert len(user["token"]) == 43


async def test_a_token_says_who_its_user_is(sign_up: Callable[..., Awaitable[AsyncClient]]) -> None:
    """Two users get two tokens, each of which leads to its own user."""
    ada, bob = await sign_up("ada"), await sign_up("bob")

    assert (await ada.get("/users/me")).json()["email"] == "ada@example.com"
    assert (await bob.get("/users/me")).json()["email"] == "bob@example.com"


async def test_the_token_is_shown_only_once(
    sign_up: Callable[..., Awaitable[AsyncClient]],
) -> None:
    """Nothing of the token is in what the API says of a user later."""
    ada = await sign_up("ada")

    assert (await ada.get("/users/me")).json().keys() == {
        "id",
        "email",
        "name",
        "base_currency",
        "created_at",
    }


async def test_the_database_holds_only_the_tokens_digest(
    client: AsyncClient, db: AsyncSession
) -> None:
    """Who reads the table cannot act as its users."""
    token = (await client.post("/users", json=ADA)).json()["token"]

    stored = await db.scalar(select(User.token_digest))

    assert stored == hashlib.sha256(token.encode()).digest()


async def test_an_email_address_is_taken_whatever_its_case(client: AsyncClient) -> None:
    """Mail to Ada@ and ada@ reaches one person, so they are one user."""
    await client.post("/users", json=ADA)

    response = await client.post("/users", json={**ADA, "email": " ADA@Example.com"})

    assert response.status_code == 409
    assert response.json()["type"] == "/problems/email-taken"


@pytest.mark.parametrize(
    "change",
    [
        {"email": "ada"},
        {"email": "a da@example.com"},
        {"email": "ada@exämple.com"},
        {"email": "a" * 250 + "@example.com"},
        {"name": ""},
        {"name": "   "},
        {"name": "A\0da"},
        {"name": None},
        {"base_currency": "EURO"},
        {"is_admin": True},
    ],
    ids=str,
)
async def test_an_invalid_registration_is_refused(
    client: AsyncClient, change: dict[str, Any]
) -> None:
    """Each rule of a field is checked before anything reaches the database."""
    response = await client.post("/users", json={**ADA, **change})

    assert response.status_code == 422


async def test_a_new_token_replaces_the_old_one(
    sign_up: Callable[..., Awaitable[AsyncClient]],
) -> None:
    """After a rotation the old token is refused and the new one works."""
    ada = await sign_up("ada")

    response = await ada.post("/users/me/token")

    assert response.headers["Cache-Control"] == "no-store"
    assert (await ada.get("/users/me")).status_code == 401
    ada.headers["Authorization"] = f"Bearer {response.json()['token']}"
    assert (await ada.get("/users/me")).status_code == 200


@pytest.mark.parametrize(
    "path", ["/users/me", "/accounts", "/journal/entries", "/reports/trial-balance"]
)
async def test_a_request_without_a_token_is_told_how_to_authenticate(
    client: AsyncClient, path: str
) -> None:
    """Everything but registration and health needs a token, and says so as HTTP demands."""
    response = await client.get(path)

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert response.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("token", ["x", "é", "A" * 43])
async def test_an_unknown_token_is_refused(client: AsyncClient, token: str) -> None:
    """The challenge tells a wrong token from a missing one (RFC 6750)."""
    headers = {b"Authorization": f"Bearer {token}".encode("latin-1")}

    response = await client.get("/users/me", headers=headers)

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'


async def test_another_scheme_is_not_a_token(client: AsyncClient) -> None:
    """Basic credentials are no bearer token."""
    response = await client.get("/users/me", auth=("ada", "secret"))

    assert response.headers["WWW-Authenticate"] == "Bearer"


async def test_a_missing_token_is_reported_before_a_bad_body(client: AsyncClient) -> None:
    """A stranger does not learn what a body must look like."""
    assert (await client.post("/accounts", json={"code": 1})).status_code == 401
