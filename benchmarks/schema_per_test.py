"""A pytest plugin instead of db-testing's: the same fixtures, and the schema built for each test.

It is how an application's own suite would be run without db-testing, see `applications.py`.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import pytest
from sqlalchemy import NullPool, make_url, text
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from sqlalchemy import URL

    from db_testing import Schema

FIXTURES: Final = ("db_engine", "db_sessionmaker", "db", "db_connection", "db_asyncpg")


def pytest_configure(config: pytest.Config) -> None:
    """Know the marker that tests bear."""
    config.addinivalue_line("markers", "db: db-testing's, which is not there")


async def _execute(url: URL, *statements: str) -> None:
    engine = create_async_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    async with engine.connect() as connection:
        for statement in statements:
            await connection.execute(text(statement))
    await engine.dispose()


@pytest.fixture(scope="session")
def test_database_url() -> Iterator[str]:
    """Make a database, and drop it."""
    server = make_url(os.environ["BENCHMARK_SERVER"])
    name = f"benchmark_{uuid.uuid4().hex}"
    asyncio.run(_execute(server, f"CREATE DATABASE {name}"))
    yield server.set(database=name).render_as_string(hide_password=False)
    asyncio.run(_execute(server, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(scope="session")
def db_engine(test_database_url: str) -> AsyncEngine:
    """Connect anew each time: a connection would remember a schema that is gone."""
    return create_async_engine(test_database_url, poolclass=NullPool)


@pytest.fixture(scope="session")
def db_sessionmaker(
    db_engine: AsyncEngine, db_session_options: Mapping[str, Any]
) -> async_sessionmaker[AsyncSession]:
    """Make the application's sessions."""
    return async_sessionmaker(db_engine, **db_session_options)


@pytest.fixture(autouse=True)
def schema(request: pytest.FixtureRequest) -> None:
    """Build the schema anew for each test that uses the database."""
    if not set(FIXTURES).intersection(request.fixturenames):
        return
    described: Schema = request.getfixturevalue("db_schema")
    url = make_url(request.getfixturevalue("test_database_url"))

    def build() -> None:
        asyncio.run(_execute(url, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public"))
        described.apply(url)

    with ThreadPoolExecutor(1) as thread:  # here an event loop may run
        thread.submit(build).result()


@pytest.fixture
async def db(db_sessionmaker: async_sessionmaker[AsyncSession]) -> AsyncIterator[AsyncSession]:
    """Open a session."""
    async with db_sessionmaker() as session:
        yield session


@pytest.fixture
async def db_connection(db_engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Open a connection."""
    async with db_engine.connect() as connection:
        yield connection


@pytest.fixture
async def db_asyncpg(
    test_database_url: str,
) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """Open a connection of the driver's."""
    url = make_url(test_database_url).set(drivername="postgresql")
    connection = await asyncpg.connect(url.render_as_string(hide_password=False))
    yield connection
    await connection.close()
