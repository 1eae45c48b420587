"""Every isolation, with no extra installed."""

import pytest
from models import Item
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession


async def add(db: AsyncSession) -> None:
    """Add the first item: the name is free, and so is the id."""
    db.add(Item(name="Ada"))
    await db.commit()
    assert (await db.execute(select(Item.id, Item.name))).all() == [(1, "Ada")]


@pytest.mark.parametrize("repetition", range(3))
async def test_rollback(db: AsyncSession, repetition: int) -> None:
    await add(db)


@pytest.mark.parametrize("repetition", range(2))
@pytest.mark.db(isolation="commit")
async def test_commit(db: AsyncSession, repetition: int) -> None:
    await add(db)


@pytest.mark.db(isolation="database")
async def test_database(db: AsyncSession) -> None:
    await add(db)


async def test_it_is_postgresql(db: AsyncSession) -> None:
    assert (await db.execute(select(func.version()))).scalar_one().startswith("PostgreSQL 18")
