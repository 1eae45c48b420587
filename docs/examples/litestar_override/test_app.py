import pytest
from app import Item
from httpx import AsyncClient
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession


@pytest.mark.parametrize("time", [1, 2])
@pytest.mark.asyncio
async def test_item_is_created(client: AsyncClient, db: AsyncSession, time: int) -> None:
    response = await client.post("/items", params={"name": "lamp"})
    assert response.json() == 1
    assert (await db.scalars(select(Item.name))).all() == ["lamp"]
