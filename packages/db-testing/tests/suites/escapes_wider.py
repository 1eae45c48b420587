"""Fixtures of wider scope commit for real."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio
from models import Item
from sqlalchemy import func, select
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncSession

COUNT = select(func.count()).select_from(Item)


async def raw(url: str, *statements: str) -> None:
    options = dict(make_url(url).query)
    connection = await asyncpg.connect(
        user="postgres", host=str(options["host"]), database=make_url(url).database
    )
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


@pytest_asyncio.fixture(scope="session", autouse=True)
async def row_of_the_session(test_database_url: str) -> None:
    await raw(test_database_url, "INSERT INTO item (id, name) VALUES (101, 'session')")


@pytest_asyncio.fixture(scope="class")
async def row_of_the_class(test_database_url: str) -> AsyncIterator[None]:
    await raw(test_database_url, "INSERT INTO item (name) VALUES ('class')")
    yield
    await raw(test_database_url, "DELETE FROM item WHERE name = 'class'")


@pytest_asyncio.fixture(scope="module")
async def row_of_the_module(test_database_url: str) -> None:
    await raw(test_database_url, "INSERT INTO item (id, name) VALUES (103, 'module')")


async def test_first(db: AsyncSession) -> None:
    assert (await db.execute(COUNT)).scalar_one() == 1
    db.add(Item(name="a"))
    await db.commit()


@pytest.mark.usefixtures("row_of_the_class")
class TestClass:
    async def test_first(self, db: AsyncSession) -> None:
        assert (await db.execute(COUNT)).scalar_one() == 2
        db.add(Item(name="b"))
        await db.commit()

    async def test_second(self, db: AsyncSession) -> None:
        assert (await db.execute(COUNT)).scalar_one() == 2
        db.add(item := Item(name="b"))
        await db.commit()
        await db.refresh(item)
        assert item.id == 2  # after the row of the class


def test_late(request: pytest.FixtureRequest, db_engine: object) -> None:
    request.getfixturevalue("row_of_the_module")


async def test_escape(db: AsyncSession, test_database_url: str) -> None:
    assert (await db.execute(COUNT)).scalar_one() == 2
    await raw(test_database_url, "INSERT INTO item (name) VALUES ('a')")
