"""Who takes part in a delivery: a shop that publishes, workers, and a receiver."""

from collections.abc import AsyncIterator, Iterator

import pytest
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from jobs.worker import Work, create_client

from .receiver import Receiver
from .shop import Shop
from .workers import AT_ONCE, Workers


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Let another system listen."""
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def shop(db_sessionmaker: async_sessionmaker[AsyncSession]) -> Shop:
    """Publish events."""
    return Shop(db_sessionmaker)


@pytest.fixture
async def work(db_sessionmaker: async_sessionmaker[AsyncSession]) -> AsyncIterator[Work]:
    """Do jobs one by one, where no worker runs."""
    async with create_client(AT_ONCE) as client:
        yield Work(db_sessionmaker, client, AT_ONCE)


@pytest.fixture
def workers(test_database_url: str, work: Work) -> Workers:
    """Run workers; each test that does needs commit isolation."""
    return Workers(test_database_url.replace("+asyncpg", ""), work)
