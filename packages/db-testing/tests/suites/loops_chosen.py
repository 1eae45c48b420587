"""Tests that choose their loops."""

import pytest
import pytest_asyncio
from models import Item
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession


@pytest_asyncio.fixture(loop_scope="function")
async def item_on_function_loop(db: AsyncSession) -> Item:
    item = Item(name="a")
    db.add(item)
    await db.commit()
    return item


@pytest.mark.asyncio(loop_scope="function")
async def test_loop_of_the_function(item_on_function_loop: Item, db: AsyncSession) -> None:
    assert (await db.execute(select(Item.id))).scalar_one() == 1


@pytest.mark.asyncio(loop_scope="class")
class TestLoopOfTheClass:
    async def test_first(self, db: AsyncSession) -> None:
        db.add(Item(name="a"))
        await db.commit()
        assert (await db.execute(select(Item.id))).scalar_one() == 1

    async def test_second(self, db: AsyncSession) -> None:
        db.add(Item(name="a"))
        await db.commit()
        assert (await db.execute(select(Item.id))).scalar_one() == 1


@pytest.mark.asyncio(loop_scope="module")
async def test_loop_of_the_module(db: AsyncSession) -> None:
    db.add(Item(name="a"))
    await db.commit()
    assert (await db.execute(select(Item.id))).scalar_one() == 1


@pytest.mark.asyncio(loop_scope="session")
async def test_loop_of_the_session(db: AsyncSession) -> None:
    db.add(Item(name="a"))
    await db.commit()
    assert (await db.execute(select(Item.id))).scalar_one() == 1
