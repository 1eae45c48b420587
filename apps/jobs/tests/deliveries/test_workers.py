"""Workers: jobs are done once, soon, in spite of failures, and by whoever lives."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta

import pytest
from pgqueuer.adapters.drivers.asyncpg import AsyncpgPoolDriver
from pgqueuer.ports.driver import NotifyCallback
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from jobs.deliveries.models import DeliveryState
from jobs.events import service as events
from jobs.settings import DeliverySettings
from jobs.worker import UNFORESEEN, Work

from .receiver import PATIENCE, REFUSED, Receiver
from .shop import Shop
from .workers import AT_ONCE, Workers

# Workers have connections of their own: what they do must really be committed.
pytestmark = pytest.mark.db(isolation="commit")

# Not of pg_stat_activity, which a transaction sees as it was when it first looked.
CUT_OFF = text(
    "SELECT count(pg_terminate_backend(pid)) FROM pg_locks"
    " WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
)


async def _states(shop: Shop) -> set[DeliveryState]:
    return {delivery.state for delivery in await shop.deliveries()}


async def test_an_event_reaches_its_receiver(
    shop: Shop, receiver: Receiver, workers: Workers
) -> None:
    """From the commit that published it to the receiver, by two jobs."""
    await shop.subscribe(receiver.url)
    await shop.publish(order=1)
    await workers.drain()
    assert [received.data for received in receiver.received()] == [{"order": 1}]
    assert await _states(shop) == {DeliveryState.DELIVERED}


async def test_what_was_rolled_back_reaches_nobody(
    shop: Shop, receiver: Receiver, workers: Workers, db: AsyncSession
) -> None:
    """There is no event, and no job."""
    await shop.subscribe(receiver.url)
    await events.publish(db, "order.placed", {})
    await db.rollback()
    await workers.drain()
    assert receiver.received() == []


async def test_a_waiting_worker_is_woken(shop: Shop, receiver: Receiver, workers: Workers) -> None:
    """By NOTIFY: by itself it would look in ten minutes, which is beyond patience."""
    await shop.subscribe(receiver.url)
    async with workers.running(poll=timedelta(minutes=10)):
        for order in range(3):
            await shop.publish(order=order)
            assert (await receiver.next_request()).data == {"order": order}


async def test_a_failed_delivery_is_sent_again(
    shop: Shop, receiver: Receiver, workers: Workers
) -> None:
    """Until it is accepted."""
    receiver.answers = 2 * [REFUSED]
    await shop.subscribe(receiver.url)
    await shop.publish()
    await workers.drain()
    assert len(receiver.received()) == 3
    assert await _states(shop) == {DeliveryState.DELIVERED}


async def test_attempts_end_in_a_dead_letter(
    shop: Shop, receiver: Receiver, workers: Workers
) -> None:
    """And the queue is empty."""
    receiver.answers = 10 * [REFUSED]
    await shop.subscribe(receiver.url)
    await shop.publish()
    await workers.drain()
    assert len(receiver.received()) == AT_ONCE.attempts
    assert await _states(shop) == {DeliveryState.DEAD}


async def test_the_next_attempt_waits_for_its_time(
    shop: Shop, receiver: Receiver, workers: Workers, work: Work, db: AsyncSession
) -> None:
    """The queue keeps it until then; no worker does."""
    receiver.answers = [REFUSED]
    await shop.subscribe(receiver.url)
    await shop.publish()
    patient = DeliverySettings(first_delay=timedelta(minutes=5))
    async with workers.running(replace(work, settings=patient)):
        await receiver.next_request()
    waits = text("SELECT execute_after - updated FROM pgqueuer WHERE status = 'queued'")
    assert (await db.scalars(waits)).all() == [timedelta(minutes=5)]


async def test_eight_workers_do_each_job_once(
    shop: Shop, receiver: Receiver, workers: Workers
) -> None:
    """Whoever takes it locks it; the others skip it."""
    await shop.subscribe(receiver.url)
    async with AsyncExitStack() as stack:
        for _ in range(8):
            await stack.enter_async_context(workers.running())
        orders = set(range(40))
        for first in range(0, 40, 8):  # each publisher has a connection
            some = range(first, first + 8)
            await asyncio.gather(*(shop.publish(order=order) for order in some))
        received = [await receiver.next_request() for _ in orders]
    assert {each.data["order"] for each in received} == orders
    assert receiver.received() == []
    assert await _states(shop) == {DeliveryState.DELIVERED}


async def test_a_worker_ends_what_it_has_begun(
    shop: Shop, receiver: Receiver, workers: Workers
) -> None:
    """It is told to stop while the receiver thinks."""
    receiver.may_answer.clear()
    await shop.subscribe(receiver.url)
    await shop.publish()
    async with workers.running() as worker:
        await receiver.next_request()
        worker.shutdown.set()
        receiver.may_answer.set()
    assert await _states(shop) == {DeliveryState.DELIVERED}


async def test_a_worker_listens_before_it_asks_whether_it_hears(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A question that came first would be heard by nobody, and end a worker that is well."""
    did: list[str] = []
    asked = asyncio.Event()
    add_listener, notify = AsyncpgPoolDriver.add_listener, AsyncpgPoolDriver.notify

    async def listens(driver: AsyncpgPoolDriver, channel: str, callback: NotifyCallback) -> None:
        await add_listener(driver, channel, callback)
        did.append("listens")

    async def asks(driver: AsyncpgPoolDriver, channel: str, payload: str) -> None:
        did.append("asks")
        asked.set()
        await notify(driver, channel, payload)

    monkeypatch.setattr(AsyncpgPoolDriver, "add_listener", listens)
    monkeypatch.setattr(AsyncpgPoolDriver, "notify", asks)
    async with workers.running(), asyncio.timeout(PATIENCE):
        await asked.wait()
    assert did[0] == "listens"


