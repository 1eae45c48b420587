from collections.abc import AsyncIterator

import asyncpg
import pytest
import worker
from db_testing import Schema


@pytest.fixture(scope="session")
def db_schema() -> Schema:
    return Schema.from_sql("queue.sql")


@pytest.fixture
async def pool(
    test_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[asyncpg.Pool]:
    monkeypatch.setattr(worker, "URL", test_database_url.replace("+asyncpg", ""))
    async with worker.make_pool() as pool:
        yield pool
