"""Events: the outbox."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from httpx import AsyncClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from jobs.events import service
from jobs.events.schemas import EventIn

QUEUED = text("SELECT entrypoint, convert_from(payload, 'UTF8')::int FROM pgqueuer")

# Beyond 2**53 JSON has numbers that no float is, and PostgreSQL keeps what was written.
FLOATS = st.floats(-(2.0**53), 2.0**53)
SCALARS = st.none() | st.booleans() | st.integers() | FLOATS | st.text()
PAYLOADS = st.dictionaries(
    st.text(),
    st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)),
)


async def test_an_event_is_shown_as_it_was_published(client: AsyncClient) -> None:
    """Not yet fanned out: no worker runs."""
    body = {"type": "order.placed", "payload": {"order": 1, "lines": [{"price": "1.50"}]}}
    published = await client.post("/events", json=body)
    assert published.status_code == 201
    event = published.json()
    assert {"type": event["type"], "payload": event["payload"]} == body
    assert event["fanned_out_at"] is None
    assert (await client.get(f"/events/{event['id']}")).json() == event
    assert (await client.get("/events")).json()["items"] == [event]


async def test_publishing_asks_a_worker_to_fan_out(db: AsyncSession) -> None:
    """In the same transaction."""
    event = await service.publish(db, "order.placed", {})
    assert (await db.execute(QUEUED)).all() == [("fan_out", event.id)]


async def test_an_event_that_was_fanned_out_is_told(db: AsyncSession) -> None:
    """The second worker that asks for it gets nothing."""
    event = await service.publish(db, "order.placed", {})
    assert await service.untold(db, event.id) is event
    service.mark_told(event)
    await db.commit()
    assert await service.untold(db, event.id) is None


async def test_an_event_that_was_pruned_needs_no_fan_out(db: AsyncSession) -> None:
    """Its job finds nothing to do."""
    assert await service.untold(db, 12345) is None


@pytest.mark.parametrize(
    "payload",
    [{"text": "a\0b"}, {"a\0b": 1}, {"text": "x" * 262_144}, [], "text", None],
    ids=["NUL", "NUL in a name", "too long", "a list", "a text", "nothing"],
)
async def test_what_cannot_be_stored_is_refused(client: AsyncClient, payload: object) -> None:
    """PostgreSQL's JSON has no NUL, and a delivery has a size."""
    body = {"type": "order.placed", "payload": payload}
    assert (await client.post("/events", json=body)).status_code == 422


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-1e999", '"\\ud800"'])
async def test_what_json_cannot_carry_is_refused(client: AsyncClient, number: str) -> None:
    """Python's parser is more lenient than other systems', and than PostgreSQL."""
    body = f'{{"type": "order.placed", "payload": {{"value": {number}}}}}'
    headers = {"Content-Type": "application/json"}
    assert (await client.post("/events", content=body, headers=headers)).status_code == 422


# How long an example takes depends on what else the machine does.
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(payload=PAYLOADS)
async def test_a_payload_comes_back_as_it_was(
    db_layer: Callable[[], AbstractAsyncContextManager[AsyncSession]], payload: dict[str, Any]
) -> None:
    """Whatever JSON can carry and the API accepts, the database keeps."""
    try:
        data = EventIn(type="order.placed", payload=payload)
    except ValidationError:
        return
    async with db_layer() as session:
        event = await service.publish(session, data.type, data.payload)
        await session.commit()
        await session.refresh(event)
        assert event.payload == payload
