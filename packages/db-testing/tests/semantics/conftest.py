"""Two worlds for each program: real connections, and a sandbox, on a database of its own."""

# ruff: noqa: ANN401  # what a driver takes and returns is whatever it is
from __future__ import annotations

import asyncio
import contextlib
import uuid
from typing import TYPE_CHECKING, Any, Literal

import asyncpg
import pytest
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from db_testing._sandbox._sandbox import Sandbox
from db_testing._sandbox._virtual import VirtualConnection
from db_testing._server._admin import Admin, connect_options
from db_testing._template import _claims, _copies

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator

    from sqlalchemy.engine import URL

ITEM = "CREATE TABLE item (id serial PRIMARY KEY, name text UNIQUE, n int NOT NULL DEFAULT 0)"

LEFT = """
    SELECT (SELECT json_agg(i ORDER BY id)::text FROM item i) AS rows,
           (SELECT row(last_value, is_called)::text FROM item_id_seq) AS ids,
           (SELECT json_agg(json_build_array(oid, relname, relkind) ORDER BY oid)::text
            FROM pg_class WHERE relnamespace = 'public'::regnamespace) AS relations,
           (SELECT count(*) FROM pg_largeobject_metadata) AS large_objects
"""


class World:
    """What a program can use: real connections or virtual ones."""

    def __init__(self, url: URL, connect: Callable[[], Awaitable[Any]]) -> None:
        """Open nothing yet."""
        self._url = url
        self._connect = connect
        self._connections: list[Any] = []
        self._tasks: list[asyncio.Task[Any]] = []
        self._engine: AsyncEngine | None = None

    async def connect(self) -> Any:
        """Return a connection as the application has them."""
        connection = await self._connect()
        self._connections.append(connection)
        return connection

    async def outside(self) -> Any:
        """Return a real connection in both worlds, such as another process has."""
        connection = await _connect(self._url)
        self._connections.append(connection)
        return connection

    @property
    def engine(self) -> AsyncEngine:
        """An engine, as the application has one."""
        if self._engine is None:
            self._engine = create_async_engine(
                self._url,
                async_creator=self._connect,
                poolclass=AsyncAdaptedQueuePool,
                pool_size=0,
            )
        return self._engine

    def session(self, **options: Any) -> AsyncSession:
        """Return a session on the engine."""
        return AsyncSession(self.engine, **options)

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a task that ends with the program at the latest."""
        task = asyncio.create_task(work)
        self._tasks.append(task)
        return task

    async def close(self) -> None:
        """Close everything."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._engine is not None:
            await self._engine.dispose()
        for connection in self._connections:
            await connection.close(timeout=5)


class Worlds:
    """Both worlds, on one database."""

    def __init__(self, url: URL) -> None:
        """Take the database's address."""
        self._url = url

    async def prepare(self, schema: str) -> None:
        """Create what was there before the program."""
        connection = await _connect(self._url)
        await connection.execute(f"{ITEM};{schema}")
        await connection.close()

    @contextlib.asynccontextmanager
    async def open(self, name: Literal["sandbox", "production"]) -> AsyncIterator[World]:
        """Open one of them; what happens in the sandbox is undone."""
        if name == "production":
            world = World(self._url, lambda: _connect(self._url))
            try:
                yield world
            finally:
                await world.close()
            return
        before = await self._left()
        sandbox = Sandbox(lambda: _connect(self._url), patience=1)

        async def connect() -> Any:
            return VirtualConnection(sandbox)

        world = World(self._url, connect)
        sandbox.begin_test("the test")
        try:
            yield world
        finally:
            await sandbox.end_test()
            await world.close()
            sandbox.begin_test("the next test")
            await VirtualConnection(sandbox).execute("SELECT")
            await sandbox.end_test()
            await sandbox.close()
        assert not sandbox.committed
        assert await self._left() == before

    async def _left(self) -> dict[str, Any]:
        connection = await _connect(self._url)
        row = await connection.fetchrow(LEFT)
        await connection.close()
        return dict(row or {})


async def _connect(url: URL) -> asyncpg.Connection[asyncpg.Record]:
    return await asyncpg.connect(**connect_options(url), server_settings={"lock_timeout": "5s"})


@pytest.fixture(scope="session")
def _semantics_admin(test_database_url: str) -> Iterator[Admin]:
    """Return a connection that creates databases."""
    admin = Admin(make_url(test_database_url).set(database="postgres"))
    yield admin
    admin.close()


@pytest.fixture
def worlds(_semantics_admin: Admin) -> Iterator[Worlds]:
    """Return both worlds, on a database that is gone afterwards."""
    admin = _semantics_admin
    name = f"dbt_t{uuid.uuid4().hex[:12]}_01234567_semantics_main"
    admin.run(_claims.take, admin.connection, name)
    admin.run(_copies.create, admin.connection, name, "template0")
    yield Worlds(admin.url.set(database=name))
    _claims.drop(admin, name)
