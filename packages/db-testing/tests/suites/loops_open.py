"""Tests and asynchronous fixtures that say nothing of loops."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from models import Item
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker


@pytest_asyncio.fixture(scope="module")
async def engine_of_module(db_engine: AsyncEngine) -> AsyncIterator[AsyncEngine]:
    async with db_engine.connect() as connection:
        await connection.execute(select(Item))
    yield db_engine
    async with db_engine.connect() as connection:
        await connection.execute(select(Item))


@pytest_asyncio.fixture
async def item(db_sessionmaker: async_sessionmaker[AsyncSession]) -> AsyncIterator[Item]:
    async with db_sessionmaker(expire_on_commit=False) as session:
        made = Item(name="fixture")
        session.add(made)
        await session.commit()
    yield made
    async with db_sessionmaker() as session:
        await session.delete(await session.get_one(Item, made.id))
        await session.commit()


@pytest.mark.asyncio
async def test_function(item: Item, db: AsyncSession, engine_of_module: AsyncEngine) -> None:
    assert (await db.execute(select(Item))).scalar_one().name == item.name


@pytest.mark.asyncio
class TestClass:
    async def test_method(self, item: Item, db: AsyncSession) -> None:
        assert (await db.execute(select(Item))).scalar_one().name == item.name


def test_plain_function_with_asynchronous_fixture(item: Item) -> None:
    assert item.id == 1


def test_plain_function_with_a_loop_of_its_own(db_engine: AsyncEngine) -> None:
    async def insert() -> None:
        async with async_sessionmaker(db_engine).begin() as session:
            session.add(Item(name="a"))
            await session.flush()
            assert (await session.execute(select(Item))).scalar_one().id == 1

    asyncio.run(insert())


@pytest.mark.asyncio
async def test_after_a_loop_of_its_own(db: AsyncSession) -> None:
    db.add(Item(name="a"))
    await db.flush()
    assert (await db.execute(select(Item.id))).scalar_one() == 1


LOOPS = set[int]()


@pytest.mark.asyncio
@pytest.mark.parametrize("time", ["first", "second"])
async def test_without_database_has_a_loop_of_its_own(time: str) -> None:
    LOOPS.add(id(asyncio.get_running_loop()))
    asyncio.get_running_loop().set_debug(True)
    assert len(LOOPS) in (1, 2)
