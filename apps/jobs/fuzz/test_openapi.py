"""Requests made up from the OpenAPI description: no answer is a 5xx, and each is as described."""

import asyncio
from typing import Any

import pytest
import requests
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import given
from schemathesis.checks import not_a_server_error
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import response_schema_conformance
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from jobs.deliveries import service as deliveries
from jobs.deliveries.answers import Answer
from jobs.main import create_app
from jobs.seed import seed
from jobs.settings import DeliverySettings

KEY = "a key for tests"
LAST_ATTEMPT = DeliverySettings(attempts=1)  # so that there is a dead letter


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


WHOLE = create_app(async_sessionmaker(), KEY).openapi()
DESCRIPTION = schemathesis.openapi.from_dict(_narrowed(WHOLE))
OPERATIONS = [result.ok() for result in DESCRIPTION.get_all_operations()]
# A request without parameters and body has nothing that the description could forbid.
CASES = [
    pytest.param(operation, mode, id=f"{operation.label}, {mode.value}")
    for operation in OPERATIONS
    for mode in schemathesis.GenerationMode
    if operation.label != "GET /health" or mode is schemathesis.GenerationMode.POSITIVE
]


@pytest.mark.db(isolation="commit")  # the test client runs the application on a loop of its own
@pytest.mark.parametrize(("operation", "mode"), CASES)
def test_no_request_makes_the_server_fail(
    operation: APIOperation,
    mode: schemathesis.GenerationMode,
    db_sessionmaker: async_sessionmaker[AsyncSession],
) -> None:
    """What the description allows, and what it forbids."""

    async def sow() -> None:
        async with db_sessionmaker.begin() as session:
            await seed(session)
            for event_id in (1, 2):
                await deliveries.fan_out(session, event_id)
            await deliveries.record(session, 1, Answer(500), LAST_ATTEMPT)

    asyncio.run(sow())
    app = create_app(db_sessionmaker, KEY)
    with TestClient(app, raise_server_exceptions=False) as client:

        @given(case=operation.as_strategy(generation_mode=mode))
        def send(case: schemathesis.Case) -> None:
            case.headers["Authorization"] = f"Bearer {KEY}"
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
