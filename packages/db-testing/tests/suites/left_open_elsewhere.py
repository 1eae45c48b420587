"""A connection that is not the sandbox's is left in a transaction."""

from typing import TypeAlias

import asyncpg
import pytest
from models import Item
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncSession

Plain: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
KEPT: list[Plain] = []


async def connect(url: str) -> Plain:
    options = dict(make_url(url).query)
    return await asyncpg.connect(
        user="postgres",
        host=str(options["host"]),
        database=make_url(url).database,
        server_settings={"application_name": "the other one"},
    )


@pytest.mark.asyncio(loop_scope="session")
async def test_lock(test_database_url: str) -> None:
    connection = await connect(test_database_url)
    await connection.execute("BEGIN")
    await connection.execute("LOCK TABLE item")
    KEPT.append(connection)


@pytest.mark.parametrize("time", [1, 2])
async def test_next(db: AsyncSession, time: int) -> None:
    db.add(item := Item(name="a"))
    await db.commit()
    await db.refresh(item)
    assert item.id == 1


@pytest.mark.asyncio(loop_scope="session")
async def test_connection_was_ended() -> None:
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
        await KEPT[0].execute("SELECT")
