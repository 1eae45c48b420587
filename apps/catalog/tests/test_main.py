"""The application as a whole: health, errors, its description, and how a process makes it."""

from typing import Any

import pytest
from httpx import ASGITransport, AsyncClient
from litestar.testing import AsyncTestClient
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from catalog.database import Sessions
from catalog.main import app, create_app


async def test_health_needs_no_key(ada: AsyncClient) -> None:
    """A load balancer has none."""
    ada.headers.pop("Authorization")
    assert (await ada.get("/health")).json() == {"status": "ok"}


async def test_health_fails_without_a_database() -> None:
    """And tells the client nothing of the database."""
    engine = create_async_engine("postgresql+asyncpg://nobody@127.0.0.1:1/secret")
    unable: Any = create_app(async_sessionmaker(engine))
    async with AsyncClient(transport=ASGITransport(unable), base_url="http://test") as client:
        answer = await client.get("/health")
    assert answer.status_code == 503
    assert "secret" not in answer.text


async def test_the_description_needs_no_key(ada: AsyncClient) -> None:
    """It names what every other request sends."""
    ada.headers.pop("Authorization")
    described = (await ada.get("/schema/openapi.json")).json()
    assert described["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    assert {"/products", "/search", "/categories"} <= described["paths"].keys()


async def test_an_unknown_path_is_a_problem(ada: AsyncClient) -> None:
    """Errors of the framework are problem details as well."""
    answer = await ada.get("/nothing")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


async def test_what_is_not_valid_is_named(ada: AsyncClient) -> None:
    """Each value by its name, without being repeated."""
    answer = await ada.get("/search", params={"q": "x" * 201, "limit": "many"})
    assert answer.status_code == 422
    errors = answer.json()["errors"]
    assert {error["key"] for error in errors} == {"q", "limit"}
    assert "xxx" not in answer.text


async def test_a_failure_of_the_servers_is_logged_and_not_told(
    db_sessionmaker: Sessions, caplog: pytest.LogCaptureFixture
) -> None:
    """The client learns that it was not its fault."""
    application: Any = create_app(db_sessionmaker)
    application.state.sessionmaker = None
    transport = ASGITransport(application, raise_app_exceptions=False)
    async with AsyncClient(transport=transport, base_url="http://test") as client:
        answer = await client.get("/categories")
    assert answer.status_code == 500
    assert "NoneType" not in answer.text
    assert "NoneType" in caplog.text


async def test_the_environment_leads_to_the_database(
    test_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process's application reads its settings, and disposes of its engine."""
    url = test_database_url.replace("+asyncpg", "")
    monkeypatch.setenv("CATALOG_DATABASE_URL", url)
    async with AsyncTestClient(app()) as client:
        assert (await client.get("/health")).json() == {"status": "ok"}
