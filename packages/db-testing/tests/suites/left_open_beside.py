"""Tests that use the sandbox leave a transaction open on another connection."""

from collections.abc import AsyncIterator
from typing import TypeAlias

import asyncpg
import pytest_asyncio
from models import Item
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncSession

Plain: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
KEPT: list[Plain] = []


async def connect(url: str, name: str) -> Plain:
    options = dict(make_url(url).query)
    return await asyncpg.connect(
        user="postgres",
        host=str(options["host"]),
        database=make_url(url).database,
        server_settings={"application_name": name},
    )


@pytest_asyncio.fixture(scope="session")
async def older(test_database_url: str) -> AsyncIterator[Plain]:
    connection = await connect(test_database_url, "the older one")
    yield connection
    connection.terminate()


async def test_older_is_idle(db: AsyncSession, older: Plain) -> None:
    db.add(Item(name="a"))
    await db.commit()
    assert await older.fetchval("SELECT count(*) FROM item") == 0


async def test_older(db: AsyncSession, older: Plain) -> None:
    db.add(Item(name="a"))
    await db.commit()
    await older.execute("BEGIN")
    await older.fetch("SELECT FROM item")


async def test_newer(db: AsyncSession, test_database_url: str) -> None:
    db.add(Item(name="a"))
    await db.commit()
    connection = await connect(test_database_url, "the newer one")
    await connection.execute("BEGIN")
    await connection.fetch("SELECT FROM item")
    KEPT.append(connection)
