from collections.abc import Awaitable, Callable

import asyncpg

URL = "postgresql://production.example/jobs"


def make_pool() -> asyncpg.Pool:
    return asyncpg.create_pool(URL, min_size=1, max_size=4)


async def enqueue(pool: asyncpg.Pool, name: str) -> None:
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("INSERT INTO job (name) VALUES ($1)", name)
        await connection.execute("NOTIFY jobs")


async def work(pool: asyncpg.Pool, do: Callable[[str], Awaitable[None]]) -> None:
    """Do one job that no other worker does."""
    async with pool.acquire() as connection, connection.transaction():
        job = await connection.fetchrow(
            "SELECT id, name FROM job WHERE NOT done ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED"
        )
        if job is not None:
            await do(job["name"])
            await connection.execute("UPDATE job SET done = true WHERE id = $1", job["id"])
