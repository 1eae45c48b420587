"""Code that uses the application's own objects, imported before anything was bound."""

import asyncio

import pytest
from database import (
    COUNT,
    always_autocommit,
    autocommit,
    engine,
    get_engine,
    make_engine,
    scoped,
    serialized,
    session_factory,
    unbound,
)
from models import Item
from sqlalchemy import JSON, cast, literal, select, text
from sqlalchemy.engine import Engine
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine

pytestmark = pytest.mark.asyncio
TWICE = pytest.mark.parametrize("time", ["first", "second"])


@TWICE
async def test_objects_and_fixtures_share_a_database(db: AsyncSession, time: str) -> None:
    async with session_factory.begin() as session:
        session.add(Item(name="a"))
    async with engine.begin() as connection:
        assert (await connection.execute(COUNT)).scalar_one() == 1
    assert (await db.execute(select(Item.id))).scalar_one() == 1


@TWICE
async def test_objects_alone(time: str) -> None:
    async with session_factory.begin() as session:
        assert (await session.execute(COUNT)).scalar_one() == 0
        item = Item(name="a")
        session.add(item)
    assert item.id == 1, "expire_on_commit is the application's, and ids start again"


@TWICE
async def test_every_other_kind_of_object(time: str) -> None:
    async with unbound.begin() as session:
        session.add(Item(name="unbound"))
    scoped().add(Item(name="scoped"))
    await scoped.commit()
    await scoped.remove()
    async with get_engine().connect() as connection:
        assert (await connection.execute(COUNT)).scalar_one() == 2
    assert get_engine() is get_engine()


async def test_types_are_what_they_were() -> None:
    assert isinstance(engine, AsyncEngine)
    assert isinstance(engine.sync_engine, Engine)
    assert type(engine.sync_engine).__name__ == "Engine"


async def test_url_is_that_of_the_tests() -> None:
    name = engine.url.database
    assert name is not None
    assert name.startswith("dbt_")
    async with engine.connect() as connection:
        assert (await connection.execute(text("SELECT current_database()"))).scalar_one() == name
    other = create_async_engine(engine.url)
    assert other.url == engine.url
    assert "production" not in repr(engine)


@TWICE
async def test_engine_that_a_lifespan_disposes_of(time: str) -> None:
    for _ in "ab":
        async with session_factory.begin() as session:
            await session.execute(COUNT)
        await engine.dispose()
    await engine.dispose(close=False)
    async with session_factory() as session:
        assert (await session.execute(COUNT)).scalar_one() == 0


@TWICE
async def test_copies_by_execution_options(time: str) -> None:
    for copy in (autocommit, engine.execution_options(isolation_level="AUTOCOMMIT")):
        async with copy.connect() as connection:
            await connection.execute(text("INSERT INTO item (name) VALUES (gen_random_uuid())"))
    async with session_factory() as session:
        assert (await session.execute(COUNT)).scalar_one() == 2


@TWICE
async def test_options_of_the_engine_hold(time: str) -> None:
    del serialized[:]
    async with always_autocommit.connect() as connection:
        await connection.execute(text("INSERT INTO item (name) VALUES ('kept')"))
        await connection.rollback()
        assert (await connection.execute(COUNT)).scalar_one() == 1
        value = select(cast(literal({"a": 1}, JSON), JSON))
        assert (await connection.execute(value)).scalar_one() == "serialized"
    assert serialized == [{"a": 1}]
    assert always_autocommit.echo is True


@TWICE
async def test_connect_listeners_prepare_the_connections_of_each_test(time: str) -> None:
    async with engine.connect() as connection:
        zone = (await connection.execute(text("SHOW TIME ZONE"))).scalar_one()
    assert zone == "Asia/Kathmandu"


@TWICE
async def test_lost_connections_block_nobody(time: str) -> None:
    async with asyncio.timeout(30):
        for _ in range(50):
            LOST.append(await engine.connect())
            await LOST[-1].execute(COUNT)


LOST: list[AsyncConnection] = []


@TWICE
async def test_engines_that_a_factory_makes(time: str) -> None:
    made = make_engine()
    async with made.begin() as connection:
        await connection.execute(text("INSERT INTO item (name) VALUES ('a')"))
    assert made is not make_engine()
    async with asyncio.timeout(30), session_factory() as session:
        assert (await session.execute(COUNT)).scalar_one() == 1
        lost = [await made.connect() for _ in range(50)]
    for connection in lost:
        await connection.close()
    await made.dispose()


@TWICE
async def test_engine_made_at_start_up_and_handed_to_a_sessionmaker(time: str) -> None:
    unbound.configure(bind=create_async_engine("postgresql+asyncpg://elsewhere.invalid/x"))
    async with unbound.begin() as session:
        session.add(Item(name="a"))
    async with engine.connect() as connection:
        assert (await connection.execute(COUNT)).scalar_one() == 1
