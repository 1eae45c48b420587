"""A test that `auto` moves to commit isolation; to write its marker, an extra is needed."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


async def test_listens(db_connection: AsyncConnection) -> None:
    await db_connection.execute(text("LISTEN news"))
