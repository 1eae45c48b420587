"""A way back in the middle of a test."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from models import Item
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from db_testing.errors import DataLayerError

Layer = Callable[[], AbstractAsyncContextManager[AsyncSession]]
Sessions = async_sessionmaker[AsyncSession]
NAMES = select(Item.name).order_by(Item.id)


@settings(
    max_examples=5,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(names=st.lists(st.sampled_from("abc"), unique=True))
async def test_each_example_is_alone(db_layer: Layer, names: list[str]) -> None:
    async with db_layer() as session:
        items = [Item(name=name) for name in names]
        session.add_all(items)
        await session.commit()
        assert list(await session.scalars(NAMES)) == names
        assert [item.id for item in items] == list(range(1, len(names) + 1))


async def test_what_was_there_before_stays(db_layer: Layer, db_sessionmaker: Sessions) -> None:
    async with db_sessionmaker() as session:
        session.add(Item(name="before"))
        await session.commit()
    for _ in range(2):
        async with db_layer() as session:
            await session.execute(text("DELETE FROM item"))
            item = Item(name="inside")
            session.add(item)
            await session.commit()
            assert list(await session.scalars(NAMES)) == ["inside"]
            assert item.id == 2
    async with db_sessionmaker() as session:
        item = Item(name="after")
        session.add(item)
        await session.flush()
        assert (list(await session.scalars(NAMES)), item.id) == (["before", "after"], 2)


async def test_blocks_nest(db_layer: Layer, db_sessionmaker: Sessions) -> None:
    async with db_layer() as outer:
        outer.add(Item(name="outer"))
        await outer.commit()
        await outer.close()
        async with db_layer() as inner:
            inner.add(Item(name="inner"))
            await inner.commit()
        async with db_sessionmaker() as session:
            assert list(await session.scalars(NAMES)) == ["outer"]
    async with db_sessionmaker() as session:
        assert list(await session.scalars(NAMES)) == []


async def test_errors_leave_nothing(db_layer: Layer, db_sessionmaker: Sessions) -> None:
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):  # noqa: PT012  # the end of the block is the point
            async with db_layer() as session:
                session.add(Item(name="a"))
                await session.commit()
                session.add(Item(name="b"))
                await session.flush()
                raise ZeroDivisionError
        async with db_sessionmaker() as session:
            assert list(await session.scalars(NAMES)) == []


async def test_schema_comes_back(db_layer: Layer, db_sessionmaker: Sessions) -> None:
    async with db_layer() as session:
        await session.execute(text("ALTER TABLE item ADD COLUMN more text DEFAULT 'x'"))
        await session.execute(text("CREATE SEQUENCE own"))
        assert (await session.execute(text("SELECT nextval('own')"))).scalar_one() == 1
        await session.commit()
    async with db_sessionmaker() as session:
        assert list((await session.execute(text("SELECT * FROM item"))).keys()) == ["id", "name"]
        assert (await session.execute(text("SELECT to_regclass('own')"))).scalar_one() is None


async def test_transaction_from_before(
    db_layer: Layer, db: AsyncSession, pytestconfig: pytest.Config
) -> None:
    """Savepoints keep what is not committed; copies of a database cannot, and say so."""
    db.add(Item(name="open"))
    await db.flush()
    if pytestconfig.getoption("db_isolation") != "rollback":
        with pytest.raises(DataLayerError, match=r"begins .* while connections are in use: 1"):
            async with db_layer():
                pass
    else:
        async with db_layer() as session:
            session.add(Item(name="inside"))
            await session.commit()
        assert list(await db.scalars(NAMES)) == ["open"]
    await db.rollback()
    assert list(await db.scalars(NAMES)) == []
