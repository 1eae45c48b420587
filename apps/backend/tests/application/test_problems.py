"""Errors that no domain owns are problem details as well."""

import pytest
from httpx import ASGITransport, AsyncClient, Response
from sqlalchemy.ext.asyncio import create_async_engine

from backend.database import create_sessionmaker
from backend.main import create_app

from .people import CREDENTIALS


def _assert_problem(response: Response, status: int) -> None:
    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == status
    assert {"type", "title", "detail"} <= problem.keys()


async def test_an_unknown_route_is_a_problem(client: AsyncClient) -> None:
    """The framework's own 404 names the path."""
    response = await client.get("/ledgers")

    _assert_problem(response, 404)
    assert "/ledgers" in response.json()["detail"]


async def test_a_method_that_is_not_allowed_is_a_problem(client: AsyncClient) -> None:
    """A 405 says which methods are allowed, as HTTP demands."""
    response = await client.delete("/users")

    _assert_problem(response, 405)
    assert response.headers["Allow"] == "POST"


async def test_a_trailing_slash_is_another_route(client: AsyncClient) -> None:
    """A redirect would make a client repeat its token to a URL it did not ask for."""
    _assert_problem(await client.get("/users/me/"), 404)


async def test_malformed_json_is_a_problem(client: AsyncClient) -> None:
    """A body that is not JSON is refused like any other invalid body."""
    response = await client.post(
        "/users", content=b"{", headers={"Content-Type": "application/json"}
    )

    _assert_problem(response, 422)


async def test_a_body_in_another_encoding_is_a_problem(client: AsyncClient) -> None:
    """JSON is UTF-8; what else comes is refused before it is parsed."""
    response = await client.post(
        "/users", content=b'{"name": "\xe9"}', headers={"Content-Type": "application/json"}
    )

    _assert_problem(response, 400)


async def test_every_invalid_value_is_pointed_at(client: AsyncClient) -> None:
    """A client can put each message beside the field it is about."""
    response = await client.post(
        "/users", json={"email": "ada", "name": "Ada", "base_currency": "eur", "password": "short"}
    )

    _assert_problem(response, 422)
    pointers = {(error["in"], error["pointer"]) for error in response.json()["errors"]}
    assert pointers == {("body", "/email"), ("body", "/base_currency"), ("body", "/password")}


async def test_rejected_input_is_not_echoed(client: AsyncClient) -> None:
    """What a client sends by mistake, a secret perhaps, does not come back in the error."""
    response = await client.post("/users", json={"email": "hunter2", "password": "hunter3"})

    assert "hunter" not in response.text


async def test_text_that_is_no_unicode_is_refused(client: AsyncClient) -> None:
    """A lone surrogate is valid JSON but no text; it is refused and not a failure of the server."""
    body = (
        rb'{"email": "ada@example.com", "name": "\ud800", "base_currency": "EUR",'
        rb' "password": "the password of ada"}'
    )

    response = await client.post(
        "/users", content=body, headers={"Content-Type": "application/json"}
    )

    _assert_problem(response, 422)
    assert [error["pointer"] for error in response.json()["errors"]] == ["/name"]


async def test_a_failure_of_the_server_reveals_nothing() -> None:
    """An unexpected error is a problem without a trace of its cause."""
    engine = create_async_engine("postgresql+asyncpg://ada:s3cret@/books?host=/nonexistent")
    token = CREDENTIALS.issue(1, 1)
    transport = ASGITransport(
        app=create_app(create_sessionmaker(engine), CREDENTIALS), raise_app_exceptions=False
    )

    async with AsyncClient(transport=transport, base_url="http://test") as client:
        response = await client.get("/users/me", headers={"Authorization": f"Bearer {token}"})

    _assert_problem(response, 500)
    assert "nonexistent" not in response.text


@pytest.mark.parametrize("path", ["/docs", "/openapi.json"])
async def test_the_api_is_documented(client: AsyncClient, path: str) -> None:
    """The OpenAPI document and its page are served without a token."""
    assert (await client.get(path)).status_code == 200


async def test_the_documentation_says_how_every_operation_fails(client: AsyncClient) -> None:
    """Each operation documents problem details, and none FastAPI's default error body."""
    document = (await client.get("/openapi.json")).json()

    operations = [operation for path in document["paths"].values() for operation in path.values()]
    assert all(
        "application/problem+json" in operation["responses"]["default"]["content"]
        for operation in operations
    )
    assert "HTTPValidationError" not in document["components"]["schemas"]
