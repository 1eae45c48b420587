"""One event loop for a test, its own or that of a thread: works under every isolation."""

import asyncio
from collections.abc import Iterator

import pytest
from application import app, session_factory
from fastapi.testclient import TestClient
from httpx import ASGITransport, AsyncClient
from models import Item
from sqlalchemy.ext.asyncio import AsyncSession

TWICE = pytest.mark.parametrize("time", ["first", "second"])


@TWICE
def test_plain_test_with_one_client(time: str) -> None:
    with TestClient(app) as client:
        assert client.post("/items/a").json() == 1
        assert client.post("/items/b").json() == 2
        assert client.get("/items").json() == ["a", "b"]


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with TestClient(app) as client:
        yield client


@TWICE
def test_client_that_outlives_the_test(client: TestClient, time: str) -> None:
    assert client.post("/items/a").json() == 1
    assert client.get("/items").json() == ["a"]


@TWICE
async def test_asynchronous_client(db: AsyncSession, time: str) -> None:
    db.add(Item(name="a"))
    await db.commit()
    async with AsyncClient(transport=ASGITransport(app), base_url="http://test") as client:
        assert (await client.get("/items")).json() == ["a"]
        assert (await client.post("/items/b")).json() == 2


@TWICE
async def test_loop_of_a_thread_alone(time: str) -> None:
    async def add() -> int:
        async with session_factory.begin() as session:
            item = Item(name="a")
            session.add(item)
            await session.flush()
            return item.id

    assert await asyncio.to_thread(asyncio.run, add()) == 1
