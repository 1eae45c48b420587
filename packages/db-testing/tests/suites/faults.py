"""Three tests, the second of which meets what FAULT says."""

import os
from collections.abc import Callable
from datetime import timedelta

from models import Item
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession


async def used(db: AsyncSession) -> None:
    """Find the database clean, and leave a row in it."""
    assert (await db.execute(select(func.count()).select_from(Item))).scalar_one() == 0
    db.add(Item(name="a"))
    await db.commit()


async def test_before(db: AsyncSession) -> None:
    await used(db)


async def test_fault(db: AsyncSession, fault: Callable[[], None]) -> None:
    await used(db)
    if os.environ["FAULT"] == "full disk":
        # Without a log, which the server could not write either: then it would end itself.
        await db.execute(
            text(
                "CREATE UNLOGGED TABLE filler AS SELECT n || repeat('x', 1000) "
                "FROM generate_series(1, 1000000) AS n"
            )
        )
    before = (await db.execute(text("SELECT clock_timestamp()"))).scalar_one()
    fault()
    if os.environ["FAULT"] == "clock that jumps":
        now = (await db.execute(text("SELECT clock_timestamp()"))).scalar_one()
        assert abs(now - before) > timedelta(days=1)
    if os.environ["FAULT"] != "killed after its last statement":
        await db.execute(select(Item))


async def test_after(db: AsyncSession) -> None:
    await used(db)
