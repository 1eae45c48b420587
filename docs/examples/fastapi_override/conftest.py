from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from app import Base, app, get_session
from db_testing import Schema
from httpx import ASGITransport, AsyncClient
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker


@pytest.fixture(scope="session")
def db_schema() -> Schema:
    return Schema.from_metadata(Base.metadata)


@pytest_asyncio.fixture
async def client(db_sessionmaker: async_sessionmaker[AsyncSession]) -> AsyncIterator[AsyncClient]:
    async def of_the_test() -> AsyncIterator[AsyncSession]:
        async with db_sessionmaker(expire_on_commit=False) as session:
            yield session

    app.dependency_overrides[get_session] = of_the_test
    async with AsyncClient(transport=ASGITransport(app), base_url="http://test") as client:
        yield client
    del app.dependency_overrides[get_session]
