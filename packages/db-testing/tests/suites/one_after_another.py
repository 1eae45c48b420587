"""Isolations take turns, and fixtures of a class read between them; in this order."""

import asyncpg
import psycopg
import pytest
import pytest_asyncio
from models import Item
from sqlalchemy import Engine, func, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

COUNT = select(func.count()).select_from(Item)
PID = text("SELECT pg_backend_pid()")


async def terminate(url: str, process: int) -> None:
    options = dict(make_url(url).query)
    connection = await asyncpg.connect(
        user="postgres", host=str(options["host"]), database=make_url(url).database
    )
    assert await connection.fetchval("SELECT pg_terminate_backend($1, 5000)", process)
    await connection.close()


@pytest_asyncio.fixture(scope="class")
async def read(db_engine: AsyncEngine) -> None:
    async with db_engine.connect() as connection:
        await connection.execute(COUNT)


@pytest.fixture(scope="class")
def read_synchronously(db_sync_engine: Engine) -> None:
    with db_sync_engine.connect() as connection:
        connection.execute(COUNT)


@pytest.mark.usefixtures("read")
class TestFirst:
    @pytest.mark.db(isolation="database")
    async def test_in_a_database_of_its_own(self, db: AsyncSession) -> None:
        await db.execute(text("DROP TABLE item"))
        await db.commit()


async def test_after_it(db: AsyncSession) -> None:
    assert (await db.execute(COUNT)).scalar_one() == 0


@pytest.mark.usefixtures("read")
class TestSecond:
    @pytest.mark.db(isolation="commit")
    async def test_whose_change_waits_for_no_fixture(self, db: AsyncSession) -> None:
        await db.execute(text("SET LOCAL lock_timeout = '1s'"))
        await db.execute(text("ALTER TABLE item ADD COLUMN more int"))
        await db.commit()


@pytest.mark.usefixtures("read_synchronously")
class TestThird:
    def test_of_rollback(self, db_sync: Session) -> None:
        assert db_sync.execute(COUNT).scalar_one() == 0


@pytest.mark.usefixtures("read_synchronously")
class TestFourth:
    @pytest.mark.db(isolation="commit")
    async def test_whose_change_waits_for_no_fixture(self, db: AsyncSession) -> None:
        await db.execute(text("SET LOCAL lock_timeout = '1s'"))
        await db.execute(text("ALTER TABLE item ADD COLUMN more int"))
        await db.commit()


async def test_after_that(db: AsyncSession) -> None:
    assert (await db.execute(COUNT)).scalar_one() == 0


@pytest.mark.db(isolation="commit")
async def test_whose_connection_ends(db: AsyncSession, test_database_url: str) -> None:
    db.add(Item(name="a"))
    await db.commit()
    await terminate(test_database_url, (await db.execute(PID)).scalar_one())


async def test_finds_nothing_of_it(db: AsyncSession) -> None:
    assert (await db.execute(COUNT)).scalar_one() == 0


@pytest.mark.db(isolation="commit")
def test_whose_synchronous_connection_ends(db_sync: Session, test_database_url: str) -> None:
    db_sync.add(Item(name="a"))
    db_sync.commit()
    process = db_sync.execute(PID).scalar_one()
    url = make_url(test_database_url).set(drivername="postgresql")
    with psycopg.connect(url.render_as_string(), autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(%s, 5000)", [process])


async def test_finds_nothing_of_that(db: AsyncSession) -> None:
    assert (await db.execute(COUNT)).scalar_one() == 0
