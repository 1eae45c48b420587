"""Every fixture, twice: the second test of each pair sees nothing of the first."""

import asyncpg
import pytest
from models import Item
from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_sessionmaker

pytestmark = pytest.mark.asyncio
TWICE = pytest.mark.parametrize("time", ["first", "second"])
COUNT = select(func.count()).select_from(Item)


@TWICE
async def test_db(db: AsyncSession, time: str) -> None:
    assert (await db.execute(COUNT)).scalar_one() == 0
    item = Item(name="a")
    db.add(item)
    await db.commit()
    await db.refresh(item)
    assert item.id == 1


@TWICE
async def test_db_connection(db_connection: AsyncConnection, time: str) -> None:
    assert (
        await db_connection.execute(insert(Item).values(name="a").returning(Item.id))
    ).one() == (1,)
    await db_connection.commit()


@TWICE
async def test_db_asyncpg(db_asyncpg: "asyncpg.Connection[asyncpg.Record]", time: str) -> None:
    assert isinstance(db_asyncpg, asyncpg.Connection)
    assert await db_asyncpg.fetchval("INSERT INTO item (name) VALUES ('a') RETURNING id") == 1


@TWICE
async def test_db_engine(db_engine: AsyncEngine, time: str) -> None:
    async with db_engine.begin() as connection:
        assert (await connection.execute(COUNT)).scalar_one() == 0
        await connection.execute(insert(Item).values(name="a"))
    async with db_engine.connect() as connection:
        assert (await connection.execute(COUNT)).scalar_one() == 1


@TWICE
async def test_db_sessionmaker(
    db_sessionmaker: async_sessionmaker[AsyncSession], time: str
) -> None:
    async with db_sessionmaker.begin() as session:
        session.add(Item(name="a"))
    async with db_sessionmaker() as session:
        assert (await session.execute(COUNT)).scalar_one() == 1


async def test_all_share_one_database(
    db: AsyncSession,
    db_connection: AsyncConnection,
    db_asyncpg: "asyncpg.Connection[asyncpg.Record]",
    test_database_url: str,
) -> None:
    db.add(Item(name="a"))
    await db.commit()
    assert (await db_connection.execute(COUNT)).scalar_one() == 1
    assert await db_asyncpg.fetchval("SELECT count(*) FROM item") == 1
    name = await db_asyncpg.fetchval("SELECT current_database()")
    assert f"/{name}?" in test_database_url
