"""Requests made up from the OpenAPI description: none is answered by a 5xx."""

import asyncio
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import given
from litestar.testing import TestClient
from schemathesis.checks import not_a_server_error
from schemathesis.schemas import APIOperation
from sqlalchemy.ext.asyncio import async_sessionmaker

from catalog import demo
from catalog.database import Sessions
from catalog.main import create_app


def _narrowed(description: Any) -> Any:  # noqa: ANN401 - any part of it
    """Let ids be those of things that are there: else hardly a request gets beyond 404."""
    if isinstance(description, list):
        return [_narrowed(part) for part in description]
    if not isinstance(description, dict):
        return description
    narrowed = {key: _narrowed(part) for key, part in description.items()}
    if narrowed.get("maximum", 0) >= 2**63 - 1:
        narrowed["maximum"] = 9
    return narrowed


WHOLE = create_app(async_sessionmaker()).openapi_schema.to_schema()
# Litestar does not say which strings are decimals.
WHOLE["components"]["schemas"]["PriceIn"]["properties"]["amount"]["pattern"] = (
    r"^[0-9]{1,10}\.[0-9]{2}$"
)
DESCRIPTION = schemathesis.openapi.from_dict(_narrowed(WHOLE))
OPERATIONS = [result.ok() for result in DESCRIPTION.get_all_operations()]
# A request without parameters and body has nothing that the description could forbid.
PLAIN = {"GET /health", "GET /categories", "POST /products/import"}
CASES = [
    pytest.param(operation, mode, id=f"{operation.label}, {mode.value}")
    for operation in OPERATIONS
    for mode in schemathesis.GenerationMode
    if operation.label not in PLAIN or mode is schemathesis.GenerationMode.POSITIVE
]


@pytest.mark.db(isolation="commit")  # the test client runs the application on a loop of its own
@pytest.mark.parametrize(("operation", "mode"), CASES)
def test_no_request_makes_the_server_fail(
    operation: APIOperation, mode: schemathesis.GenerationMode, db_sessionmaker: Sessions
) -> None:
    """What the description allows, and what it forbids."""

    async def sow() -> None:
        async with db_sessionmaker.begin() as session:
            await demo.sow(session)

    asyncio.run(sow())
    with TestClient(create_app(db_sessionmaker), raise_server_exceptions=False) as client:

        @given(case=operation.as_strategy(generation_mode=mode))
        def send(case: schemathesis.Case) -> None:
            case.headers["Authorization"] = f"Bearer {demo.KEY}"
            made_up = case.as_transport_kwargs(base_url=str(client.base_url))
            request = requests.Request(**made_up).prepare()
            answer = client.request(
                str(request.method),
                str(request.url),
                content=request.body,
                headers=dict(request.headers),
            )
            case.validate_response(answer, checks=[not_a_server_error])

        send()
