import asyncio

import pytest
from app import Item
from httpx import AsyncClient
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession


@pytest.mark.parametrize("time", [1, 2])
@pytest.mark.asyncio
async def test_items_are_created(client: AsyncClient, db: AsyncSession, time: int) -> None:
    requests = (client.post("/items", params={"name": name}) for name in ("lamp", "chair"))
    ids = [response.json() for response in await asyncio.gather(*requests)]
    assert sorted(ids) == [1, 2]  # both times: sequences are put back too
    assert (await db.scalars(select(Item.name).order_by(Item.name))).all() == ["chair", "lamp"]
