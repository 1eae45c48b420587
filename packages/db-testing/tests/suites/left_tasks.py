"""Each first test leaves a task behind; each second one is clean."""

# ruff: noqa: RUF006  # only the loop knows these tasks

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio
from models import Item
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

COUNT = select(func.count()).select_from(Item)
KEPT = set[asyncio.Task[None]]()
FREE = asyncio.Event()


async def until_ended() -> None:
    await asyncio.Event().wait()


@pytest_asyncio.fixture(scope="module", autouse=True)
async def worker(db_engine: AsyncEngine) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(until_ended(), name="of the module")
    yield task
    assert not task.done()
    task.cancel()


async def is_clean(engine: AsyncEngine, worker: asyncio.Task[None]) -> None:
    assert asyncio.all_tasks() - KEPT == {asyncio.current_task(), worker}
    assert not worker.done()
    async with AsyncSession(engine) as session:
        assert (await session.execute(COUNT)).scalar_one() == 0
        session.add(item := Item(name="a"))
        await session.commit()
        await session.refresh(item)
        assert item.id == 1


async def test_waiting(db: AsyncSession) -> None:
    async def listener() -> None:
        await until_ended()

    await db.execute(COUNT)
    _ = asyncio.create_task(listener(), name="waiting")


async def test_after_waiting(db_engine: AsyncEngine, worker: asyncio.Task[None]) -> None:
    await is_clean(db_engine, worker)


async def test_writing(db_sessionmaker: async_sessionmaker[AsyncSession]) -> None:
    written = asyncio.Event()

    async def writer() -> None:
        async with db_sessionmaker() as session:
            session.add(Item(name="a"))
            await session.flush()
            written.set()
            while True:
                await session.execute(COUNT)

    _ = asyncio.create_task(writer(), name="writing")
    await written.wait()


async def test_after_writing(db_engine: AsyncEngine, worker: asyncio.Task[None]) -> None:
    await is_clean(db_engine, worker)


async def test_shielded(db: AsyncSession) -> None:
    await db.execute(COUNT)

    async def outer() -> None:
        await asyncio.shield(asyncio.create_task(until_ended(), name="inside"))

    _ = asyncio.create_task(outer(), name="shielding")
    await asyncio.sleep(0)


async def test_after_shielded(db_engine: AsyncEngine, worker: asyncio.Task[None]) -> None:
    await is_clean(db_engine, worker)


async def test_stubborn(db: AsyncSession) -> None:
    await db.execute(COUNT)

    async def stubborn() -> None:
        while True:
            try:
                await until_ended()
            except asyncio.CancelledError:
                if FREE.is_set():
                    raise

    KEPT.add(asyncio.create_task(stubborn(), name="stubborn"))
    await asyncio.sleep(0)


async def test_after_stubborn(db_engine: AsyncEngine, worker: asyncio.Task[None]) -> None:
    await is_clean(db_engine, worker)
    FREE.set()
    for task in KEPT:
        task.cancel()


async def test_raising(db: AsyncSession) -> None:
    await db.execute(COUNT)

    async def raising() -> None:
        try:
            await until_ended()
        finally:
            raise ValueError("no")

    _ = asyncio.create_task(raising(), name="raising")
    await asyncio.sleep(0)


async def test_generator(db_sessionmaker: async_sessionmaker[AsyncSession]) -> None:
    async def sessions() -> AsyncIterator[AsyncSession]:
        async with db_sessionmaker() as session:
            await session.execute(COUNT)
            yield session

    async for session in sessions():
        session.add(Item(name="a"))
        await session.flush()
        break


async def test_after_generator(db_engine: AsyncEngine, worker: asyncio.Task[None]) -> None:
    await is_clean(db_engine, worker)
