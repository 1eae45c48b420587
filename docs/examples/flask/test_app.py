import pytest
from app import Item, app
from sqlalchemy import select
from sqlalchemy.orm import Session


@pytest.mark.parametrize("time", [1, 2])
def test_item_is_created(db_sync: Session, time: int) -> None:
    response = app.test_client().post("/items", data={"name": "lamp"})
    assert response.json == {"id": 1}  # both times: sequences are put back too
    assert db_sync.scalars(select(Item.name)).all() == ["lamp"]