async def test_a_delivery_whose_answer_cannot_be_recorded_is_sent_again(
    shop: Shop, receiver: Receiver, workers: Workers, db: AsyncSession
) -> None:
    """The worker loses its connection after the receiver's work; it has the effect once."""
    await shop.subscribe(receiver.url)
    receiver.may_answer.clear()
    async with workers.running():
        await shop.publish()
        first = await receiver.next_request()
        # The worker waits for this lock, and is cut off.
        await db.execute(text("SELECT FROM deliveries FOR UPDATE"))
        receiver.may_answer.set()
        async with asyncio.timeout(PATIENCE):
            while not await db.scalar(CUT_OFF):
                pass  # the query has waited
        await db.rollback()
        second = await receiver.next_request()
    assert first.id == second.id
    assert receiver.effects == {first.id}
    assert await _states(shop) == {DeliveryState.DELIVERED}


async def test_an_event_that_could_not_be_fanned_out_is_fanned_out_later(
    shop: Shop, receiver: Receiver, workers: Workers, db: AsyncSession
) -> None:
    """A worker that loses its connection meanwhile tries again."""
    await shop.subscribe(receiver.url)
    event = await shop.publish()
    await db.execute(text("SELECT FROM events FOR UPDATE"))
    async with workers.running():
        async with asyncio.timeout(PATIENCE):
            while not await db.scalar(CUT_OFF):
                pass  # the query has waited
        await db.rollback()
        await receiver.next_request()
    (delivery,) = await shop.deliveries()
    assert delivery.event_id == event


async def test_a_job_that_fails_is_no_end_of_its_worker(
    shop: Shop, receiver: Receiver, workers: Workers, db: AsyncSession
) -> None:
    """What a bug has broken is tried again, then held with its traceback; other jobs are done."""
    broken = text(
        "INSERT INTO pgqueuer (priority, status, entrypoint, payload)"
        " VALUES (0, 'queued', 'deliver', 'no number')"
    )
    await db.execute(broken)
    await db.commit()
    await shop.subscribe(receiver.url)
    await shop.publish()
    await workers.drain()
    assert len(receiver.received()) == 1
    held = text("SELECT attempts FROM pgqueuer WHERE status = 'failed'")
    assert (await db.scalars(held)).one() == AT_ONCE.attempts + UNFORESEEN
    failed = text("SELECT traceback ->> 'exception_type' FROM pgqueuer_log WHERE status = 'failed'")
    assert (await db.scalars(failed)).one() == "ValueError"
