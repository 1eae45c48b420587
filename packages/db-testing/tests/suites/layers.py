"""Rows written once for many tests."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import asyncpg
import pytest
from models import Item
from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

Layer = Callable[[], AbstractAsyncContextManager[AsyncSession]]
NAMES = select(Item.name).order_by(Item.id)
TWICE = pytest.mark.parametrize("time", ["first", "second"])
COMMIT = pytest.mark.db(isolation="commit")


@pytest.fixture(scope="module")
async def of_module(db_layer: Layer) -> AsyncIterator[int]:
    async with db_layer() as session:
        item = Item(name="module")
        session.add(item)
        await session.flush()
        yield item.id


@pytest.fixture(scope="class")
async def of_class(db_layer: Layer, of_module: int) -> AsyncIterator[Item]:
    async with db_layer() as session:
        item = Item(name="class")
        session.add(item)
        await session.commit()
        session.add(Item(name="also"))
        yield item


@pytest.mark.usefixtures("of_class")
class TestClass:
    @TWICE
    async def test_rows_are_there_and_come_back(self, db: AsyncSession, time: str) -> None:
        assert list(await db.scalars(NAMES)) == ["module", "class", "also"], time
        await db.execute(update(Item).values(name=Item.name + "!"))
        await db.execute(delete(Item).where(Item.name == "also!"))
        await db.commit()

    @TWICE
    async def test_first_id_is_the_layers_next(self, db: AsyncSession, time: str) -> None:
        item = Item(name="x")
        db.add(item)
        await db.flush()
        assert item.id == 4, time
        await db.commit()

    @COMMIT
    @TWICE
    async def test_committed_tests_see_them_too(
        self, db_sessionmaker: async_sessionmaker[AsyncSession], time: str
    ) -> None:
        async with db_sessionmaker() as one, db_sessionmaker() as other:
            one.add(Item(name="x"))
            await one.commit()
            assert list(await other.scalars(NAMES)) == ["module", "class", "also", "x"]
            assert (await other.scalars(select(func.max(Item.id)))).one() == 4, time

    @pytest.mark.asyncio(loop_scope="function")
    @TWICE
    async def test_on_a_loop_of_its_own(self, db: AsyncSession, time: str) -> None:
        assert list(await db.scalars(NAMES)) == ["module", "class", "also"], time

    async def test_objects_can_be_read(self, db: AsyncSession, of_class: Item) -> None:
        assert (of_class.name, of_class.id) == ("class", 2)
        assert (await db.get_one(Item, of_class.id)).name == "class"


@TWICE
async def test_class_is_over(db: AsyncSession, of_module: int, time: str) -> None:
    assert list(await db.scalars(NAMES)) == ["module"]
    item = Item(name="x")
    db.add(item)
    await db.flush()
    assert (of_module, item.id) == (1, 2)
    await db.commit()


@pytest.mark.usefixtures("of_module")
async def test_connection_is_lost(db_asyncpg: "asyncpg.Connection[asyncpg.Record]") -> None:
    with pytest.raises(asyncpg.PostgresError):
        await db_asyncpg.execute("SELECT pg_terminate_backend(pg_backend_pid())")


@TWICE
async def test_layer_outlives_the_connection(db: AsyncSession, of_module: int, time: str) -> None:
    assert list(await db.scalars(NAMES)) == ["module"]
