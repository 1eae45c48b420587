"""What is scheduled: it runs once, however many workers there are, and although they die."""

import asyncio
import itertools
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest
from pgqueuer.models import CronExpressionEntrypoint, Schedule
from pgqueuer.queries import Queries
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from jobs.worker import Work

from .receiver import PATIENCE, REFUSED, Receiver
from .shop import Shop
from .workers import AT_ONCE, Workers

# Workers have connections of their own: what they do must really be committed.
pytestmark = pytest.mark.db(isolation="commit")

DUE = text(
    "UPDATE pgqueuer_schedules SET next_run = now() - interval '1 minute'"
    " WHERE entrypoint = 'prune'"
)
BEGUN = text(
    "UPDATE pgqueuer_schedules SET status = 'picked', heartbeat = now() - interval '1 minute'"
    " WHERE entrypoint = 'prune'"
)
DONE = text(
    "SELECT status = 'queued' AND next_run > now() FROM pgqueuer_schedules"
    " WHERE entrypoint = 'prune'"
)

LOGGED = text("SELECT job_id FROM pgqueuer_log")

Pruned = asyncio.Queue[None]


@pytest.fixture
def pruned() -> Pruned:
    """Collect what workers have pruned."""
    return asyncio.Queue()


@pytest.fixture
def counting(work: Work, pruned: Pruned) -> Work:
    """Count instead of pruning."""

    class Counting(Work):
        async def prune(self) -> None:
            pruned.put_nowait(None)

    return Counting(work.sessionmaker, work.client, work.settings)


async def test_of_several_schedulers_one_runs_what_is_due(
    counting: Work,
    pruned: Pruned,
    workers: Workers,
    db: AsyncSession,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Though all of them look for it at the same time; and it is not due again before its time."""
    async with workers.running(counting):
        pass  # makes the schedule known
    await db.execute(DUE)
    await db.commit()
    together = asyncio.Barrier(4)
    looks = itertools.count()
    fetch = Queries.fetch_schedule

    async def fetch_schedule(
        queries: Queries, schedules: dict[CronExpressionEntrypoint, timedelta]
    ) -> list[Schedule]:
        if next(looks) < together.parties:  # each one's first
            await together.wait()
        return await fetch(queries, schedules)

    monkeypatch.setattr(Queries, "fetch_schedule", fetch_schedule)
    async with AsyncExitStack() as stack:
        for _ in range(together.parties):
            await stack.enter_async_context(workers.running(counting))
        async with asyncio.timeout(PATIENCE):
            await pruned.get()
    assert pruned.empty()
    assert await db.scalar(DONE)


async def test_what_a_dead_worker_had_begun_is_begun_again(
    counting: Work, pruned: Pruned, workers: Workers, db: AsyncSession
) -> None:
    """By a worker that starts, long before the next night."""
    async with workers.running(counting):
        pass
    await db.execute(BEGUN)
    await db.commit()
    async with workers.running(counting), asyncio.timeout(PATIENCE):
        await pruned.get()


async def test_pruning_keeps_what_is_not_over(
    shop: Shop,
    work: Work,
    receiver: Receiver,
    workers: Workers,
    db: AsyncSession,
) -> None:
    """Young events, dead letters, and what has not been fanned out, stay."""
    receiver.answers = AT_ONCE.attempts * [REFUSED]
    await shop.subscribe(receiver.url)
    dead = await shop.publish(order=1)
    await workers.drain()
    delivered = await shop.publish(order=2)
    await workers.drain()
    aged = text("UPDATE events SET fanned_out_at = now() - interval '40 days'")
    await db.execute(aged)
    await db.commit()
    young = await shop.publish(order=3)
    await workers.drain()
    waiting = await shop.publish(order=4)
    await work.prune()
    left = set(await db.scalars(text("SELECT id FROM events")))
    assert left == {dead, young, waiting}
    assert delivered not in left


async def test_pruning_keeps_the_log_of_jobs_that_are_not_over(
    shop: Shop,
    work: Work,
    receiver: Receiver,
    workers: Workers,
    db: AsyncSession,
) -> None:
    """What was logged lately stays as well."""
    await shop.subscribe(receiver.url)
    await shop.publish(order=1)
    await workers.drain()
    over = set(await db.scalars(LOGGED))
    await db.execute(text("UPDATE pgqueuer_log SET created = now() - interval '40 days'"))
    await db.commit()
    await shop.publish(order=2)
    await workers.drain()
    await shop.publish(order=3)
    aged = text(
        "UPDATE pgqueuer_log SET created = now() - interval '40 days'"
        " WHERE job_id IN (SELECT id FROM pgqueuer)"
    )
    await db.execute(aged)
    await db.commit()
    logged = set(await db.scalars(LOGGED))
    await work.prune()
    left = set(await db.scalars(LOGGED))
    assert left == logged - over
    assert (len(over), len(left)) == (2, 3)


async def test_pruning_keeps_what_was_counted_lately(work: Work, db: AsyncSession) -> None:
    """PgQueuer counts the jobs of each second, for ever."""
    counted = text(
        "INSERT INTO pgqueuer_statistics (created, count, priority, status, entrypoint)"
        " SELECT now() - days * interval '1 day', days, 0, 'successful', 'deliver'"
        " FROM unnest(ARRAY[1, 29, 31, 400]) AS days"
    )
    await db.execute(counted)
    await db.commit()
    await work.prune()
    left = text("SELECT count FROM pgqueuer_statistics ORDER BY count")
    assert (await db.scalars(left)).all() == [1, 29]
