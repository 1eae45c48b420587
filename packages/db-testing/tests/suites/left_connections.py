"""Each first test leaves a connection behind; each second one is clean."""

import gc

import pytest
from models import Item
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_sessionmaker

COUNT = select(func.count()).select_from(Item)
KEPT: list[AsyncSession | AsyncConnection] = []


async def is_clean(engine: AsyncEngine) -> None:
    gc.collect()
    async with AsyncSession(engine) as session:
        assert (await session.execute(COUNT)).scalar_one() == 0
        session.add(item := Item(name="a"))
        await session.commit()
        await session.refresh(item)
        assert item.id == 1


async def test_session(db_sessionmaker: async_sessionmaker[AsyncSession]) -> None:
    session = db_sessionmaker()
    session.add(Item(name="a"))
    await session.flush()  # left in a transaction
    KEPT.append(session)


async def test_after_session(db_engine: AsyncEngine) -> None:
    await is_clean(db_engine)


async def test_cycle(db_engine: AsyncEngine) -> None:
    connection = await db_engine.connect()  # left to the collector
    await connection.execute(COUNT)
    cycle: list[object] = [connection]
    cycle.append(cycle)


async def test_after_cycle(db_engine: AsyncEngine) -> None:
    await is_clean(db_engine)


async def test_unused(db_engine: AsyncEngine) -> None:
    KEPT.append(await db_engine.connect())  # left without a statement


async def test_after_unused(db_engine: AsyncEngine) -> None:
    await is_clean(db_engine)


async def test_detached(db_engine: AsyncEngine) -> None:
    connection = await db_engine.connect()  # left detached
    await connection.execute(COUNT)
    (await connection.get_raw_connection()).detach()
    KEPT.append(connection)


async def test_after_detached(db_engine: AsyncEngine) -> None:
    await is_clean(db_engine)


@pytest.mark.parametrize("time", ["first", "second"])
async def test_what_fixtures_hand_out_is_no_leak(
    db: AsyncSession, db_connection: AsyncConnection, db_asyncpg: object, time: str
) -> None:
    await db.execute(COUNT)


async def test_only_handed_out(db_connection: AsyncConnection) -> None:
    pass


async def test_closing_what_another_left(db_engine: AsyncEngine) -> None:
    for kept in KEPT:
        await kept.close()
    await is_clean(db_engine)
