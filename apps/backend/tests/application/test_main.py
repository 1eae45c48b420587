"""The application as uvicorn runs it, and its health."""

import pytest
from httpx import ASGITransport, AsyncClient
from sqlalchemy.ext.asyncio import create_async_engine

from backend.database import create_sessionmaker
from backend.main import app, create_app

from .people import CREDENTIALS


async def test_the_service_is_healthy_while_its_database_answers(client: AsyncClient) -> None:
    """Health needs no token, so that a load balancer can ask."""
    response = await client.get("/health")

    assert (response.status_code, response.json()) == (200, {"status": "ok"})


async def test_the_service_is_unavailable_without_its_database() -> None:
    """An unreachable database makes health 503, and the answer does not say where it is."""
    engine = create_async_engine("postgresql+asyncpg://ada@/books?host=/nonexistent")
    transport = ASGITransport(app=create_app(create_sessionmaker(engine), CREDENTIALS))

    async with AsyncClient(transport=transport, base_url="http://test") as client:
        response = await client.get("/health")

    assert response.status_code == 503
    assert response.headers["Content-Type"] == "application/problem+json"
    assert "nonexistent" not in response.text


async def test_the_factory_makes_an_application_from_the_environment(
    test_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What uvicorn calls connects to BACKEND_DATABASE_URL, and disconnects when it stops."""
    monkeypatch.setenv("BACKEND_DATABASE_URL", test_database_url)
    monkeypatch.setenv("BACKEND_TOKEN_SECRET", "0" * 32)
    application = app()

    async with (
        application.router.lifespan_context(application),
        AsyncClient(transport=ASGITransport(app=application), base_url="http://test") as own_client,
    ):
        assert (await own_client.get("/health")).status_code == 200
