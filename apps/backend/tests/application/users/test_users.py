"""Registration, signing in, and who a request comes from."""

import datetime as dt
from typing import Any

import jwt
import pytest
from fastapi import FastAPI
from httpx import AsyncClient
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from backend.users import service
from backend.users.credentials import Credentials
from backend.users.models import User

from ..people import CREDENTIALS, book_of, sign_up

PASSWORD = "the password of ada"
ADA = {"email": "ada@example.com", "name": "Ada", "base_currency": "EUR", "password": PASSWORD}
SIGN_IN = {"username": "ada@example.com", "password": PASSWORD}


async def test_a_new_user_is_signed_in(client: AsyncClient) -> None:
    """The answer to a registration holds the user and a token that works, not to be cached."""
    response = await client.post("/users", json=ADA)

    assert response.status_code == 201
    assert response.headers["Cache-Control"] == "no-store"
    user = response.json()
    assert (user["id"], user["email"], user["base_currency"]) == (1, "ada@example.com", "EUR")
    headers = {"Authorization": f"Bearer {user['access_token']}"}
    assert (await client.get("/users/me", headers=headers)).status_code == 200


async def test_a_token_says_who_its_user_is(app: FastAPI) -> None:
    """Two users get two tokens, each of which leads to its own user."""
    ada, bob = await sign_up(app, "ada"), await sign_up(app, "bob")

    assert (await ada.get("/users/me")).json()["email"] == "ada@example.com"
    assert (await bob.get("/users/me")).json()["email"] == "bob@example.com"


async def test_nothing_of_the_password_is_shown(ada: AsyncClient) -> None:
    """What the API says of a user has neither the password nor its hash."""
    assert (await ada.get("/users/me")).json().keys() == {
        "id",
        "email",
        "name",
        "base_currency",
        "created_at",
    }


async def test_the_database_holds_only_a_salted_hash(app: FastAPI, db: AsyncSession) -> None:
    """Who reads the table learns no password, not even that two users have the same."""
    ada, bob = await sign_up(app, "ada"), await sign_up(app, "bob")
    change = {"current": "the password of bob", "new": PASSWORD}
    assert (await bob.put("/users/me/password", json=change)).status_code == 200
    assert (await ada.get("/users/me")).status_code == 200

    stored = (await db.scalars(select(User.password_hash))).all()

    assert all(hash_.startswith("$argon2id$") for hash_ in stored)
    assert len(set(stored)) == 2


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
        {"password": "too short"},
        {"password": "x" * 201},
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


async def test_a_password_is_exchanged_for_a_token(client: AsyncClient, ada: AsyncClient) -> None:
    """Signing in takes the form of OAuth 2, so the documentation's own button works."""
    response = await client.post("/users/token", data={**SIGN_IN, "grant_type": "password"})

    token = response.json()
    assert (token["token_type"], token["expires_in"]) == ("bearer", 300)
    assert response.headers["Cache-Control"] == "no-store"
    headers = {"Authorization": f"Bearer {token['access_token']}"}
    me = await client.get("/users/me", headers=headers)
    assert me.json() == (await ada.get("/users/me")).json()


@pytest.mark.parametrize(
    "change", [{"password": "wrong"}, {"username": "bob@example.com"}], ids=["password", "user"]
)
async def test_a_failed_sign_in_does_not_say_what_is_wrong(
    client: AsyncClient, ada: AsyncClient, change: dict[str, str]
) -> None:
    """A stranger cannot find out which addresses are registered."""
    response = await client.post("/users/token", data={**SIGN_IN, **change})

    assert response.status_code == 401
    assert response.json()["detail"] == "There is no user with this e-mail address and password."


@pytest.mark.parametrize(
    "change", [{"username": "a\0@example.com"}, {"grant_type": "magic"}, {"password": ""}], ids=str
)
async def test_an_impossible_sign_in_is_refused(
    client: AsyncClient, ada: AsyncClient, change: dict[str, str]
) -> None:
    """What cannot be a user's never reaches the database, and is no failure of the server."""
    assert (await client.post("/users/token", data={**SIGN_IN, **change})).status_code in {401, 422}


async def test_a_hash_of_another_cost_is_renewed_at_sign_in(
    client: AsyncClient, ada: AsyncClient, db: AsyncSession
) -> None:
    """When passwords are hashed with more effort than before, those in use follow."""
    expensive = Credentials("0" * 32, dt.timedelta(minutes=5))
    old = await expensive.hash(PASSWORD)
    await db.execute(update(User).values(password_hash=old))
    await db.commit()

    await client.post("/users/token", data=SIGN_IN)

    stored = (await db.execute(select(User.password_hash))).scalar_one()
    assert stored != old
    assert (await client.post("/users/token", data=SIGN_IN)).status_code == 200


async def test_who_registered_before_there_were_passwords_cannot_sign_in(
    client: AsyncClient, ada: AsyncClient, db: AsyncSession
) -> None:
    """What the migration writes for such users is no hash, so no password matches it."""
    await db.execute(update(User).values(password_hash="!"))
    await db.commit()

    assert (await client.post("/users/token", data=SIGN_IN)).status_code == 401


