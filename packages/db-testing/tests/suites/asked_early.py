"""A fixture of the session asks through the engine, and then commits by itself, before any test."""

import asyncpg
import pytest
import pytest_asyncio
from models import Item
from sqlalchemy import func, select
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

COUNT = select(func.count()).select_from(Item)


async def raw(url: str, statement: str) -> None:
    options = dict(make_url(url).query)
    connection = await asyncpg.connect(
        user="postgres", host=str(options["host"]), database=make_url(url).database
    )
    await connection.execute(statement)
    await connection.close()


@pytest_asyncio.fixture(scope="session", autouse=True)
async def early(db_engine: AsyncEngine, test_database_url: str) -> None:
    async with db_engine.connect() as connection:
        assert (await connection.execute(COUNT)).scalar_one() == 0
    await raw(test_database_url, "INSERT INTO item (name) VALUES ('early')")


@pytest.mark.parametrize("time", ["first", "second"])
async def test_ids_go_on(db: AsyncSession, time: str) -> None:
    assert (await db.execute(COUNT)).scalar_one() == 1
    db.add(item := Item(name="a"))
    await db.flush()
    assert item.id == 2
    await db.commit()


async def test_escape(db: AsyncSession, test_database_url: str) -> None:
    assert (await db.execute(COUNT)).scalar_one() == 1
    await raw(test_database_url, "INSERT INTO item (name) VALUES ('escaped')")


async def test_after_it(db: AsyncSession) -> None:
    assert (await db.execute(COUNT)).scalar_one() == 0
