from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import pytest
import pytest_asyncio
from app import Item, app
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session


@pytest.mark.parametrize("time", [1, 2])
def test_item_is_created(db_sync: Session, time: int) -> None:
    response = app.test_client().post("/items", data={"name": "lamp"})
    assert response.json == {"id": 1}  # both times: sequences are put back too
    assert db_sync.scalars(select(Item.name)).all() == ["lamp"]


class TestStock:
    @pytest_asyncio.fixture(scope="class", loop_scope="session", autouse=True)
    async def stock(
        self, db_layer: Callable[[], AbstractAsyncContextManager[AsyncSession]]
    ) -> AsyncIterator[None]:
        async with db_layer() as session:
            session.add(Item(name="chair"))
            yield

    @pytest.mark.parametrize("time", [1, 2])
    def test_item_is_added(self, db_sync: Session, time: int) -> None:
        app.test_client().post("/items", data={"name": "lamp"})
        assert db_sync.scalars(select(Item.name)).all() == ["chair", "lamp"]
