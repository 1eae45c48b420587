"""What all variants share: the application over HTTP."""

from collections.abc import AsyncIterator

import pytest
from api import create_app
from httpx import ASGITransport, AsyncClient
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

pytest_plugins = ["variant"]


@pytest.fixture
async def client(
    application_sessions: async_sessionmaker[AsyncSession],
) -> AsyncIterator[AsyncClient]:
    """Send requests to the application in this process."""
    transport = ASGITransport(create_app(application_sessions))
    async with AsyncClient(transport=transport, base_url="http://test") as client:
        yield client
