"""Several event loops in one test: needs commit isolation."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from application import add, app, engine, names
from fastapi.testclient import TestClient
from models import Item
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

TWICE = pytest.mark.parametrize("time", ["first", "second"])


@TWICE
def test_client_with_a_loop_for_each_request(time: str) -> None:
    client = TestClient(app)
    assert client.post("/items/a").json() == 1
    assert client.get("/items").json() == ["a"]


@TWICE
def test_two_clients(time: str) -> None:
    for name in "ab":
        with TestClient(app) as client:
            client.post(f"/items/{name}")
    with TestClient(app) as client:
        assert client.get("/items").json() == ["a", "b"]


@TWICE
async def test_rows_of_the_test_and_a_client(db: AsyncSession, time: str) -> None:
    db.add(Item(name="a"))
    await db.commit()
    with TestClient(app) as client:
        assert client.get("/items").json() == ["a"]
        assert client.post("/items/b").json() == 2
    assert await names() == ["a", "b"]


@pytest_asyncio.fixture
async def item(db_sessionmaker: async_sessionmaker[AsyncSession]) -> AsyncIterator[Item]:
    async with db_sessionmaker(expire_on_commit=False) as session:
        item = Item(name="a")
        session.add(item)
        await session.commit()
        yield item


@TWICE
def test_rows_of_a_fixture_and_a_client(item: Item, time: str) -> None:
    with TestClient(app) as client:
        assert client.get("/items").json() == ["a"]


@TWICE
async def test_threads_with_loops_of_their_own(time: str) -> None:
    assert await add("a") == 1
    assert await asyncio.to_thread(asyncio.run, add("b")) == 2
    executor = asyncio.get_running_loop().run_in_executor
    assert await executor(None, asyncio.run, add("c")) == 3
    assert await names() == ["a", "b", "c"]


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with TestClient(app) as client:
        yield client


@TWICE
async def test_client_that_outlives_the_test(
    client: TestClient, db: AsyncSession, time: str
) -> None:
    assert client.post("/items/a").json() == 1
    assert await names() == ["a"]
    db.add(Item(name="b"))
    await db.commit()
    assert client.get("/items").json() == ["a", "b"]


@TWICE
async def test_connections_lost_on_either_loop(time: str) -> None:
    async def lose() -> None:
        connection = await engine.connect()
        await connection.exec_driver_sql("SELECT 1")
        LOST.append(connection)

    await asyncio.to_thread(asyncio.run, lose())
    await lose()
    assert await names() == []


LOST: list[object] = []
