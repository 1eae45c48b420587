"""Whatever a client sends, the service does not fail: schemathesis tries all operations."""

import datetime as dt
from collections.abc import AsyncIterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from schemathesis.checks import not_a_server_error
from sqlalchemy import NullPool
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from backend.database import SESSION_OPTIONS
from backend.main import create_app
from backend.seed import seed
from backend.users.credentials import Credentials

PUBLIC = {"/health", "/users", "/users/token"}
# These two revoke the token that they are called with, so they are tried without one.
REVOKING = {"/users/me/token", "/users/me/password"}

# Each operation is a test, so they must be known before there is a database.
SESSIONS = async_sessionmaker[AsyncSession](**SESSION_OPTIONS)
CREDENTIALS = Credentials(
    "0" * 32,
    dt.timedelta(minutes=60),
    PasswordHash((Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1),)),
)
schemathesis.serializer.alias(
    ["application/x-ofx", "application/vnd.intu.qfx"], "application/octet-stream"
)
SCHEMA = schemathesis.openapi.from_asgi("/openapi.json", create_app(SESSIONS, CREDENTIALS))


@pytest.fixture
async def token(test_database_url: str) -> AsyncIterator[str]:
    """Write the demo company, so that there is something to find, and sign in to it.

    schemathesis calls the application in threads, each time in a new event loop: no connection is
    kept for the next one.
    """
    engine = create_async_engine(test_database_url, poolclass=NullPool)
    SESSIONS.configure(bind=engine)
    async with SESSIONS.begin() as session:
        book = await seed(session, CREDENTIALS)
    yield CREDENTIALS.issue(book.owner_id, 1)
    await engine.dispose()


# The threads see only what is committed.
@pytest.mark.db(isolation="commit")
@SCHEMA.parametrize()
@settings(
    max_examples=30,
    deadline=None,
    # All examples share one company, on purpose; where a schema is narrow, much is filtered.
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.filter_too_much,
        HealthCheck.too_slow,
    ],
)
def test_no_request_makes_the_service_fail(case: schemathesis.Case[Any], token: str) -> None:
    """With what its schema allows and with what it does not, an operation answers below 500."""
    signed_in = case.path not in PUBLIC | REVOKING
    headers = {"Authorization": f"Bearer {token}"} if signed_in else {}
    case.call_and_validate(headers=headers, checks=[not_a_server_error])
