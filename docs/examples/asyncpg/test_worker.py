import asyncio

import asyncpg
from worker import enqueue, work


async def test_workers_share_the_jobs(pool: asyncpg.Pool) -> None:
    await enqueue(pool, "a")
    await enqueue(pool, "b")
    both, done = asyncio.Barrier(2), []

    async def do(name: str) -> None:
        done.append(name)
        await both.wait()  # each has a job of its own at the same time

    async with asyncio.timeout(10):
        await asyncio.gather(work(pool, do), work(pool, do))
    assert sorted(done) == ["a", "b"]


async def test_workers_are_told(pool: asyncpg.Pool) -> None:
    told = asyncio.Event()
    async with pool.acquire() as connection:
        await connection.add_listener("jobs", lambda *_: told.set())
        await enqueue(pool, "a")
        async with asyncio.timeout(10):
            await told.wait()
        await connection.reset()


async def test_the_queue_is_empty_again(pool: asyncpg.Pool) -> None:
    assert await pool.fetchval("SELECT count(*) FROM job") == 0
