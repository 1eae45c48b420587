"""Jobs are added in the caller's transaction."""

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from jobs.queue import JobName, enqueue

JOBS = text("SELECT convert_from(payload, 'UTF8')::int FROM pgqueuer ORDER BY id")


async def test_a_job_is_there_when_its_transaction_commits(db: AsyncSession) -> None:
    """Each id is a job of its own."""
    await enqueue(db, JobName.DELIVER, [7, 8])
    await db.commit()
    assert (await db.scalars(JOBS)).all() == [7, 8]


async def test_no_job_is_left_of_a_transaction_that_rolls_back(
    db_sessionmaker: async_sessionmaker[AsyncSession],
) -> None:
    """Also when the session had done nothing before, so that no transaction had begun."""
    async with db_sessionmaker() as session:
        await enqueue(session, JobName.DELIVER, [7])
        await session.rollback()
        assert (await session.scalars(JOBS)).all() == []


async def test_nothing_to_add_is_nothing_done(db: AsyncSession) -> None:
    """No ids, no jobs."""
    await enqueue(db, JobName.DELIVER, [])
    assert (await db.scalars(JOBS)).all() == []


@pytest.mark.db(isolation="commit")  # LISTEN
async def test_workers_learn_of_a_job_when_its_transaction_commits(
    db_sessionmaker: async_sessionmaker[AsyncSession], db_asyncpg: asyncpg.Connection
) -> None:
    """Not before: a worker that looked earlier would find nothing."""
    heard: list[object] = []

    def hear(*notification: object) -> None:
        heard.append(notification)

    await db_asyncpg.add_listener("ch_pgqueuer", hear)
    async with db_sessionmaker() as session:
        await enqueue(session, JobName.DELIVER, [7])
        await db_asyncpg.execute("SELECT 1")  # an answer brings what has been notified along
        before = len(heard)
        await session.commit()
    await db_asyncpg.execute("SELECT 1")
    assert (before, len(heard)) == (0, 1)
    await db_asyncpg.remove_listener("ch_pgqueuer", hear)
