"""Tests that need real transactions."""

import asyncio
from typing import TYPE_CHECKING

import pytest
from models import Item
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_sessionmaker

if TYPE_CHECKING:
    import asyncpg

pytestmark = [pytest.mark.asyncio, pytest.mark.db(isolation="commit")]
TWICE = pytest.mark.parametrize("time", ["first", "second"])
COUNT = select(func.count()).select_from(Item)


@TWICE
async def test_connections_see_each_others_commits_only(
    db: AsyncSession, db_connection: AsyncConnection, time: str
) -> None:
    db.add(Item(name="a"))
    await db.flush()
    assert (await db_connection.execute(COUNT)).scalar_one() == 0
    await db.commit()
    assert (await db_connection.execute(COUNT)).scalar_one() == 1
    assert (await db.execute(select(Item.id))).scalar_one() == 1


@TWICE
async def test_notifications_arrive(
    db_asyncpg: "asyncpg.Connection[asyncpg.Record]", db_engine: AsyncEngine, time: str
) -> None:
    heard: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    await db_asyncpg.add_listener("news", lambda *message: heard.set_result(str(message[3])))
    async with db_engine.begin() as connection:
        await connection.execute(text("NOTIFY news, 'hello'"))
    assert await asyncio.wait_for(heard, 10) == "hello"


@TWICE
async def test_serializable_transactions_fail_as_in_production(
    db_engine: AsyncEngine, time: str
) -> None:
    serializable = db_engine.execution_options(isolation_level="SERIALIZABLE")
    level = text("SHOW transaction_isolation")
    async with serializable.connect() as connection:
        assert (await connection.execute(level)).scalar_one() == "serializable"


@TWICE
async def test_connection_that_the_test_lost(
    db_sessionmaker: async_sessionmaker[AsyncSession], time: str
) -> None:
    session = db_sessionmaker()
    session.add(Item(name="a"))
    await session.flush()
    KEPT.append(session)


KEPT: list[AsyncSession] = []


@pytest.mark.db(isolation="rollback")
async def test_closest_marker_decides(db: AsyncSession) -> None:
    assert (await db.execute(COUNT)).scalar_one() == 0
    db.add(Item(name="a"))
    await db.commit()
    assert (await db.execute(select(Item.id))).scalar_one() == 1
