"""Tests that have a database of their own each."""

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from models import Item
from sqlalchemy import func, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

PRIVATE = pytest.mark.db(isolation="database")
TWICE = pytest.mark.parametrize("time", ["first", "second"])
COUNT = select(func.count()).select_from(Item)
OTHERS = "SELECT count(*) FROM pg_class WHERE relname = 'other'"
DEAD = "SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'item'"


@PRIVATE
@TWICE
async def test_ddl_of_any_kind(db: AsyncSession, db_engine: AsyncEngine, time: str) -> None:
    await db.execute(text("CREATE TABLE other AS SELECT 1 AS one"))
    await db.execute(text("CREATE SCHEMA more"))
    await db.execute(text("CREATE PUBLICATION news FOR TABLE item"))
    await db.execute(text("ALTER TABLE item RENAME COLUMN name TO title"))
    await db.commit()
    serial = await db_engine.execution_options(isolation_level="AUTOCOMMIT").connect()
    await serial.execute(text("CREATE INDEX CONCURRENTLY titles ON item (title)"))
    await serial.execute(text("VACUUM item"))
    name = (await serial.execute(text("SELECT current_database()"))).scalar_one()
    await serial.execute(text(f'ALTER DATABASE "{name}" SET search_path TO more'))
    await serial.close()


@PRIVATE
async def test_extension(db: AsyncSession) -> None:
    assert (await db.execute(text("SELECT count(*) FROM pg_extension"))).scalar_one() == 1
    await db.execute(text("CREATE EXTENSION pg_trgm"))
    await db.commit()


@PRIVATE
@TWICE
async def test_nobody_has_touched_it(
    db_sessionmaker: async_sessionmaker[AsyncSession], time: str
) -> None:
    async with db_sessionmaker.begin() as session:
        item = Item(name="a")
        session.add(item)
        await session.flush()
        assert item.id == 1
    async with db_sessionmaker() as session:
        assert (await session.execute(text(OTHERS))).scalar_one() == 0
        assert (await session.execute(text(DEAD))).scalar_one() == 0


@PRIVATE
@TWICE
async def test_it_is_dropped_by_the_test_itself(test_database_url: str, time: str) -> None:
    url = make_url(test_database_url)
    engine = create_async_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await connection.execute(text(f'DROP DATABASE "{url.database}"'))
    await engine.dispose()


@PRIVATE
async def test_its_connections_are_terminated(db: AsyncSession, db_engine: AsyncEngine) -> None:
    await db.execute(text("SELECT 1"))
    async with db_engine.connect() as connection:
        await connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )


PROGRAM = """
import asyncio, os, asyncpg
from db_testing._server._admin import connect_options
from sqlalchemy.engine import make_url

async def main():
    connection = await asyncpg.connect(**connect_options(make_url(os.environ["URL"])))
    await connection.execute("INSERT INTO item (name) VALUES ('a'); DROP TABLE item")

asyncio.run(main())
"""


@PRIVATE
@TWICE
async def test_programs_that_take_the_url(test_database_url: str, time: str) -> None:
    environment = os.environ | {"URL": test_database_url}
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, timeout=60, env=environment)  # noqa: ASYNC221


@PRIVATE
@TWICE
def test_synchronous_code(db_sync_engine: "Engine", time: str) -> None:
    with db_sync_engine.begin() as connection:
        assert connection.execute(COUNT).scalar_one() == 0
        connection.execute(text("INSERT INTO item (name) VALUES ('a')"))
        connection.execute(text("CREATE TABLE other AS SELECT 1 AS one"))


@PRIVATE
async def test_without_a_statement(db: AsyncSession) -> None: ...


@pytest.mark.db(isolation="commit")
@TWICE
async def test_commit_beside_them(db: AsyncSession, time: str) -> None:
    assert (await db.execute(COUNT)).scalar_one() == 0
    db.add(Item(name="a"))
    await db.commit()


@TWICE
async def test_rollback_beside_them(db: AsyncSession, time: str) -> None:
    assert (await db.execute(COUNT)).scalar_one() == 0
    item = Item(name="a")
    db.add(item)
    await db.commit()
    await db.refresh(item)
    assert item.id == 1
