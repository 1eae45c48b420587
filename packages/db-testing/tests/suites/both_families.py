"""Synchronous and asynchronous code in one test."""

import pytest
from models import Item
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

COUNT = select(func.count()).select_from(Item)
commit = pytest.mark.db(isolation="commit")


@pytest.mark.asyncio
async def test_asynchronous_after_synchronous(db: AsyncSession, db_sync: Session) -> None:
    db_sync.scalar(COUNT)
    await db.scalar(COUNT)


@pytest.mark.asyncio
async def test_synchronous_after_asynchronous(db: AsyncSession, db_sync: Session) -> None:
    await db.scalar(COUNT)
    db_sync.scalar(COUNT)


@pytest.mark.asyncio
@pytest.mark.parametrize("time", ["first", "second"])
async def test_one_of_two_is_used(db: AsyncSession, db_sync: Session, time: str) -> None:
    item = Item(name="a")
    if time == "first":
        db.add(item)
        await db.commit()
        await db.refresh(item)
    else:
        db_sync.add(item)
        db_sync.commit()
    assert item.id == 1


@commit
@pytest.mark.asyncio
@pytest.mark.parametrize("time", ["first", "second"])
async def test_both_commit(db: AsyncSession, db_sync: Session, time: str) -> None:
    db.add(Item(name="a"))
    await db.flush()
    assert db_sync.scalar(COUNT) == 0
    db_sync.rollback()
    await db.commit()
    assert db_sync.scalar(COUNT) == 1
    item = Item(name="b")
    db_sync.add(item)
    db_sync.commit()
    assert item.id == 2
    assert await db.scalar(COUNT) == 2


@pytest.mark.asyncio
async def test_asynchronous_code_kills_its_connection(db_engine: AsyncEngine) -> None:
    async with db_engine.begin() as connection:
        await connection.exec_driver_sql("INSERT INTO item (name) VALUES ('a')")
    async with db_engine.connect() as connection:
        with pytest.raises(Exception, match=r"terminat|closed"):
            await connection.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")


def test_synchronous_code_goes_on(db_sync: Session) -> None:
    item = Item(name="a")
    db_sync.add(item)
    db_sync.commit()
    assert item.id == 1
