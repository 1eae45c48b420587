"""The API as a whole: its key, its errors, its settings, its demo data."""

import pytest
from httpx import ASGITransport, AsyncClient
from pydantic import SecretStr, ValidationError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from jobs import seed, worker
from jobs.main import app, create_app
from jobs.settings import Settings

DOMAINS = ["/orders/1", "/events", "/endpoints", "/deliveries"]


@pytest.mark.parametrize("path", DOMAINS)
@pytest.mark.parametrize("key", [None, b"another key", "änother".encode()])
async def test_a_request_without_the_key_is_refused(
    client: AsyncClient, path: str, key: bytes | None
) -> None:
    """Whatever it asks for."""
    client.headers.pop("Authorization")
    headers = {} if key is None else {b"Authorization": b"Bearer " + key}
    answer = await client.get(path, headers=headers)
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")


async def test_health_needs_no_key(client: AsyncClient) -> None:
    """A load balancer has none."""
    client.headers.pop("Authorization")
    assert (await client.get("/health")).json() == {"status": "ok"}


async def test_health_fails_without_a_database() -> None:
    """And tells the client nothing of the database."""
    engine = create_async_engine("postgresql+asyncpg://nobody@127.0.0.1:1/secret")
    transport = ASGITransport(create_app(async_sessionmaker(engine), "key"))
    async with AsyncClient(transport=transport, base_url="http://test") as client:
        answer = await client.get("/health")
    assert answer.status_code == 503
    assert "secret" not in answer.text


async def test_an_unknown_path_is_a_problem(client: AsyncClient) -> None:
    """Errors of the framework are problem details as well."""
    answer = await client.get("/nothing")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["title"] == "Not Found"


async def test_an_invalid_request_is_a_problem(client: AsyncClient) -> None:
    """It says where; what was sent is not repeated, which here JSON could not carry."""
    answer = await client.post(
        "/orders",
        content='{"customer": "Ada", "total": NaN}',
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["title"], problem["status"]) == ("Invalid request", 422)
    assert [(error["in"], error["pointer"]) for error in problem["errors"]] == [("body", "/total")]


@pytest.mark.parametrize("id_", ["0", "-1", str(2**63), "x"])
@pytest.mark.parametrize("domain", ["orders", "events", "endpoints", "deliveries"])
async def test_an_impossible_id_is_refused(client: AsyncClient, domain: str, id_: str) -> None:
    """PostgreSQL never sees a number that it cannot hold."""
    assert (await client.get(f"/{domain}/{id_}")).status_code == 422


@pytest.mark.parametrize("domain", ["orders", "events", "endpoints", "deliveries"])
async def test_what_does_not_exist_is_not_found(client: AsyncClient, domain: str) -> None:
    """The answer names it."""
    answer = await client.get(f"/{domain}/12345")
    assert answer.status_code == 404
    assert "12345" in answer.json()["detail"]


@pytest.mark.db(isolation="commit")  # it has an engine of its own, which really commits
async def test_the_seed_is_sown_once(test_database_url: str, db: AsyncSession) -> None:
    """`dev` runs it at each start."""
    url = test_database_url.replace("+asyncpg", "")
    settings = Settings(database_url=SecretStr(url), api_key=SecretStr("a key for tests"))
    for _ in range(2):
        await seed.run(settings)
    counted = text("SELECT (SELECT count(*) FROM endpoints), (SELECT count(*) FROM orders)")
    assert (await db.execute(counted)).one() == (1, 2)


async def test_the_environment_leads_to_the_database(
    test_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process's application reads its settings, and disposes of its engine."""
    url = test_database_url.replace("+asyncpg", "")
    monkeypatch.setenv("JOBS_DATABASE_URL", url)
    monkeypatch.setenv("JOBS_API_KEY", "from the environment")
    served = app()
    headers = {"Authorization": "Bearer from the environment"}
    transport = ASGITransport(served)
    async with (
        served.router.lifespan_context(served),
        AsyncClient(transport=transport, base_url="http://test", headers=headers) as client,
    ):
        assert (await client.get("/events")).json() == {"items": [], "before": None}


def test_a_short_key_is_refused_without_being_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings that are wrong end the process with an error that keeps secrets."""
    monkeypatch.setenv("JOBS_DATABASE_URL", "postgresql://localhost/jobs")
    monkeypatch.setenv("JOBS_API_KEY", "s3cret")
    with pytest.raises(ValidationError) as refused:
        Settings()
    assert "s3cret" not in str(refused.value)


def test_a_worker_without_settings_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """By name; its process ends with that."""
    monkeypatch.delenv("JOBS_DATABASE_URL", raising=False)
    with pytest.raises(ValidationError, match="database_url"):
        worker.main()
