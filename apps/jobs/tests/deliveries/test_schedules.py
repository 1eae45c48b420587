"""What is scheduled: it runs once, however many workers there are, and although they die."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from pgqueuer.models import CronExpressionEntrypoint, Schedule
from pgqueuer.queries import Queries
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from jobs.worker import Work

from .conftest import AT_ONCE, PATIENCE, REFUSED, Receiver, Shop, Working

# Workers have connections of their own: what they do must really be committed.
pytestmark = pytest.mark.db(isolation="commit")

DUE = text("UPDATE pgqueuer_schedules SET next_run = now() - interval '1 minute'")
BEGUN = text(
    "UPDATE pgqueuer_schedules SET status = 'picked', heartbeat = now() - interval '1 minute'"
)

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


async def test_of_two_schedulers_one_runs_what_is_due(
    counting: Work,
    pruned: Pruned,
    working: Working,
    db: AsyncSession,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Though both look for it at the same time."""
    async with working(counting):
        pass  # makes the schedule known
    await db.execute(DUE)
    await db.commit()
    together = asyncio.Barrier(2)
    fetch = Queries.fetch_schedule

    async def fetch_schedule(
        queries: Queries, schedules: dict[CronExpressionEntrypoint, timedelta]
    ) -> list[Schedule]:
        await together.wait()
        return await fetch(queries, schedules)

    monkeypatch.setattr(Queries, "fetch_schedule", fetch_schedule)
    async with working(counting), working(counting), asyncio.timeout(PATIENCE):
        await pruned.get()
    assert pruned.empty()


async def test_what_a_dead_worker_had_begun_is_begun_again(
    counting: Work, pruned: Pruned, working: Working, db: AsyncSession
) -> None:
    """By the next worker that looks, long before the next night."""
    async with working(counting):
        pass
    await db.execute(BEGUN)
    await db.commit()
    async with working(counting), asyncio.timeout(PATIENCE):
        await pruned.get()


async def test_pruning_keeps_what_is_not_over(
    shop: Shop,
    work: Work,
    receiver: Receiver,
    drain: Callable[[], Awaitable[None]],
    db: AsyncSession,
) -> None:
    """Young events, dead letters, and what has not been fanned out, stay."""
    receiver.answers = AT_ONCE.attempts * [REFUSED]
    await shop.subscribe(receiver.url)
    dead = await shop.publish(order=1)
    await drain()
    delivered = await shop.publish(order=2)
    await drain()
    aged = text("UPDATE events SET fanned_out_at = now() - interval '40 days'")
    await db.execute(aged)
    await db.commit()
    young = await shop.publish(order=3)
    await drain()
    waiting = await shop.publish(order=4)
    await work.prune()
    left = set(await db.scalars(text("SELECT id FROM events")))
    assert left == {dead, young, waiting}
    assert delivered not in left
