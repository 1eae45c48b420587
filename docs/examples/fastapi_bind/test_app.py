import pytest
from app import Item, app
from fastapi.testclient import TestClient
from httpx import ASGITransport, AsyncClient
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession


@pytest.mark.asyncio
async def test_in_the_loop_of_the_test(db: AsyncSession) -> None:
    async with AsyncClient(transport=ASGITransport(app), base_url="http://test") as client:
        response = await client.post("/items", params={"name": "lamp"})
    assert (await db.scalars(select(Item.id))).all() == [response.json()] == [1]


def test_with_the_lifespan() -> None:
    with TestClient(app) as client:
        assert client.post("/items", params={"name": "lamp"}).json() == 1
