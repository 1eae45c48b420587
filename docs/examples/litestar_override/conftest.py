from collections.abc import AsyncIterator
from functools import partial

import pytest
import pytest_asyncio
from app import Base, create_app
from db_testing import Schema
from httpx import ASGITransport, AsyncClient
from litestar import Litestar
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker


@pytest.fixture(scope="session")
def db_schema() -> Schema:
    return Schema.from_metadata(Base.metadata)


@pytest.fixture(scope="session")
def app(db_sessionmaker: async_sessionmaker[AsyncSession]) -> Litestar:
    return create_app(partial(db_sessionmaker, expire_on_commit=False))


@pytest_asyncio.fixture
async def client(app: Litestar) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(transport=ASGITransport(app), base_url="http://test") as client:
        yield client
