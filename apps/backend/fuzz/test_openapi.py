"""Requests made up from the OpenAPI description: none is answered by a 5xx."""

import datetime as dt
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
import requests
import schemathesis
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import given
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from schemathesis.checks import not_a_server_error
from schemathesis.schemas import APIOperation
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from backend.main import create_app
from backend.seed import seed
from backend.users.credentials import Credentials

from . import files

PUBLIC = {"/health", "/users", "/users/token"}
# These two revoke the token that they are called with, so they are tried without one.
REVOKING = {"/users/me/token", "/users/me/password"}

# Passwords are hashed as cheaply as Argon2 can: nobody guesses them here.
HASHER = Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1)
CREDENTIALS = Credentials("0" * 32, dt.timedelta(minutes=60), PasswordHash((HASHER,)))
QFX = "application/vnd.intu.qfx"
schemathesis.serializer.alias(["application/x-ofx", QFX], "application/octet-stream")
schemathesis.openapi.media_type("text/csv", files.CSV)
schemathesis.openapi.media_type("application/x-ofx", files.OFX, aliases=[QFX])


def _narrowed(description: Any) -> Any:  # noqa: ANN401 - any part of it
    """Let ids be those of things that are there, versions any, and periods in order.

    Else hardly a request gets beyond 404, 428 and 422.
    """
    if isinstance(description, list):
        return [_narrowed(part) for part in description]
    if not isinstance(description, dict):
        return description
    narrowed = {key: _narrowed(part) for key, part in description.items()}
    if narrowed.get("maximum", 0) >= 2**63 - 1:
        narrowed["maximum"] = 9
    if narrowed.get("name") == "bank_account_id":
        narrowed["schema"]["maximum"] = 1  # the demo company has one, which files are sent to
    if narrowed.get("name") == "if-match":
        narrowed |= {"required": True, "schema": {"enum": ["*"]}}
    if narrowed.get("name") == "period":
        days = "(0[1-9]|1[0-9]|2[0-8])"
        narrowed["schema"]["items"]["pattern"] = f"^2026-01-{days}/2026-0[2-9]-{days}$"
    return narrowed


WHOLE = create_app(async_sessionmaker(), CREDENTIALS).openapi()
DESCRIPTION = schemathesis.openapi.from_dict(_narrowed(WHOLE))
OPERATIONS = [result.ok() for result in DESCRIPTION.get_all_operations()]
# A request without parameters and body has nothing that the description could forbid.
PLAIN = {"GET /health", "GET /users/me", "POST /users/me/token"}
CASES = [
    pytest.param(operation, mode, id=f"{operation.label}, {mode.value}")
    for operation in OPERATIONS
    for mode in schemathesis.GenerationMode
    if operation.label not in PLAIN or mode is schemathesis.GenerationMode.POSITIVE
]


@pytest.fixture(scope="session")
def app(db_sessionmaker: async_sessionmaker[AsyncSession]) -> FastAPI:
    """Create the application; one serves all tests."""
    return create_app(db_sessionmaker, CREDENTIALS)


@pytest.fixture(scope="module")
async def token(
    db_layer: Callable[[], AbstractAsyncContextManager[AsyncSession]],
) -> AsyncIterator[str]:
    """Write the demo company once, so that there is something to find, and sign in to it."""
    async with db_layer() as session:
        book = await seed(session, CREDENTIALS)
        yield CREDENTIALS.issue(book.owner_id, 1)


@pytest.mark.db(isolation="commit")  # the test client runs the application on a loop of its own
@pytest.mark.parametrize(("operation", "mode"), CASES)
def test_no_request_makes_the_service_fail(
    operation: APIOperation, mode: schemathesis.GenerationMode, app: FastAPI, token: str
) -> None:
    """What the description allows, and what it forbids; each operation begins with the company."""
    with TestClient(app, raise_server_exceptions=False) as client:

        @given(case=operation.as_strategy(generation_mode=mode))
        def send(case: schemathesis.Case) -> None:
            if case.path not in PUBLIC | REVOKING:
                case.headers["Authorization"] = f"Bearer {token}"
            made_up = case.as_transport_kwargs(base_url=str(client.base_url))
            request = requests.Request(**made_up).prepare()
            answer = client.request(
                str(request.method),
                str(request.url),
                content=request.body,
                headers=dict(request.headers),
            )
            case.validate_response(answer, checks=[not_a_server_error])

        send()
