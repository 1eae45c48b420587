"""Each kind of thing is left by the first time and must be gone the second; in this order."""

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING

import asyncpg
import psycopg
import pytest
from models import Item
from sqlalchemy import select, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_sessionmaker

from db_testing.errors import SandboxRefusedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytestmark = pytest.mark.db(isolation="commit")
TWICE = pytest.mark.parametrize("time", ["first", "second"])
PIDS: set[int] = set()
OIDS: set[int] = set()
PID = text("SELECT pg_backend_pid()")
OID = text("SELECT oid FROM pg_database WHERE datname = current_database()")
WRITE = """
import asyncio, sys, asyncpg

async def main():
    connection = await asyncpg.connect(sys.argv[1])
    await connection.execute("INSERT INTO item (name) VALUES ('of another process')")
    {after}

asyncio.run(main())
"""


async def first_id(session: AsyncSession) -> int:
    assert (await session.execute(select(Item))).first() is None
    session.add(item := Item(name="a"))
    await session.flush()
    number = item.id
    await session.commit()
    return number


@pytest.mark.parametrize("time", range(5))
async def test_connections_outlive_tests(db: AsyncSession, time: int) -> None:
    assert await first_id(db) == 1
    PIDS.add((await db.execute(PID)).scalar_one())
    OIDS.add((await db.execute(OID)).scalar_one())
    assert (len(PIDS), len(OIDS)) == (1, 1)


@TWICE
async def test_nothing_of_a_session_survives(db_engine: AsyncEngine, time: str) -> None:
    async with db_engine.connect() as connection:
        autocommit = await connection.execution_options(isolation_level="AUTOCOMMIT")
        show = "SELECT current_setting('work_mem'), current_setting('my.own', true), current_user"
        assert (await autocommit.execute(text(show))).one() == ("4MB", None, "postgres")
        look = "SELECT (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 9)"
        assert (await autocommit.execute(text(look))).scalar_one() == 0
        for statement in (
            "SET work_mem = '1MB'",
            "SELECT set_config('my.own', 'x', false)",
            "SELECT pg_advisory_lock(9)",
            "CREATE TEMP TABLE scratch (a int)",
            "PREPARE mine AS SELECT 1",
            "LISTEN news",
            "SELECT nextval('item_id_seq')",
            "SET ROLE pg_monitor",
        ):
            await autocommit.execute(text(statement))


@TWICE
async def test_codec_of_a_test(db_engine: AsyncEngine, time: str) -> None:
    async with db_engine.connect() as connection:
        assert (await connection.execute(text("SELECT 1::int8"))).scalar_one() == 1
        driver = (await connection.get_raw_connection()).driver_connection
        assert isinstance(driver, asyncpg.Connection)
        await driver.set_type_codec(
            "int8", schema="pg_catalog", encoder=str, decoder=lambda value: f"<{value}>"
        )
        assert await driver.fetchval("SELECT 2::int8") == "<2>"


@TWICE
async def test_schema_that_a_test_changes(db: AsyncSession, time: str) -> None:
    await db.execute(text("ALTER TABLE item ADD COLUMN more int"))
    await db.commit()


@TWICE
async def test_process_of_the_test(db: AsyncSession, test_database_url: str, time: str) -> None:
    url = make_url(test_database_url).set(drivername="postgresql")
    command = [sys.executable, "-c", WRITE.format(after="await connection.close()")]
    shown = url.render_as_string(hide_password=False)
    process = await asyncio.create_subprocess_exec(*command, shown)
    assert await asyncio.wait_for(process.wait(), 60) == 0
    assert [item.id for item in (await db.execute(select(Item))).scalars()] == [1]


@pytest.fixture(scope="module")
def process(test_database_url: str) -> "Iterator[subprocess.Popen[str]]":
    """Return a process that writes whenever it is told to, and keeps its connection."""
    url = make_url(test_database_url).set(drivername="postgresql")
    after = (
        "print('done', flush=True)\n"
        "    for line in sys.stdin:\n"
        "        await connection.execute(\"INSERT INTO item (name) VALUES ('again')\")\n"
        "        print('done', flush=True)"
    )
    running = subprocess.Popen(
        [
            sys.executable,
            "-c",
            WRITE.format(after=after),
            url.render_as_string(hide_password=False),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    yield running
    running.communicate(timeout=60)


@pytest.mark.parametrize("time", range(3))
async def test_process_of_a_fixture(
    db: AsyncSession, process: "subprocess.Popen[str]", time: int
) -> None:
    assert process.stdout is not None
    assert process.stdin is not None
    if time:
        process.stdin.write("\n")
        process.stdin.flush()
    assert process.stdout.readline() == "done\n"
    assert [item.id for item in (await db.execute(select(Item))).scalars()] == [1]


@pytest.fixture(scope="module")
async def held(db_engine: AsyncEngine) -> "AsyncIterator[AsyncConnection]":
    """Return a connection that outlives tests."""
    async with db_engine.connect() as connection:
        yield await connection.execution_options(isolation_level="AUTOCOMMIT")


@TWICE
async def test_connection_of_a_fixture(db: AsyncSession, held: AsyncConnection, time: str) -> None:
    db.add(Item(name="a"))
    await db.commit()
    assert [row.id for row in await held.execute(select(Item.id))] == [1]
    with pytest.raises(SandboxRefusedError, match="on a connection opened then"):
        await held.execute(text("INSERT INTO item (name) VALUES ('held')"))


async def test_stranger_left_in_a_transaction(test_database_url: str) -> None:
    url = make_url(test_database_url).set(drivername="postgresql")
    stranger = await asyncpg.connect(url.render_as_string(hide_password=False))
    await stranger.execute("BEGIN")
    await stranger.execute("LOCK TABLE item")
    KEPT.append(stranger)


KEPT: list[object] = []


async def test_stranger_left_with_a_lock(test_database_url: str) -> None:
    url = make_url(test_database_url).set(drivername="postgresql")
    stranger = await asyncpg.connect(url.render_as_string(hide_password=False))
    await stranger.execute("SELECT pg_advisory_lock(7)")
    KEPT.append(stranger)


async def test_after_the_lock(db: AsyncSession) -> None:
    assert (await db.execute(text("SELECT pg_try_advisory_lock(7)"))).scalar_one()


@pytest.fixture(scope="module")
def leader(test_database_url: str) -> "Iterator[psycopg.Connection[tuple[int]]]":
    """Return a connection of nobody's that keeps a lock."""
    url = make_url(test_database_url).set(drivername="postgresql")
    with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(8)")
        yield connection


@TWICE
def test_leader_of_a_fixture(leader: "psycopg.Connection[tuple[int]]", time: str) -> None:
    leader.execute("INSERT INTO item (name) VALUES ('of the leader')")
    assert leader.execute("SELECT count(*) FROM item").fetchone() == (1,)


async def test_after_the_stranger(db: AsyncSession) -> None:
    assert await first_id(db) == 1


async def test_task_that_still_writes(db_sessionmaker: async_sessionmaker[AsyncSession]) -> None:
    async def write() -> None:
        number = 0
        while True:
            async with db_sessionmaker.begin() as session:
                session.add(Item(name=f"{(number := number + 1)}"))

    task = asyncio.create_task(write(), name="writer")
    async with db_sessionmaker() as session:
        while (await session.execute(select(Item))).first() is None:
            await session.rollback()
    KEPT.append(task)


async def test_after_the_task(db: AsyncSession) -> None:
    assert await first_id(db) == 1


@TWICE
@pytest.mark.db(isolation="rollback")
async def test_rollback_between(db: AsyncSession, time: str) -> None:
    assert await first_id(db) == 1
