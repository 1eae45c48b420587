"""The API and its workers as processes, which are killed."""

import asyncio
import signal
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from httpx import AsyncClient
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from jobs.deliveries.models import DeliveryState

from .conftest import PATIENCE, Receiver, Shop

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.db(isolation="commit"),  # processes have connections of their own
]

KEY = "a key for tests"


@pytest.fixture
def environment(test_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lead processes to the test's database; a dead worker's jobs are taken over soon."""
    monkeypatch.setenv("JOBS_DATABASE_URL", test_database_url.replace("+asyncpg", ""))
    monkeypatch.setenv("JOBS_API_KEY", KEY)
    monkeypatch.setenv("JOBS_LEASE", "PT0.5S")
    # Each worker has two pools of this size, and all runs on a machine share a server.
    monkeypatch.setenv("JOBS_CONCURRENCY", "4")
    monkeypatch.setenv("JOBS_POLL", "PT0.1S")
    monkeypatch.setenv("JOBS_DELIVERY_FIRST_DELAY", "PT0S")
    monkeypatch.setenv("JOBS_DELIVERY_TIMEOUT", f"PT{PATIENCE}S")


@asynccontextmanager
async def _process(
    *arguments: str, inherits: Sequence[int] = (), environment: Mapping[str, str] | None = None
) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        stderr=asyncio.subprocess.PIPE,
        pass_fds=inherits,
        env=environment,
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
            reading.cancel()
            await asyncio.wait([reading])


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
            _worker(),
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


@pytest.mark.usefixtures("environment")
async def test_a_dead_workers_job_is_taken_over(receiver: Receiver, shop: Shop) -> None:
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
    async with _worker() as other:
        second = await receiver.next_request()
        other.terminate()
        assert await asyncio.wait_for(other.wait(), PATIENCE) == 0
    assert first.id == second.id
    assert receiver.effects == {first.id}
    assert await _state(shop) == {DeliveryState.DELIVERED}


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_worker_that_is_told_to_stop_ends_its_job_first(
    receiver: Receiver, shop: Shop, number: signal.Signals
) -> None:
    """It exits with 0, and the delivery is recorded."""
    await shop.subscribe(receiver.url)
    await shop.publish()
    receiver.may_answer.clear()
    async with _worker() as worker:
        await receiver.next_request()
        worker.send_signal(number)
        receiver.may_answer.set()
        assert await asyncio.wait_for(worker.wait(), PATIENCE) == 0
    assert await _state(shop) == {DeliveryState.DELIVERED}


@pytest.mark.usefixtures("environment")
async def test_workers_die_and_nothing_is_lost(receiver: Receiver, shop: Shop) -> None:
    """Of four workers, two are killed in the middle of many deliveries."""
    await shop.subscribe(receiver.url)
    orders = set(range(40))
    done: set[int] = set()
    async with AsyncExitStack() as stack:
        workers = [await stack.enter_async_context(_worker()) for _ in range(4)]
        for order in orders:
            await shop.publish(order=order)
        while done != orders:
            order = (await receiver.next_request()).data["order"]
            if order not in done and len(done) in {5, 10}:
                workers[len(done) // 10].kill()
            done.add(order)
        for worker in workers[2:]:
            worker.terminate()
            assert await asyncio.wait_for(worker.wait(), PATIENCE) == 0
    assert len(receiver.effects) == len(orders)


@pytest.mark.usefixtures("environment")
async def test_the_seed_is_sown_once(db: AsyncSession) -> None:
    """`dev` runs it at each start."""
    for _ in range(2):
        async with _process("-m", "jobs.seed") as process:
            _, errors = await asyncio.wait_for(process.communicate(), PATIENCE)
            assert (process.returncode, errors) == (0, b"")
    counted = text("SELECT (SELECT count(*) FROM endpoints), (SELECT count(*) FROM orders)")
    assert (await db.execute(counted)).one() == (1, 2)


async def test_a_worker_without_settings_says_what_is_missing() -> None:
    """By name, and exits."""
    async with _process("-m", "jobs.worker", environment={"PATH": ""}) as process:
        _, errors = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert process.returncode == 1
    assert b"database_url" in errors
