"""Tests that need real transactions."""

import asyncio
from typing import TYPE_CHECKING

import pytest
from models import Item
from sqlalchemy import func, insert, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)

if TYPE_CHECKING:
    import asyncpg

pytestmark = [pytest.mark.asyncio, pytest.mark.db(isolation="commit")]
TWICE = pytest.mark.parametrize("time", ["first", "second"])
COUNT = select(func.count()).select_from(Item)


@TWICE
async def test_connections_see_each_others_commits_only(
    db: AsyncSession, db_connection: AsyncConnection, time: str
) -> None:
    db.add(Item(name="a"))
    await db.flush()
    assert (await db_connection.execute(COUNT)).scalar_one() == 0
    await db.commit()
    assert (await db_connection.execute(COUNT)).scalar_one() == 1
    assert (await db.execute(select(Item.id))).scalar_one() == 1


@TWICE
async def test_notifications_arrive(
    db_asyncpg: "asyncpg.Connection[asyncpg.Record]", db_engine: AsyncEngine, time: str
) -> None:
    heard: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    await db_asyncpg.add_listener("news", lambda *message: heard.set_result(str(message[3])))
    async with db_engine.begin() as connection:
        await connection.execute(text("NOTIFY news, 'hello'"))
    assert await asyncio.wait_for(heard, 10) == "hello"


@TWICE
async def test_serializable_transactions_fail_as_in_production(
    db_engine: AsyncEngine, time: str
) -> None:
    serializable = db_engine.execution_options(isolation_level="SERIALIZABLE")

    async def add_if_none(name: str) -> int:
        """Add an item if there is none; return how many attempts that took."""
        for attempt in range(1, 4):
            try:
                async with serializable.begin() as connection:
                    if (await connection.execute(COUNT)).scalar_one() == 0:
                        await asyncio.wait_for(both_have_looked.wait(), 10)
                        await connection.execute(insert(Item).values(name=name))
            except DBAPIError as error:
                if getattr(error.orig, "sqlstate", None) != "40001":
                    raise
            else:
                return attempt
        raise AssertionError

    both_have_looked = asyncio.Barrier(2)
    assert sorted(await asyncio.gather(add_if_none("a"), add_if_none("b"))) == [1, 2]


@TWICE
async def test_deferred_triggers_run_at_the_commit(db: AsyncSession, time: str) -> None:
    await db.execute(
        text(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'at the commit'; END $$"
        )
    )
    await db.execute(
        text(
            "CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON item DEFERRABLE INITIALLY DEFERRED"
            " FOR EACH ROW EXECUTE FUNCTION refuse()"
        )
    )
    db.add(Item(name="a"))
    await db.flush()
    with pytest.raises(DBAPIError, match="at the commit"):
        await db.commit()


@TWICE
async def test_one_of_several_engines_leads(
    db_engine: AsyncEngine, test_database_url: str, time: str
) -> None:
    lead, release = select(func.pg_try_advisory_lock(7)), select(func.pg_advisory_unlock(7))
    other = create_async_engine(test_database_url)
    async with db_engine.connect() as one, other.connect() as two:
        assert (await one.execute(lead)).scalar_one()
        assert not (await two.execute(lead)).scalar_one()
        await one.execute(release)
        assert (await two.execute(lead)).scalar_one()  # which ends with its connection
    await other.dispose()


@TWICE
async def test_time_moves_on(db: AsyncSession, time: str) -> None:
    first = (await db.execute(select(func.now()))).scalar_one()
    await db.commit()
    assert (await db.execute(select(func.now()))).scalar_one() > first


@TWICE
async def test_connection_that_the_test_lost(
    db_sessionmaker: async_sessionmaker[AsyncSession], time: str
) -> None:
    session = db_sessionmaker()
    session.add(Item(name="a"))
    await session.flush()
    KEPT.append(session)


KEPT: list[AsyncSession] = []


@pytest.mark.db(isolation="rollback")
async def test_closest_marker_decides(db: AsyncSession) -> None:
    assert (await db.execute(COUNT)).scalar_one() == 0
    db.add(Item(name="a"))
    await db.commit()
    assert (await db.execute(select(Item.id))).scalar_one() == 1
