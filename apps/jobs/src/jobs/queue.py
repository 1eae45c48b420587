"""The queue: PgQueuer's tables, to which jobs are added in the caller's own transaction.

Workers learn of a job when that transaction commits, by NOTIFY; none of it remains if it does not.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import cast

import asyncpg
from pgqueuer.db import AsyncpgDriver
from pgqueuer.queries import Queries
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

_PRUNE_LOG = text(
    "DELETE FROM pgqueuer_log AS entry WHERE created < :before"
    " AND NOT EXISTS (SELECT FROM pgqueuer WHERE id = entry.job_id)"
)
_PRUNE_STATISTICS = text("DELETE FROM pgqueuer_statistics WHERE created < :before")


class JobName(StrEnum):
    """Name what workers do (PgQueuer's entrypoints)."""

    FAN_OUT = "fan_out"
    DELIVER = "deliver"


async def enqueue(session: AsyncSession, name: JobName, ids: Sequence[int]) -> None:
    """Add one job for each of `ids`, in the session's transaction."""
    if not ids:
        return
    raw = await (await session.connection()).get_raw_connection()
    connection = cast("asyncpg.Connection", raw.driver_connection)
    if not connection.is_in_transaction():
        # SQLAlchemy begins with its own first statement; the driver by itself would commit each.
        await session.execute(text("SELECT"))
    await Queries(AsyncpgDriver(connection)).enqueue(
        [name] * len(ids), [str(id_).encode() for id_ in ids], [0] * len(ids)
    )


async def prune(session: AsyncSession, before: datetime) -> None:
    """Delete what was logged before a moment, of jobs that have left the queue, and then counted.

    PgQueuer itself keeps several rows of each job for ever, and one of each second with jobs.
    """
    for statement in (_PRUNE_LOG, _PRUNE_STATISTICS):
        await session.execute(statement, {"before": before})
