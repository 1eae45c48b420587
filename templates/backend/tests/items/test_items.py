"""Items, through the service and over HTTP."""

import pytest
from httpx import AsyncClient
from sqlalchemy.ext.asyncio import AsyncSession

from {{ name | snake_case }}.items import service
from {{ name | snake_case }}.items.errors import NameTakenError


async def test_items_are_listed_by_name(db: AsyncSession) -> None:
    """What was added last need not stand last."""
    for name in ("lamp", "chair"):
        await service.add(db, name)
    assert [item.name for item in await service.list_all(db)] == ["chair", "lamp"]


async def test_a_name_is_taken_once(db: AsyncSession) -> None:
    """The second item of one name is refused."""
    await service.add(db, "lamp")
    with pytest.raises(NameTakenError, match="lamp"):
        await service.add(db, "lamp")


async def test_an_item_is_there_after_its_request(client: AsyncClient) -> None:
    """What one request has committed, the next one sees."""
    added = await client.post("/items", json={"name": "lamp"})
    assert added.status_code == 201
    assert (await client.get("/items")).json() == [added.json()]


async def test_a_taken_name_is_a_conflict(client: AsyncClient) -> None:
    """The answer says which name it was."""
    await client.post("/items", json={"name": "lamp"})
    refused = await client.post("/items", json={"name": "lamp"})
    assert (refused.status_code, refused.json()) == (409, {"detail": "There is an item 'lamp'."})


@pytest.mark.parametrize("name", [b"NaN", rb'"\ud800"'])
async def test_a_name_that_json_cannot_carry_is_refused(client: AsyncClient, name: bytes) -> None:
    """Python's parser accepts it; the answer doesn't repeat it."""
    refused = await client.post(
        "/items",
        content=b'{"name": ' + name + b"}",
        headers={"Content-Type": "application/json"},
    )
    assert refused.status_code == 422
