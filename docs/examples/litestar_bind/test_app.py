import pytest
from app import app
from litestar.testing import AsyncTestClient, TestClient


@pytest.mark.asyncio
async def test_in_async_code() -> None:
    async with AsyncTestClient(app) as client:
        assert (await client.post("/items", params={"name": "lamp"})).json() == 1


def test_in_plain_code() -> None:
    with TestClient(app) as client:
        assert client.post("/items", params={"name": "lamp"}).json() == 1
