"""Requests made up from the OpenAPI description: no answer is a 5xx, and each is as described."""

import pytest
import requests
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import given
from schemathesis.checks import not_a_server_error
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import response_schema_conformance
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from {{ name | snake_case }}.main import create_app

DESCRIPTION = schemathesis.openapi.from_dict(create_app(async_sessionmaker()).openapi())
OPERATIONS = [result.ok() for result in DESCRIPTION.get_all_operations()]
# A request without parameters and body has nothing that the description could forbid.
CASES = [
    pytest.param(operation, mode, id=f"{operation.label}, {mode.value}")
    for operation in OPERATIONS
    for mode in schemathesis.GenerationMode
    if operation.label != "GET /items" or mode is schemathesis.GenerationMode.POSITIVE
]


@pytest.mark.db(isolation="commit")  # the test client runs the application on a loop of its own
@pytest.mark.parametrize(("operation", "mode"), CASES)
def test_no_request_makes_the_server_fail(
    operation: APIOperation,
    mode: schemathesis.GenerationMode,
    db_sessionmaker: async_sessionmaker[AsyncSession],
) -> None:
    """What the description allows, and what it forbids."""
    app = create_app(db_sessionmaker)
    with TestClient(app, raise_server_exceptions=False) as client:

        @given(case=operation.as_strategy(generation_mode=mode))
        def send(case: schemathesis.Case) -> None:
            made_up = case.as_transport_kwargs(base_url=str(client.base_url))
            request = requests.Request(**made_up).prepare()
            answer = client.request(
                str(request.method),
                str(request.url),
                content=request.body,
                headers=dict(request.headers),
            )
            case.validate_response(answer, checks=[not_a_server_error, response_schema_conformance])

        send()
