"""Tests that fail, and one after them."""

import asyncio

import pytest
from models import Item
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session

Sessions = async_sessionmaker[AsyncSession]


async def commit(sessions: Sessions, name: str) -> None:
    async with sessions.begin() as session:
        session.add(Item(name=name))


async def test_fails(db: AsyncSession, db_sessionmaker: Sessions) -> None:
    await commit(db_sessionmaker, "committed")
    db.add(Item(name="flushed"))
    await db.flush()
    pytest.fail("on purpose")


async def test_fails_after_an_error(db: AsyncSession, db_sessionmaker: Sessions) -> None:
    await commit(db_sessionmaker, "committed")
    db.add(Item(name="committed"))
    await db.flush()


async def test_fails_with_a_session_beneath(db: AsyncSession, db_sessionmaker: Sessions) -> None:
    db.add(Item(name="beneath"))
    await db.flush()
    await commit(db_sessionmaker, "committed")
    pytest.fail("on purpose")


def test_fails_synchronously(db_sync: Session) -> None:
    db_sync.add(Item(name="committed"))
    db_sync.commit()
    pytest.fail("on purpose")


def test_fails_on_a_loop_of_its_own(db_sessionmaker: Sessions) -> None:
    asyncio.run(commit(db_sessionmaker, "committed"))
    pytest.fail("on purpose")


async def test_fails_untouched(db: AsyncSession) -> None:
    pytest.fail("on purpose")


@pytest.fixture
async def broken(db_sessionmaker: Sessions) -> None:
    await commit(db_sessionmaker, "committed")
    pytest.fail("on purpose")


async def test_fails_in_a_fixture(broken: None) -> None: ...


@pytest.mark.parametrize("time", [1, 2])
async def test_passes(db: AsyncSession, time: int) -> None:
    assert list(await db.scalars(select(Item))) == []
    item = Item(name="committed")
    db.add(item)
    await db.commit()
    await db.refresh(item)
    assert item.id == 1
