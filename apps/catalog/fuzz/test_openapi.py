"""Requests made up from the OpenAPI description: none is answered by a 5xx."""

import asyncio

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from litestar.testing import TestClient
from schemathesis.checks import not_a_server_error
from schemathesis.schemas import APIOperation
from sqlalchemy.ext.asyncio import async_sessionmaker

from catalog import demo
from catalog.database import Sessions
from catalog.main import create_app

DESCRIPTION = schemathesis.openapi.from_dict(
    create_app(async_sessionmaker()).openapi_schema.to_schema()
)
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
        @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
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
