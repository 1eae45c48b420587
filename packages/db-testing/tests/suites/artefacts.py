"""Tests whose outcome depends on what undoes them: the clock stands still where nothing commits."""

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession


async def _clock_moves(db: AsyncSession) -> bool:
    times = []
    for _ in range(2):
        times.append((await db.execute(text("SELECT now()"))).scalar_one())
        await db.commit()
    first, second = times
    return bool(first < second)


async def test_only_rolled_back(db: AsyncSession) -> None:
    assert not await _clock_moves(db)


async def test_only_committed(db: AsyncSession) -> None:
    assert await _clock_moves(db)


async def test_either_way(db: AsyncSession) -> None:
    assert (await db.execute(text("SELECT 1"))).scalar_one() == 1


async def test_neither_way(db: AsyncSession) -> None:
    assert (await db.execute(text("SELECT 1"))).scalar_one() == 2


@pytest.fixture
async def stopped_clock(db: AsyncSession) -> None:
    assert not await _clock_moves(db)


async def test_of_a_fixture(stopped_clock: None) -> None:
    pass


@pytest.mark.db(isolation="commit")
async def test_marked(db: AsyncSession) -> None:
    assert await _clock_moves(db)


def test_without_a_database() -> None:
    pass
