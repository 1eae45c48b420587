from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from models import Item

from db_testing._isolation._listening import listening

if TYPE_CHECKING:
    from collections.abc import Iterator

    import asyncpg
    from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

    from db_testing._isolation._listening import Sent


@pytest.fixture
def sent(_two_rows: None) -> Iterator[list[Sent]]:
    heard: list[Sent] = []
    with listening(heard.append):
        yield heard


@pytest.fixture(autouse=True)
async def _two_rows(db: AsyncSession) -> None:
    db.add_all([Item(name="a"), Item(name="b")])
    await db.commit()


async def test_session(db: AsyncSession, sent: list[Sent]) -> None:
    await db.execute(sa.text("SELECT 1"))
    items = (await db.execute(sa.select(Item))).scalars().all()
    await db.commit()
    assert len(items) == len(sent) == 2
    assert [each.sql.split()[0] for each in sent] == ["SELECT", "SELECT"]
    assert all(__file__ in each.line and each.seconds > 0 for each in sent)


async def test_savepoints_do_not_count(db: AsyncSession, sent: list[Sent]) -> None:
    async with db.begin_nested():
        await db.execute(sa.text("SELECT 1"))
    await db.commit()
    assert len(sent) == 1


async def test_every_method_of_the_driver(
    db_asyncpg: asyncpg.Connection[asyncpg.Record], sent: list[Sent]
) -> None:
    await db_asyncpg.execute("SELECT 1")
    await db_asyncpg.fetch("SELECT 2")
    await db_asyncpg.fetchval("SELECT 3")
    await db_asyncpg.fetchrow("SELECT $1::int", 4)
    await db_asyncpg.executemany("INSERT INTO item (name) VALUES ($1)", [("c",), ("d",)])
    prepared = await db_asyncpg.prepare("SELECT 5")
    await prepared.fetchval()
    async with db_asyncpg.transaction():
        async for _ in db_asyncpg.cursor("SELECT 6"):
            pass
    await db_asyncpg.copy_records_to_table("item", records=[("e",)], columns=["name"])
    assert [each.sql for each in sent] == [
        "SELECT 1",
        "SELECT 2",
        "SELECT 3",
        "SELECT $1::int",
        "INSERT INTO item (name) VALUES ($1)",
        "SELECT 5",
        "SELECT 6",
        "COPY item FROM STDIN",
    ]


async def test_two_connections(db: AsyncSession, db_engine: AsyncEngine, sent: list[Sent]) -> None:
    async with db_engine.connect() as other:
        await db.execute(sa.text("SELECT 1"))
        await other.execute(sa.text("SELECT 2"))
    assert len(sent) == 2


async def test_statement_that_fails_counts(db: AsyncSession, sent: list[Sent]) -> None:
    with pytest.raises(sa.exc.DBAPIError):
        await db.execute(sa.text("SELECT 1 / 0"))
    await db.rollback()
    assert len(sent) == 1
