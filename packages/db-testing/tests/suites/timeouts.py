"""Tests that a signal interrupts, each followed by one that must not notice."""

import asyncio
import time

import pytest
from models import Item
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker


async def insert(db: AsyncSession) -> None:
    item = Item(name="a")
    db.add(item)
    await db.flush()
    assert item.id == 1


@pytest.mark.timeout(1, func_only=True)
async def test_1_in_a_statement(db: AsyncSession) -> None:
    await insert(db)
    await db.execute(select(func.pg_sleep(60)))


async def test_2_after(db: AsyncSession) -> None:
    await insert(db)
    await db.commit()


@pytest.mark.timeout(1, func_only=True)
async def test_3_in_a_wait(
    db: AsyncSession, db_sessionmaker: async_sessionmaker[AsyncSession]
) -> None:
    await insert(db)
    await db.commit()
    try:
        await asyncio.Event().wait()
    finally:
        async with db_sessionmaker.begin() as session:
            session.add(Item(name="late"))


async def test_4_after(db: AsyncSession) -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert not any("in_a_wait" in repr(task) for task in others)
    await insert(db)
    await db.commit()


@pytest.mark.timeout(1, func_only=True)
async def test_5_in_python(db: AsyncSession) -> None:
    await insert(db)
    time.sleep(60)  # noqa: ASYNC251  # what the timeout is for


async def test_6_after(db: AsyncSession) -> None:
    await insert(db)
    await db.commit()
