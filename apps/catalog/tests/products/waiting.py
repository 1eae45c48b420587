"""Transactions that wait for another one."""

import asyncio

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

# Not of pg_stat_activity, which a transaction sees as it was when it first looked.
_WAITING = text("""
    WITH RECURSIVE waiting AS (
        SELECT pg_backend_pid() AS pid
        UNION
        SELECT l.pid FROM pg_locks AS l JOIN waiting AS w ON w.pid = ANY (pg_blocking_pids(l.pid))
        WHERE NOT l.granted
    )
    SELECT count(*) - 1 FROM waiting
""")


async def until_waiting(session: AsyncSession, number: int = 1) -> None:
    """Return when so many wait for a session's transaction, or for one that waits for it."""
    async with asyncio.timeout(10):
        while (await session.execute(_WAITING)).scalar_one() < number:
            pass
