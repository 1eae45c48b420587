"""An application that gets its sessions by a dependency, which the tests override."""

from collections.abc import AsyncIterator
from typing import Annotated

import pytest
from fastapi import Depends, FastAPI
from httpx import ASGITransport, AsyncClient
from models import Item
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

production = async_sessionmaker(create_async_engine("postgresql+asyncpg://production.invalid/x"))


async def get_session() -> AsyncIterator[AsyncSession]:
    async with production() as session:
        yield session


app = FastAPI()


@app.post("/items/{name}")
async def add(name: str, session: Annotated[AsyncSession, Depends(get_session)]) -> list[str]:
    session.add(Item(name=name))
    await session.commit()
    return list(await session.scalars(select(Item.name).order_by(Item.id)))


@pytest.fixture
async def client(db_sessionmaker: async_sessionmaker[AsyncSession]) -> AsyncIterator[AsyncClient]:
    async def session() -> AsyncIterator[AsyncSession]:
        async with db_sessionmaker() as session:
            yield session

    app.dependency_overrides[get_session] = session
    async with AsyncClient(transport=ASGITransport(app), base_url="http://test") as client:
        yield client
    del app.dependency_overrides[get_session]


@pytest.mark.parametrize("time", ["first", "second"])
async def test_override(client: AsyncClient, db: AsyncSession, time: str) -> None:
    db.add(Item(name="a"))
    await db.commit()
    assert (await client.post("/items/b")).json() == ["a", "b"]
