"""A job queue with eight workers: SKIP LOCKED, NOTIFY, and a worker whose connection is killed."""

import asyncio

import asyncpg
import pytest
from models import Item
from sqlalchemy import delete, func, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

pytestmark = pytest.mark.db(isolation="commit")
WORKERS, JOBS = 8, 40
NEXT = select(Item).order_by(Item.id).with_for_update(skip_locked=True).limit(1)


async def work(
    sessions: async_sessionmaker[AsyncSession], url: str, done: list[str], complete: asyncio.Event
) -> None:
    """Take jobs, and wait for a notification when there is none."""
    listener = await asyncpg.connect(url)
    news = asyncio.Event()
    await listener.add_listener("jobs", lambda *_: news.set())
    try:
        while not complete.is_set():
            news.clear()
            async with sessions.begin() as session:
                job = (await session.execute(NEXT)).scalar_one_or_none()
                name = job.name if job is not None else None
                if job is not None:
                    await session.execute(delete(Item).where(Item.id == job.id))
            if name is None:
                await news.wait()
                continue
            done.append(name)
            if len(done) == JOBS:
                complete.set()
                async with sessions.begin() as session:
                    await session.execute(text("NOTIFY jobs"))
    finally:
        await listener.close()


async def test_each_job_is_done_once(
    db_engine: AsyncEngine,
    db_sessionmaker: async_sessionmaker[AsyncSession],
    test_database_url: str,
) -> None:
    url = make_url(test_database_url).set(drivername="postgresql")
    shown = url.render_as_string(hide_password=False)
    done: list[str] = []
    complete = asyncio.Event()
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for _ in range(WORKERS):
            group.create_task(work(db_sessionmaker, shown, done, complete))
        for batch in range(4):
            async with db_sessionmaker.begin() as session:
                names = (f"{batch}-{number}" for number in range(JOBS // 4))
                session.add_all(Item(name=name) for name in names)
                await session.execute(text("NOTIFY jobs"))
    assert sorted(done) == sorted(f"{b}-{n}" for b in range(4) for n in range(JOBS // 4))
    async with db_engine.connect() as connection:
        assert (await connection.execute(select(func.count()).select_from(Item))).scalar_one() == 0


async def test_job_of_a_worker_that_died(
    db: AsyncSession, db_sessionmaker: async_sessionmaker[AsyncSession]
) -> None:
    db.add(Item(name="only"))
    await db.commit()
    async with db_sessionmaker() as dying, db_sessionmaker() as other:
        assert (await dying.execute(NEXT)).scalar_one().id == 1
        assert (await other.execute(NEXT)).scalar_one_or_none() is None
        pid = (await dying.execute(text("SELECT pg_backend_pid()"))).scalar_one()
        kill = text("SELECT pg_terminate_backend(:pid, 5000)")
        assert (await other.execute(kill, {"pid": pid})).scalar_one()
        assert (await other.execute(NEXT)).scalar_one().name == "only"
        with pytest.raises(DBAPIError):
            await dying.execute(NEXT)
