"""The fixtures work together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession


async def test_session(db: AsyncSession) -> None:
    """A session reaches the worker's database."""
    name = (await db.execute(text("SELECT current_database()"))).scalar_one()
    assert name.startswith("dbt_")
