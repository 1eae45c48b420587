"""Workers in this process, on connections of their own: what they do is really committed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.types import QueueExecutionMode
from pydantic import SecretStr

from jobs.settings import DeliverySettings, Settings
from jobs.worker import Work, create_worker, do_jobs

from .receiver import PATIENCE

AT_ONCE = DeliverySettings(
    attempts=3, first_delay=timedelta(0), timeout=timedelta(seconds=PATIENCE)
)
"""Three attempts, without a delay."""


@dataclass(frozen=True)
class Workers:
    """Run workers on the database of a URL; they do `work` unless told otherwise."""

    url: str
    work: Work

    @asynccontextmanager
    async def running(
        self,
        work: Work | None = None,
        *,
        mode: QueueExecutionMode = QueueExecutionMode.continuous,
        lease: timedelta = timedelta(seconds=30),
        poll: timedelta = timedelta(seconds=0.1),
    ) -> AsyncIterator[PgQueuer]:
        """Run a worker while a block lasts; it ends what it has begun."""
        settings = Settings(
            database_url=SecretStr(self.url),
            api_key=SecretStr("a key for tests"),
            concurrency=4,
            lease=lease,
            poll=poll,
        )
        async with asyncpg.create_pool(self.url, min_size=2, max_size=settings.concurrency) as pool:
            worker = create_worker(pool, work or self.work)
            running = asyncio.create_task(do_jobs(worker, settings, mode))
            try:
                yield worker
                if mode is QueueExecutionMode.continuous:
                    worker.shutdown.set()
                await asyncio.wait_for(running, PATIENCE)
            finally:
                running.cancel()
                await asyncio.wait([running])

    async def drain(self) -> None:
        """Let a worker run until nothing is left to do."""
        async with self.running(mode=QueueExecutionMode.drain):
            pass
