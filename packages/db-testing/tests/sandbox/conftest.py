"""A sandbox of its own for each test, on the worker's database, and a witness of what it left."""

# ruff: noqa: ANN401  # what a driver takes and returns is whatever it is
from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg
import pytest
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.pool import AsyncAdaptedQueuePool

from db_testing._sandbox._sandbox import Sandbox
from db_testing._sandbox._virtual import VirtualConnection
from db_testing._server._admin import connect_options

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    Plain: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


@pytest.fixture
def connect_plainly(test_database_url: str) -> Callable[..., Any]:
    """Return the driver's own `connect`, bound to the worker's database."""
    options = connect_options(make_url(test_database_url))

    async def connect() -> Plain:
        return await asyncpg.connect(**options, server_settings={"lock_timeout": "5s"})

    return connect


@pytest.fixture
async def plain(connect_plainly: Callable[..., Any]) -> AsyncIterator[Plain]:
    """Return a connection that knows nothing of any sandbox."""
    connection: Plain = await connect_plainly()
    yield connection
    await connection.close()


@pytest.fixture
def until_asleep(plain: Plain, sleepers_sql: str) -> Callable[[], Any]:
    """Return a function that waits until a statement of another connection is in `pg_sleep`."""

    async def wait() -> None:
        async with asyncio.timeout(10):
            while not await plain.fetchval(sleepers_sql):  # noqa: ASYNC110  # the event is the server's
                await asyncio.sleep(0.002)

    return wait


@pytest.fixture
def witness(plain: Plain, left_sql: str) -> Callable[[], Any]:
    """Return a function that returns what is in the database, and who has locked it."""

    async def look() -> dict[str, Any]:
        return dict(await plain.fetchrow(left_sql) or {})

    return look


@pytest.fixture
async def sandbox(
    connect_plainly: Callable[..., Any], witness: Callable[[], Any]
) -> AsyncIterator[Sandbox]:
    """Return a sandbox in which a test has begun; prove afterwards that nothing was left."""
    before = await witness()
    sandbox = Sandbox(connect_plainly, patience=5)
    sandbox.begin_test("the test")
    yield sandbox
    await sandbox.end_test()
    # Where the wire was lost, sequences are put back by the first statement of the next test.
    sandbox.begin_test("the next test")
    await VirtualConnection(sandbox).execute("SELECT")
    await sandbox.end_test()
    after = await witness()
    await sandbox.close()
    assert after == before


@pytest.fixture
async def engine(sandbox: Sandbox, test_database_url: str) -> AsyncIterator[AsyncEngine]:
    """Return an engine on the sandbox, made as the plugin makes its own."""

    async def connect() -> Any:
        return VirtualConnection(sandbox)

    engine = create_async_engine(
        test_database_url, async_creator=connect, poolclass=AsyncAdaptedQueuePool, pool_size=0
    )
    yield engine
    await engine.dispose()


@pytest.fixture
def sessions(engine: AsyncEngine) -> async_sessionmaker[AsyncSession]:
    """Return a factory of sessions."""
    return async_sessionmaker(engine, expire_on_commit=False)


@pytest.fixture
def connect(sandbox: Sandbox) -> Callable[[], VirtualConnection]:
    """Return a factory of virtual connections."""
    return lambda: VirtualConnection(sandbox)
