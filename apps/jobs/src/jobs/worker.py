"""The worker: wiring of what is done in the background, and the process that does it.

    python -m jobs.worker

PgQueuer takes jobs (`FOR UPDATE SKIP LOCKED`), is woken by NOTIFY, keeps leases by heartbeats,
takes over the jobs of workers that have died, and runs a schedule once for each tick, however many
workers there are. What a dead worker had begun is begun again, so all of it can be repeated: see
`deliveries.service`.
"""

import asyncio
import logging
import signal
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from http.cookiejar import CookieJar, DefaultCookiePolicy

import asyncpg
import httpx
from pgqueuer import DatabaseRetryEntrypointExecutor, PgQueuer
from pgqueuer.errors import RetryRequested
from pgqueuer.models import Job, Schedule
from pgqueuer.types import QueueExecutionMode
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from jobs.database import create_engine, create_sessionmaker
from jobs.deliveries import service as deliveries
from jobs.deliveries.sending import send
from jobs.queue import JobName
from jobs.settings import DeliverySettings, Settings

_logger = logging.getLogger(__name__)

NIGHTLY = "0 3 * * *"

LOOK = "* * * * * */10"
"""How often a worker looks for schedules that are due, or that a dead worker had begun.

PgQueuer's scheduler sleeps until the next tick of all schedules that it knows. If the nightly one
were alone, what a worker had begun when it was killed would wait for the next night, although
others run. A worker whose clock is behind by more than nine seconds would look too early at what is
due by the others' clocks, and serve that tick twice.
"""

UNFORESEEN = 20
"""How often a job is tried again after an error that nobody has foreseen."""


@dataclass(frozen=True)
class Work:
    """Do jobs, with a database, a way to other systems, and rules."""

    sessionmaker: async_sessionmaker[AsyncSession]
    client: httpx.AsyncClient
    settings: DeliverySettings

    async def fan_out(self, event_id: int) -> None:
        """Make an event's deliveries."""
        async with self.sessionmaker.begin() as session:
            await deliveries.fan_out(session, event_id)

    async def deliver(self, delivery_id: int) -> None:
        """Send a delivery; raises `RetryRequested` when it is to be sent again.

        No transaction is open while the receiver is waited for.
        """
        async with self.sessionmaker.begin() as session:
            delivery = await deliveries.due(session, delivery_id)
        if delivery is None:
            return
        now = datetime.now(UTC)
        answer = await send(self.client, delivery, now, self.settings.timeout)
        async with self.sessionmaker.begin() as session:
            delay = await deliveries.record(session, delivery_id, answer, self.settings)
        if delay is not None:
            raise RetryRequested(delay, answer.error or f"status {answer.status}")

    async def prune(self) -> None:
        """Delete what has been told and kept long enough."""
        before = datetime.now(UTC) - self.settings.retention
        async with self.sessionmaker.begin() as session:
            pruned = await deliveries.prune(session, before)
        _logger.info("Pruned %d events.", pruned)


def _id(job: Job) -> int:
    return int(job.payload or b"")


def create_worker(pool: asyncpg.Pool, work: Work) -> PgQueuer:
    """Create a worker that takes jobs through `pool`; it ends when its `shutdown` is set."""
    worker = PgQueuer.from_asyncpg_pool(pool)

    # What nobody has foreseen, such as a connection that is lost in the middle, is tried again, and
    # in the end held for somebody to look at (`pgq failed`): by itself PgQueuer drops such a job.
    # Attempts that have failed count too, so there must be more tries than those.
    executor = partial(
        DatabaseRetryEntrypointExecutor,
        max_attempts=work.settings.attempts + UNFORESEEN,
        initial_delay=work.settings.first_delay,
        max_delay=work.settings.longest_delay,
        backoff_multiplier=1.0,
    )

    @worker.entrypoint(JobName.FAN_OUT, executor_factory=executor, on_failure="hold")
    async def fan_out(job: Job) -> None:
        await work.fan_out(_id(job))

    @worker.entrypoint(JobName.DELIVER, executor_factory=executor, on_failure="hold")
    async def deliver(job: Job) -> None:
        await work.deliver(_id(job))

    @worker.schedule("look", LOOK)
    async def look(_: Schedule) -> None:
        """Do nothing: that the scheduler is awake is the point."""

    @worker.schedule("prune", NIGHTLY)
    async def prune(_: Schedule) -> None:
        await work.prune()

    return worker


async def do_jobs(
    worker: PgQueuer, settings: Settings, mode: QueueExecutionMode = QueueExecutionMode.continuous
) -> None:
    """Do jobs until the worker's `shutdown` is set or, to drain the queue, until none is left.

    Raises `FailingListenerError` when the worker no longer hears what is notified.
    """
    # PgQueuer asks itself whether it hears before it listens, which may take a new connection. What
    # is asked too early is never heard, and would end a worker that is well.
    await worker.connection.add_listener(worker.channel, lambda _: None)
    await worker.run(
        batch_size=max(1, settings.concurrency // 2),
        mode=mode,
        max_concurrent_tasks=settings.concurrency,
        dequeue_timeout=settings.poll,
        heartbeat_timeout=settings.lease,
        shutdown_on_listener_failure=True,
    )


async def run(settings: Settings, delivery_settings: DeliverySettings) -> None:
    """Do jobs until SIGTERM or SIGINT; then end those that have begun, and return."""
    async with AsyncExitStack() as stack:
        dsn = settings.url.set(drivername="postgresql").render_as_string(hide_password=False)
        pool = await stack.enter_async_context(
            asyncpg.create_pool(dsn, min_size=2, max_size=settings.concurrency)
        )
        engine = create_engine(settings)
        stack.push_async_callback(engine.dispose)
        client = await stack.enter_async_context(create_client(delivery_settings))
        work = Work(create_sessionmaker(engine), client, delivery_settings)
        worker = create_worker(pool, work)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, worker.shutdown.set)
        _logger.info("Working.")
        await do_jobs(worker, settings)


def create_client(settings: DeliverySettings) -> httpx.AsyncClient:
    """Create the client that sends deliveries: no redirects, no proxy, no cookies of others."""
    # By itself httpx sends what one receiver has set to all endpoints of the same host.
    no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
    return httpx.AsyncClient(
        timeout=settings.timeout.total_seconds(), trust_env=False, cookies=no_cookies
    )


def main() -> None:
    """Run a worker with settings from the environment."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    asyncio.run(run(Settings(), DeliverySettings()))


if __name__ == "__main__":
    main()
