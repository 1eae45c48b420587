"""Tests for `auto`: some can be rolled back, some cannot, and some fail by themselves."""

import asyncio
import contextlib
import unittest

import pytest
from models import Item
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from db_testing.errors import SandboxError

RUNS: list[str] = []


@pytest.fixture
async def row(db: AsyncSession, request: pytest.FixtureRequest) -> Item:
    """Return a row, written anew for each attempt."""
    RUNS.append(request.node.name)
    db.add(item := Item(name="of the fixture"))
    await db.commit()
    await db.refresh(item)
    return item


async def test_fits(db: AsyncSession, row: Item) -> None:
    assert row.id == 1
    assert RUNS.count("test_fits") == 1


async def test_serializable(db_engine: AsyncEngine, row: Item) -> None:
    serializable = db_engine.execution_options(isolation_level="SERIALIZABLE")
    async with serializable.connect() as connection:
        assert (await connection.execute(select(Item.id))).scalar_one() == row.id == 1


async def test_swallowed(db_engine: AsyncEngine) -> None:
    async with db_engine.connect() as connection:
        with contextlib.suppress(SandboxError):
            await connection.execute(text("LISTEN news"))


@pytest.mark.parametrize("number", [1, 2])
async def test_parameters(db: AsyncSession, number: int) -> None:
    if number == 2:
        await db.execute(text("LISTEN news"))
    assert (await db.execute(select(func.count()).select_from(Item))).scalar_one() == 0


class TestGroup:
    async def test_two_loops(self, db_sessionmaker: async_sessionmaker[AsyncSession]) -> None:
        async def write(name: str) -> None:
            async with db_sessionmaker.begin() as session:
                session.add(Item(name=name))

        await write("here")
        await asyncio.to_thread(asyncio.run, write("there"))


class TestCase(unittest.IsolatedAsyncioTestCase):
    @pytest.fixture(autouse=True)
    def given(self, db_sessionmaker: async_sessionmaker[AsyncSession]) -> None:
        self.sessions = db_sessionmaker

    async def test_of_unittest(self) -> None:
        async with self.sessions() as session:
            await session.execute(text("LISTEN news"))


async def test_of_its_own(db: AsyncSession, row: Item) -> None:
    assert RUNS.count("test_of_its_own") == 1
    assert row.name == "something else"


@pytest.mark.db(isolation="rollback")
async def test_marked(db: AsyncSession) -> None:
    await db.execute(text("LISTEN news"))


def test_without_a_database() -> None:
    RUNS.append("pure")
    assert RUNS.count("pure") == 1
