"""unittest's classes, which get fixtures from pytest and bring event loops of their own."""

import asyncio
import unittest
from typing import ClassVar

import pytest
from models import Item
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

COUNT = select(func.count()).select_from(Item)


async def insert(sessions: async_sessionmaker[AsyncSession], name: str) -> int:
    async with sessions.begin() as session:
        item = Item(name=name)
        session.add(item)
        await session.flush()
        return item.id


class TestAutouse(unittest.IsolatedAsyncioTestCase):
    sessions: async_sessionmaker[AsyncSession]
    engine: AsyncEngine

    @pytest.fixture(autouse=True)
    def _inject(
        self, db_sessionmaker: async_sessionmaker[AsyncSession], db_engine: AsyncEngine
    ) -> None:
        self.sessions = db_sessionmaker
        self.engine = db_engine

    async def asyncSetUp(self) -> None:
        assert await insert(self.sessions, "set up") == 1

    async def asyncTearDown(self) -> None:
        async with self.engine.connect() as connection:
            assert (await connection.execute(COUNT)).scalar_one() == 2

    async def test_first(self) -> None:
        assert await insert(self.sessions, "a") == 2

    async def test_second(self) -> None:
        assert await insert(self.sessions, "a") == 2

    @pytest.mark.db(isolation="commit")
    async def test_commit(self) -> None:
        assert await insert(self.sessions, "a") == 2


class TestSession(unittest.IsolatedAsyncioTestCase):
    session: AsyncSession

    @pytest.fixture(autouse=True)
    def _inject(self, db: AsyncSession) -> None:
        self.session = db

    async def test_first(self) -> None:
        self.session.add(Item(name="a"))
        await self.session.commit()
        assert (await self.session.execute(select(Item.id))).scalar_one() == 1

    async def test_second(self) -> None:
        await self.test_first()


@pytest.fixture(scope="class")
def sessions_of_class(
    request: pytest.FixtureRequest, db_sessionmaker: async_sessionmaker[AsyncSession]
) -> None:
    request.cls.sessions = db_sessionmaker


@pytest.mark.usefixtures("sessions_of_class")
class TestUseFixtures(unittest.IsolatedAsyncioTestCase):
    sessions: ClassVar[async_sessionmaker[AsyncSession]]

    async def test_first(self) -> None:
        assert await insert(self.sessions, "a") == 1

    async def test_second(self) -> None:
        assert await insert(self.sessions, "a") == 1


@pytest.mark.usefixtures("sessions_of_class")
class TestPlainClass(unittest.TestCase):
    sessions: ClassVar[async_sessionmaker[AsyncSession]]

    def test_first(self) -> None:
        assert asyncio.run(insert(self.sessions, "a")) == 1

    def test_second(self) -> None:
        assert asyncio.run(insert(self.sessions, "a")) == 1