async def test_a_new_token_replaces_the_old_ones(client: AsyncClient, ada: AsyncClient) -> None:
    """After a rotation every earlier token is refused and the new one works."""
    other = (await client.post("/users/token", data=SIGN_IN)).json()["access_token"]

    response = await ada.post("/users/me/token")

    assert response.headers["Cache-Control"] == "no-store"
    assert (await ada.get("/users/me")).status_code == 401
    ada.headers["Authorization"] = f"Bearer {other}"
    assert (await ada.get("/users/me")).status_code == 401
    ada.headers["Authorization"] = f"Bearer {response.json()['access_token']}"
    assert (await ada.get("/users/me")).status_code == 200


async def test_a_changed_password_ends_every_session(client: AsyncClient, ada: AsyncClient) -> None:
    """Who had stolen a token, or the old password, is out."""
    change = {"current": PASSWORD, "new": "another password"}

    response = await ada.put("/users/me/password", json=change)

    assert (await ada.get("/users/me")).status_code == 401
    assert (await client.post("/users/token", data=SIGN_IN)).status_code == 401
    ada.headers["Authorization"] = f"Bearer {response.json()['access_token']}"
    assert (await ada.get("/users/me")).status_code == 200
    new = {**SIGN_IN, "password": "another password"}
    assert (await client.post("/users/token", data=new)).status_code == 200


async def test_a_password_is_changed_only_by_who_knows_it(ada: AsyncClient) -> None:
    """A token alone, left in a browser perhaps, does not lock its user out."""
    change = {"current": "a guess at it", "new": "another password"}

    assert (await ada.put("/users/me/password", json=change)).status_code == 401
    assert (await ada.get("/users/me")).status_code == 200


async def test_tokens_revoked_at_once_are_of_different_generations(
    ada: AsyncClient, db_sessionmaker: async_sessionmaker[AsyncSession]
) -> None:
    """Who has read the user before another request revoked tokens still gets a new generation."""
    user_id = (await book_of(ada)).owner_id
    async with db_sessionmaker() as first, db_sessionmaker() as second:
        users = [await session.get_one(User, user_id) for session in (first, second)]
        await first.commit()
        await second.commit()

        await service.revoke_tokens(first, users[0])
        await first.commit()
        await service.revoke_tokens(second, users[1])
        await second.commit()

    assert [user.token_generation for user in users] == [2, 3]


@pytest.mark.parametrize(
    "path", ["/users/me", "/accounts", "/journal/entries", "/reports/trial-balance"]
)
async def test_a_request_without_a_token_is_told_how_to_authenticate(
    client: AsyncClient, path: str
) -> None:
    """Everything but registration, signing in and health needs a token, and says so."""
    response = await client.get(path)

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert response.headers["Content-Type"] == "application/problem+json"


def _forged(**changes: object) -> str:
    hour = dt.timedelta(hours=1)
    claims = {"sub": "1", "gen": 1, "aud": "backend", "exp": dt.datetime.now(dt.UTC) + hour}
    claims = {name: value for name, value in {**claims, **changes}.items() if value is not None}
    return jwt.encode(claims, "0" * 32, "HS256")


async def test_a_token_is_made_of_what_is_signed(client: AsyncClient, ada: AsyncClient) -> None:
    """The claims of the forgeries below are enough when the service's own key has signed them."""
    response = await client.get("/users/me", headers={"Authorization": f"Bearer {_forged()}"})

    assert response.status_code == 200


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "é",
        jwt.encode({"sub": "1", "gen": 1, "aud": "backend", "exp": 2**33}, "1" * 32, "HS256"),
        jwt.encode({"sub": "1", "gen": 1, "aud": "backend", "exp": 2**33}, "", "none"),
        _forged(exp=dt.datetime(2026, 1, 1, tzinfo=dt.UTC)),
        _forged(exp=None),
        _forged(aud="another service"),
        _forged(gen=2),
        _forged(gen="first"),
        _forged(sub="2"),
        _forged(sub="9" * 30),
    ],
    ids=[
        "no token",
        "no ASCII",
        "another key",
        "unsigned",
        "expired",
        "never expires",
        "for another service",
        "of another generation",
        "of no generation",
        "of an unknown user",
        "of an impossible user",
    ],
)
async def test_a_token_that_is_not_valid_is_refused(
    client: AsyncClient, ada: AsyncClient, token: str
) -> None:
    """The challenge tells a wrong token from a missing one (RFC 6750)."""
    headers = {b"Authorization": f"Bearer {token}".encode("latin-1")}

    response = await client.get("/users/me", headers=headers)

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'


async def test_another_scheme_is_not_a_token(client: AsyncClient) -> None:
    """Basic CREDENTIALS are no bearer token."""
    response = await client.get("/users/me", auth=("ada", "secret"))

    assert response.headers["WWW-Authenticate"] == "Bearer"


async def test_a_missing_token_is_reported_before_a_bad_body(client: AsyncClient) -> None:
    """A stranger does not learn what a body must look like."""
    assert (await client.post("/accounts", json={"code": 1})).status_code == 401


def test_the_key_of_the_tokens_is_not_printed() -> None:
    """A log that shows the object does not give it away."""
    assert "0" * 32 not in repr(CREDENTIALS)
