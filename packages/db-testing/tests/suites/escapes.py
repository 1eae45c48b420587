"""Each first test commits for real beside the sandbox; each second one is clean."""

import asyncio
import subprocess
import sys
import threading

import asyncpg
import pytest
from models import Item
from sqlalchemy import func, select
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

COUNT = select(func.count()).select_from(Item)
INSERT = "INSERT INTO item (name) VALUES ('b')"
ENGINES: dict[str, AsyncEngine] = {}

pytestmark = pytest.mark.asyncio


async def is_clean(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        assert (await session.execute(COUNT)).scalar_one() == 0
        session.add(item := Item(name="a"))
        await session.commit()
        await session.refresh(item)
        assert item.id == 1


async def raw(url: str, *statements: str) -> None:
    options = dict(make_url(url).query)
    connection = await asyncpg.connect(
        user="postgres", host=str(options["host"]), database=make_url(url).database
    )
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def commit_by_an_engine_of_its_own(url: str) -> None:
    engine = ENGINES.setdefault(url, create_async_engine(url))
    async with AsyncSession(engine) as session:
        session.add(Item(name="b"))
        await session.commit()


async def test_second_engine(db: AsyncSession, test_database_url: str) -> None:
    await db.execute(COUNT)
    await commit_by_an_engine_of_its_own(test_database_url)


async def test_after_second_engine(db_engine: AsyncEngine) -> None:
    await is_clean(db_engine)


async def test_second_engine_again(db: AsyncSession, test_database_url: str) -> None:
    await db.execute(COUNT)
    await commit_by_an_engine_of_its_own(test_database_url)


async def test_second_engine_that_only_reads(db: AsyncSession, test_database_url: str) -> None:
    await db.execute(COUNT)
    engine = ENGINES.pop(test_database_url)
    async with engine.begin() as connection:
        assert (await connection.execute(COUNT)).scalar_one() == 0
    await engine.dispose()


async def test_in_a_thread(db: AsyncSession, test_database_url: str) -> None:
    await db.execute(COUNT)

    async def commit() -> None:
        await commit_by_an_engine_of_its_own(test_database_url)
        await ENGINES.pop(test_database_url).dispose()

    thread = threading.Thread(target=asyncio.run, args=(commit(),))
    thread.start()
    thread.join()


async def test_after_in_a_thread(db_engine: AsyncEngine) -> None:
    await is_clean(db_engine)


async def test_raw(db: AsyncSession, test_database_url: str) -> None:
    await db.execute(COUNT)
    await raw(test_database_url, INSERT, "INSERT INTO item (name) VALUES ('c')")


async def test_after_raw(db_engine: AsyncEngine) -> None:
    await is_clean(db_engine)


async def test_subprocess(db: AsyncSession, test_database_url: str) -> None:
    await db.execute(COUNT)
    program = "import asyncio, sys, test_escapes as t; asyncio.run(t.raw(sys.argv[1], t.INSERT))"
    subprocess.run([sys.executable, "-c", program, test_database_url], check=True)  # noqa: ASYNC221


async def test_after_subprocess(db_engine: AsyncEngine) -> None:
    await is_clean(db_engine)


async def test_ddl(db: AsyncSession, test_database_url: str) -> None:
    await db.execute(COUNT)
    await raw(test_database_url, "CREATE TABLE more (id integer)")


async def test_after_ddl(db_engine: AsyncEngine, test_database_url: str) -> None:
    await is_clean(db_engine)
    with pytest.raises(asyncpg.UndefinedTableError):
        await raw(test_database_url, "TABLE more")


async def test_rolled_back(db: AsyncSession, test_database_url: str) -> None:
    await db.execute(COUNT)
    await raw(test_database_url, "BEGIN", INSERT, "ROLLBACK")
    elsewhere = str(make_url(test_database_url).set(database="postgres"))
    await raw(elsewhere, "BEGIN", "SELECT pg_current_xact_id()", "COMMIT")


async def test_after_rolled_back(db_engine: AsyncEngine) -> None:
    await is_clean(db_engine)


async def test_without_the_sandbox(test_database_url: str) -> None:
    await raw(test_database_url, INSERT)


async def test_after_without_the_sandbox(db_engine: AsyncEngine) -> None:
    await is_clean(db_engine)


@pytest.mark.asyncio(loop_scope="function")
async def test_on_a_loop_of_its_own(db_engine: AsyncEngine, test_database_url: str) -> None:
    await is_clean(db_engine)
    await raw(test_database_url, INSERT)


@pytest.mark.asyncio(loop_scope="function")
async def test_after_on_a_loop_of_its_own(db_engine: AsyncEngine) -> None:
    await is_clean(db_engine)


@pytest.mark.db(isolation="commit")
async def test_commit_isolation(db_engine: AsyncEngine, test_database_url: str) -> None:
    await raw(test_database_url, INSERT)


async def test_after_commit_isolation(db_engine: AsyncEngine) -> None:
    await is_clean(db_engine)
