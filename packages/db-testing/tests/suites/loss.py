"""The server is lost during a test."""

import os
import signal
from collections.abc import Callable

import pytest
from models import Item
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

PID = text("SELECT pg_backend_pid()")


async def is_clean(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        count = select(func.count()).select_from(Item)
        assert (await session.execute(count)).scalar_one() == 0
        session.add(item := Item(name="a"))
        await session.commit()
        await session.refresh(item)
        assert item.id == 1


@pytest.mark.parametrize("time", [1, 2])
async def test_clean_before(db_engine: AsyncEngine, time: int) -> None:
    await is_clean(db_engine)


async def test_terminated(db: AsyncSession) -> None:
    db.add(Item(name="b"))
    await db.flush()
    os.kill((await db.execute(PID)).scalar_one(), signal.SIGTERM)
    await db.commit()
    await db.execute(PID)


async def test_crash(db: AsyncSession) -> None:
    db.add(Item(name="b"))
    await db.flush()
    os.kill((await db.execute(PID)).scalar_one(), signal.SIGKILL)
    await db.commit()
    await db.execute(PID)


async def test_restart(db: AsyncSession, restart: Callable[[], None]) -> None:
    db.add(Item(name="b"))
    await db.flush()
    restart()
    await db.execute(PID)


@pytest.mark.parametrize("time", [1, 2])
async def test_clean_after(db_engine: AsyncEngine, time: int) -> None:
    await is_clean(db_engine)
