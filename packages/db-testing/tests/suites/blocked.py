"""A statement waits for a row that a connection beside the sandbox has locked."""

import asyncpg
from models import Item
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncSession


async def test_blocked(db: AsyncSession, test_database_url: str) -> None:
    url = make_url(test_database_url)
    connection = await asyncpg.connect(
        user="postgres",
        host=str(url.query["host"]),
        database=url.database,
        server_settings={"application_name": "the other one"},
    )
    try:
        await connection.execute("BEGIN")
        await connection.execute("INSERT INTO item (name) VALUES ('a')")
        db.add(Item(name="a"))
        await db.commit()
    finally:
        await connection.close()


async def test_next(db: AsyncSession) -> None:
    db.add(Item(name="a"))
    await db.commit()
