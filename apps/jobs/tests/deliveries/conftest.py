"""A receiver of webhooks, and workers, in this process; and what is delivered."""

import asyncio
import hashlib
import hmac
import json
import queue
import threading
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self, cast

import asyncpg
import pytest
from pgqueuer import PgQueuer
from pgqueuer.types import QueueExecutionMode
from pydantic import HttpUrl, SecretStr
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from jobs.deliveries.models import Delivery
from jobs.endpoints import service as endpoints
from jobs.endpoints.models import Endpoint
from jobs.endpoints.schemas import EndpointIn
from jobs.events import service as events
from jobs.settings import DeliverySettings, Settings
from jobs.worker import Work, create_client, create_worker, do_jobs

PATIENCE = 60
"""Seconds within which whatever a test waits for must have happened."""

AT_ONCE = DeliverySettings(
    attempts=3, first_delay=timedelta(0), timeout=timedelta(seconds=PATIENCE)
)


REFUSED: tuple[int, dict[str, str]] = (500, {})


@dataclass(frozen=True)
class Received:
    """One request to the receiver."""

    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        """What all requests of a delivery have in common."""
        return self.headers["webhook-id"]

    @property
    def data(self) -> Any:  # noqa: ANN401 - whatever was published
        """The event's payload."""
        return json.loads(self.body)["data"]

    def is_signed_with(self, secret: bytes) -> bool:
        """Check as a receiver does."""
        signed = f"{self.id}.{self.headers['webhook-timestamp']}.".encode() + self.body
        digest = b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()
        return self.headers["webhook-signature"] == f"v1,{digest}"


class Receiver(ThreadingHTTPServer):
    """Another system, on a port of its own."""

    def __init__(self) -> None:
        """Accept everything, unless told otherwise."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: queue.Queue[Received] = queue.Queue()
        self.answers: list[tuple[int, dict[str, str]]] = []
        """What the next requests are answered with, before all others are accepted."""
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.effects: set[str] = set()
        """What it has done: once for each id, as receivers of webhooks should."""

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.may_answer.set()
        self.shutdown()
        self._thread.join()
        self.server_close()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_port}/webhooks"

    async def next_request(self) -> Received:
        """Wait for a request."""
        return await asyncio.to_thread(self.requests.get, timeout=PATIENCE)

    def received(self) -> list[Received]:
        """Take all requests that have come."""
        return [self.requests.get() for _ in range(self.requests.qsize())]


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        receiver = cast("Receiver", self.server)
        length = int(self.headers["content-length"])
        body = self.rfile.read(length)
        if len(body) < length:
            return  # the sender was killed
        received = Received({name.lower(): value for name, value in self.headers.items()}, body)
        receiver.requests.put(received)
        status, headers = receiver.answers.pop(0) if receiver.answers else (200, {})
        receiver.may_answer.wait(PATIENCE)
        if status == 200:
            receiver.effects.add(received.id)
        self.send_response(status)
        for name, value in {"content-length": "0", **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as above
        """Keep quiet."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Let another system listen."""
    with Receiver() as receiver:
        yield receiver


Working = Callable[..., AbstractAsyncContextManager[PgQueuer]]


@pytest.fixture
async def work(
    db_sessionmaker: async_sessionmaker[AsyncSession],
) -> AsyncIterator[Work]:
    """Do jobs one by one, where no worker runs: three attempts, at once."""
    async with create_client(AT_ONCE) as client:
        yield Work(db_sessionmaker, client, AT_ONCE)


@pytest.fixture
def working(work: Work, test_database_url: str) -> Working:
    """Run a worker while a block lasts; it ends what it has begun."""

    @asynccontextmanager
    async def working(
        work: Work = work,
        mode: QueueExecutionMode = QueueExecutionMode.continuous,
        lease: timedelta = timedelta(seconds=30),
        poll: timedelta = timedelta(seconds=0.1),
    ) -> AsyncIterator[PgQueuer]:
        dsn = test_database_url.replace("+asyncpg", "")
        settings = Settings(
            database_url=SecretStr(dsn),
            api_key=SecretStr("a key for tests"),
            concurrency=4,
            lease=lease,
            poll=poll,
        )
        async with asyncpg.create_pool(dsn, min_size=2, max_size=settings.concurrency) as pool:
            worker = create_worker(pool, work)
            running = asyncio.create_task(do_jobs(worker, settings, mode))
            try:
                yield worker
                if mode is QueueExecutionMode.continuous:
                    worker.shutdown.set()
                await asyncio.wait_for(running, PATIENCE)
            finally:
                running.cancel()
                await asyncio.wait([running])

    return working


@pytest.fixture
def drain(working: Working) -> Callable[[], Awaitable[None]]:
    """Let a worker run until nothing is left to do."""

    async def drain() -> None:
        async with working(mode=QueueExecutionMode.drain):
            pass

    return drain


@dataclass(frozen=True)
class Shop:
    """Publish events to a receiver's endpoint, and see what became of them."""

    sessionmaker: async_sessionmaker[AsyncSession]

    async def subscribe(self, url: str, *event_types: str) -> Endpoint:
        """Add an endpoint."""
        async with self.sessionmaker.begin() as session:
            data = EndpointIn(url=HttpUrl(url), event_types=list(event_types))
            return await endpoints.create(session, data)

    async def publish(self, type_: str = "order.placed", **payload: object) -> int:
        """Publish an event, and commit."""
        async with self.sessionmaker.begin() as session:
            return (await events.publish(session, type_, payload)).id

    async def deliveries(self) -> list[Delivery]:
        """Return all deliveries, the first one first."""
        async with self.sessionmaker() as session:
            return list(await session.scalars(select(Delivery).order_by(Delivery.id)))


@pytest.fixture
def shop(db_sessionmaker: async_sessionmaker[AsyncSession]) -> Shop:
    """Publish events."""
    return Shop(db_sessionmaker)
