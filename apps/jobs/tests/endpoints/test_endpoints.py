"""Endpoints: where events go."""

import base64

import pytest
from httpx import AsyncClient
from pydantic import HttpUrl
from sqlalchemy.ext.asyncio import AsyncSession

from jobs.endpoints import service
from jobs.endpoints.schemas import EndpointChange, EndpointIn

ADDRESS = "https://example.com/webhooks"


async def _endpoint(session: AsyncSession, *event_types: str) -> int:
    data = EndpointIn(url=HttpUrl(ADDRESS), event_types=list(event_types))
    return (await service.create(session, data)).id


async def test_a_secret_is_shown_once(client: AsyncClient) -> None:
    """To whoever makes the endpoint, and to nobody afterwards."""
    made = (await client.post("/endpoints", json={"url": ADDRESS})).json()
    secret = made.pop("signing_secret")
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32
    assert (await client.get(f"/endpoints/{made['id']}")).json() == made
    assert (await client.get("/endpoints")).json()["items"] == [made]


async def test_no_two_secrets_are_alike(client: AsyncClient) -> None:
    """Each receiver can check its own deliveries only."""
    made = [(await client.post("/endpoints", json={"url": ADDRESS})).json() for _ in range(2)]
    assert made[0]["signing_secret"] != made[1]["signing_secret"]


async def test_an_endpoint_gets_what_it_asked_for(db: AsyncSession) -> None:
    """Types are compared whole."""
    paid = await _endpoint(db, "order.paid", "order.placed")
    await _endpoint(db, "order.pa")
    assert await service.wanting(db, "order.paid") == [paid]


async def test_an_endpoint_that_asked_for_nothing_gets_all(db: AsyncSession) -> None:
    """Also types that come later."""
    everything = await _endpoint(db)
    assert await service.wanting(db, "something.new") == [everything]


async def test_an_endpoint_that_is_off_gets_nothing(db: AsyncSession) -> None:
    """Until it is on again."""
    id_ = await _endpoint(db)
    await service.change(db, id_, EndpointChange(active=False))
    assert await service.wanting(db, "order.paid") == []
    await service.change(db, id_, EndpointChange(active=True))
    assert await service.wanting(db, "order.paid") == [id_]


async def test_a_change_leaves_what_it_does_not_name(client: AsyncClient) -> None:
    """Address, types and switch are changed one by one."""
    made = (await client.post("/endpoints", json={"url": ADDRESS})).json()
    path = f"/endpoints/{made['id']}"
    for change in (
        {"url": "http://other.example/x"},
        {"event_types": ["order.paid"]},
        {"active": False},
    ):
        before = (await client.get(path)).json()
        assert (await client.patch(path, json=change)).json() == before | change


async def test_what_is_changed_must_exist(client: AsyncClient) -> None:
    """Nothing is made by changing it."""
    assert (await client.patch("/endpoints/12345", json={"active": True})).status_code == 404


@pytest.mark.parametrize(
    "url", ["ftp://example.com", "example.com", "http://", "https://user:secret@example.com", ""]
)
async def test_what_is_no_address_is_refused(client: AsyncClient, url: str) -> None:
    """Nor one with a password, which listings would show."""
    assert (await client.post("/endpoints", json={"url": url})).status_code == 422


@pytest.mark.parametrize("event_type", ["", "Order", "order..paid", ".paid", "a" * 101, "a\0"])
async def test_what_is_no_type_is_refused(client: AsyncClient, event_type: str) -> None:
    """Types are lower case words, joined by dots."""
    body = {"url": ADDRESS, "event_types": [event_type]}
    assert (await client.post("/endpoints", json=body)).status_code == 422
