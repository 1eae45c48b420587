"""The API and its workers as processes, which are killed."""

import asyncio
import signal
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

import pytest
from httpx import AsyncClient
from pgqueuer.models import CronExpressionEntrypoint, Schedule
from pgqueuer.queries import Queries
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from jobs.deliveries.models import DeliveryState
from jobs.worker import Work

from .receiver import PATIENCE, Receiver
from .shop import Shop
from .workers import Workers

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.db(isolation="commit"),  # processes have connections of their own
]

KEY = "a key for tests"
LEASE = timedelta(seconds=0.5)

BLOCKED = text(
    "SELECT count(*) FROM pg_locks"
    " WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
)


@pytest.fixture
def environment(test_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lead processes to the test's database; a dead worker's jobs are taken over soon."""
    monkeypatch.setenv("JOBS_DATABASE_URL", test_database_url.replace("+asyncpg", ""))
    monkeypatch.setenv("JOBS_API_KEY", KEY)
    monkeypatch.setenv("JOBS_LEASE", f"PT{LEASE.total_seconds()}S")
    # Each worker has two pools of this size, and all runs on a machine share a server.
    monkeypatch.setenv("JOBS_CONCURRENCY", "4")
    monkeypatch.setenv("JOBS_POLL", "PT0.1S")
    monkeypatch.setenv("JOBS_DELIVERY_FIRST_DELAY", "PT0S")
    monkeypatch.setenv("JOBS_DELIVERY_TIMEOUT", f"PT{PATIENCE}S")


@asynccontextmanager
async def _process(*arguments: str, inherits: Sequence[int] = ()) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        stderr=asyncio.subprocess.PIPE,
        pass_fds=inherits,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def _said(process: Process, what: bytes) -> None:
    """Wait until a process has logged something."""
    assert process.stderr is not None
    async with asyncio.timeout(PATIENCE):
        while what not in (line := await process.stderr.readline()):
            assert line, f"the process has ended with {await process.wait()}"


@asynccontextmanager
async def _worker() -> AsyncIterator[Process]:
    async with _process("-m", "jobs.worker") as process:
        await _said(process, b"Working.")
        # A process whose log nobody reads waits for somebody, once the pipe is full.
        assert process.stderr is not None
        reading = asyncio.create_task(process.stderr.read())
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            # Shown with a test that fails, such as because the worker has ended by itself.
            sys.stderr.write((await reading).decode())


async def _state(shop: Shop) -> set[DeliveryState]:
    return {delivery.state for delivery in await shop.deliveries()}


@pytest.mark.usefixtures("environment")
async def test_an_order_reaches_another_system(receiver: Receiver, shop: Shop) -> None:
    """From the request that pays it to the receiver, through three processes."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        served = ["-m", "uvicorn", "--factory", "jobs.main:app", "--fd", str(listening.fileno())]
        url = "http://{}:{}".format(*listening.getsockname())
        headers = {"Authorization": f"Bearer {KEY}"}
        async with (
            _process(*served, inherits=[listening.fileno()]) as api,
            _worker() as worker,
            AsyncClient(base_url=url, headers=headers, timeout=PATIENCE) as client,
        ):
            subscribed = {"url": receiver.url, "event_types": ["order.paid"]}
            assert (await client.post("/endpoints", json=subscribed)).status_code == 201
            order = (await client.post("/orders", json={"customer": "Ada", "total": "5"})).json()
            await client.post(f"/orders/{order['id']}/payment")
            received = await receiver.next_request()
            assert received.data == {"order": order["id"], "customer": "Ada", "total": "5.00"}
            api.terminate()
            assert await asyncio.wait_for(api.wait(), PATIENCE) in {0, -signal.SIGTERM}
            worker.send_signal(signal.SIGINT)
            assert await asyncio.wait_for(worker.wait(), PATIENCE) == 0


@pytest.mark.usefixtures("environment")
async def test_a_dead_workers_job_is_taken_over(
    receiver: Receiver, shop: Shop, workers: Workers
) -> None:
    """It is killed after the receiver's work and before it could record that.

    The delivery is sent twice, with one id, and so has its effect once.
    """
    await shop.subscribe(receiver.url)
    await shop.publish()
    receiver.may_answer.clear()
    async with _worker() as worker:
        first = await receiver.next_request()
        worker.send_signal(signal.SIGKILL)
        await worker.wait()
    receiver.may_answer.set()
    async with workers.running(lease=LEASE):
        second = await receiver.next_request()
    assert first.id == second.id
    assert receiver.effects == {first.id}
    assert await _state(shop) == {DeliveryState.DELIVERED}


@pytest.mark.usefixtures("environment")
async def test_a_worker_that_is_told_to_stop_ends_its_job_first(
    receiver: Receiver, shop: Shop
) -> None:
    """It exits with 0, and the delivery is recorded."""
    await shop.subscribe(receiver.url)
    await shop.publish()
    receiver.may_answer.clear()
    async with _worker() as worker:
        await receiver.next_request()
        worker.terminate()
        receiver.may_answer.set()
        assert await asyncio.wait_for(worker.wait(), PATIENCE) == 0
    assert await _state(shop) == {DeliveryState.DELIVERED}


@pytest.mark.usefixtures("environment")
async def test_workers_die_and_nothing_is_lost(receiver: Receiver, shop: Shop) -> None:
    """Of three workers, two are killed in the middle of many deliveries."""
    await shop.subscribe(receiver.url)
    orders = set(range(40))
    done: set[int] = set()
    async with AsyncExitStack() as stack:
        workers = [await stack.enter_async_context(_worker()) for _ in range(3)]
        for order in orders:
            await shop.publish(order=order)
        while done != orders:
            order = (await receiver.next_request()).data["order"]
            if order not in done and len(done) in {5, 10}:
                workers[len(done) // 10].kill()
            done.add(order)
        workers[2].terminate()
        assert await asyncio.wait_for(workers[2].wait(), PATIENCE) == 0
    assert len(receiver.effects) == len(orders)


@pytest.mark.usefixtures("environment")
async def test_what_is_scheduled_is_begun_again_by_a_worker_that_was_there(
    work: Work, workers: Workers, db: AsyncSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that has begun it is killed in the middle, and nobody starts another.

    PgQueuer takes it for dead after half a minute without a heartbeat, for which the test does not
    wait; nor does it for ten seconds between two looks.
    """
    looked, pruned = asyncio.Event(), asyncio.Event()

    class Telling(Work):
        async def prune(self) -> None:
            await super().prune()
            pruned.set()

    fetch = Queries.fetch_schedule

    async def fetch_schedule(
        queries: Queries, schedules: dict[CronExpressionEntrypoint, timedelta]
    ) -> list[Schedule]:
        found = await fetch(queries, schedules)
        looked.set()
        return found

    monkeypatch.setattr("jobs.worker.LOOK", "* * * * * *")
    async with workers.running():
        pass  # makes the schedule known
    await db.execute(text("UPDATE pgqueuer_schedules SET next_run = now() - interval '1 minute'"))
    await db.commit()
    await db.execute(text("LOCK TABLE events IN SHARE MODE"))
    async with _worker() as killed:
        async with asyncio.timeout(PATIENCE):
            while not await db.scalar(BLOCKED):
                pass  # the query has waited
        monkeypatch.setattr(Queries, "fetch_schedule", fetch_schedule)
        async with (
            asyncio.timeout(PATIENCE),
            workers.running(Telling(work.sessionmaker, work.client, work.settings)),
        ):
            await looked.wait()
            killed.kill()
            await killed.wait()
            await db.rollback()
            assert not pruned.is_set()
            await db.execute(
                text("UPDATE pgqueuer_schedules SET heartbeat = now() - interval '1 minute'")
            )
            await db.commit()
            await pruned.wait()
