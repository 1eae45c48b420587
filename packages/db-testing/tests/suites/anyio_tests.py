"""Tests that anyio's plugin runs, with fixtures of every scope on its loop."""

import asyncio
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import TYPE_CHECKING

import anyio
import pytest
from models import Item
from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_sessionmaker

if TYPE_CHECKING:
    import asyncpg

pytestmark = pytest.mark.anyio
TWICE = pytest.mark.parametrize("time", ["first", "second"])
COUNT = select(func.count()).select_from(Item)
TENANT: ContextVar[str] = ContextVar("TENANT", default="nobody")
LOOPS: set[asyncio.AbstractEventLoop] = set()


@pytest.fixture
async def item(db: AsyncSession) -> AsyncIterator[Item]:
    made = Item(name="fixture")
    db.add(made)
    await db.commit()
    await db.refresh(made)
    yield made
    await db.delete(made)
    await db.commit()


@TWICE
async def test_db_and_a_fixture(item: Item, db: AsyncSession, time: str) -> None:
    assert item.id == 1
    assert (await db.execute(COUNT)).scalar_one() == 1


@TWICE
async def test_db_connection(db_connection: AsyncConnection, time: str) -> None:
    row = await db_connection.execute(insert(Item).values(name="a").returning(Item.id))
    assert row.scalar_one() == 1
    await db_connection.commit()


@TWICE
async def test_db_asyncpg(db_asyncpg: "asyncpg.Connection[asyncpg.Record]", time: str) -> None:
    assert await db_asyncpg.fetchval("INSERT INTO item (name) VALUES ('a') RETURNING id") == 1


@TWICE
async def test_one_loop_and_a_context_for_each_test(db: AsyncSession, time: str) -> None:
    LOOPS.add(asyncio.get_running_loop())
    await db.execute(COUNT)
    assert len(LOOPS) == 1
    assert TENANT.get() == "nobody"
    TENANT.set("somebody")


@TWICE
async def test_task_group(db_sessionmaker: async_sessionmaker[AsyncSession], time: str) -> None:
    async def write(name: str) -> None:
        async with db_sessionmaker.begin() as session:
            session.add(Item(name=name))

    async with anyio.create_task_group() as group:
        for name in "abcde":
            group.start_soon(write, name)
    async with db_sessionmaker() as session:
        assert (await session.execute(COUNT)).scalar_one() == 5


@TWICE
async def test_cancelled_scope(
    db_sessionmaker: async_sessionmaker[AsyncSession], time: str
) -> None:
    async with db_sessionmaker.begin() as session:
        session.add(Item(name="kept"))
    flushed = anyio.Event()

    async def write() -> None:
        async with db_sessionmaker.begin() as session:
            session.add(Item(name="lost"))
            await session.flush()
            flushed.set()
            await anyio.sleep_forever()

    async with anyio.create_task_group() as group:
        group.start_soon(write)
        await flushed.wait()
        group.cancel_scope.cancel()
    async with db_sessionmaker() as session:
        assert list(await session.scalars(select(Item.name))) == ["kept"]


@TWICE
async def test_statement_that_takes_too_long(db_engine: AsyncEngine, time: str) -> None:
    async with db_engine.begin() as connection:
        await connection.execute(insert(Item).values(name="kept"))
    with anyio.move_on_after(0.05) as scope:
        async with db_engine.begin() as connection:
            await connection.execute(insert(Item).values(name="lost"))
            await connection.execute(select(func.pg_sleep(30)))
    assert scope.cancelled_caught
    async with db_engine.connect() as connection:
        assert list(await connection.scalars(select(Item.name))) == ["kept"]


@TWICE
async def test_lineage(
    db: AsyncSession, db_sessionmaker: async_sessionmaker[AsyncSession], time: str
) -> None:
    # What a test has written and not committed, a task that it waits for may build upon.
    db.add(Item(name="open"))
    await db.flush()

    async def write() -> None:
        async with db_sessionmaker.begin() as session:
            session.add(Item(name="child"))

    async with anyio.create_task_group() as group:
        group.start_soon(write)
    await db.commit()
    assert (await db.execute(COUNT)).scalar_one() == 2
