"""A web application whose endpoints are plain functions, which run in threads."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from models import Item
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

COUNT = select(func.count()).select_from(Item)


@pytest.fixture
def client(db_sync_engine: Engine) -> Iterator[TestClient]:
    def create(request: Request) -> JSONResponse:
        with Session(db_sync_engine) as session:
            item = Item(name=request.path_params["name"])
            session.add(item)
            session.commit()
            return JSONResponse(item.id)

    def count(request: Request) -> JSONResponse:
        with Session(db_sync_engine) as session:
            return JSONResponse(session.scalar(COUNT))

    app = Starlette(
        routes=[Route("/{name}", create, methods=["POST"]), Route("/", count, methods=["GET"])]
    )
    with TestClient(app) as client:
        yield client


@pytest.mark.parametrize("time", ["first", "second"])
def test_client(client: TestClient, db_sync: Session, time: str) -> None:
    assert client.get("/").json() == 0
    assert client.post("/a").json() == 1
    assert client.post("/b").json() == 2
    assert db_sync.scalar(COUNT) == 2


def test_client_sees_what_the_test_has_not_committed(client: TestClient, db_sync: Session) -> None:
    db_sync.add(Item(name="a"))
    db_sync.flush()
    assert client.get("/").json() == 1
    assert client.post("/b").json() == 2


def test_client_after_an_error(client: TestClient) -> None:
    assert client.post("/a").json() == 1
    with pytest.raises(Exception, match="duplicate key"):
        client.post("/a")
    assert client.get("/").json() == 1


@pytest.mark.asyncio
async def test_executor_of_a_loop(db_sync_engine: Engine) -> None:
    def create(name: str) -> int:
        with Session(db_sync_engine) as session:
            item = Item(name=name)
            session.add(item)
            session.commit()
            return item.id

    with ThreadPoolExecutor(4) as pool:
        loop = asyncio.get_running_loop()
        calls = [loop.run_in_executor(pool, create, f"{n}") for n in range(10)]
        threads = [asyncio.to_thread(create, f"{n}") for n in range(10, 20)]
        assert sorted(await asyncio.gather(*calls, *threads)) == list(range(1, 21))
