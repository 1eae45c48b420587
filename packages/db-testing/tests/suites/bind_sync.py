"""Synchronous code that uses its own engine and sessionmakers."""

from collections.abc import Callable

import pytest
from database_sync import (
    COMMITS,
    engine,
    make_engine,
    own_json,
    scoped,
    session_factory,
    unbound,
)
from models import Item
from sqlalchemy import JSON, cast, func, insert, literal, select, text
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

TWICE = pytest.mark.parametrize("time", ["first", "second"])
COUNT = select(func.count()).select_from(Item)


def rows(session: Session) -> list[tuple[int, str]]:
    return [(item.id, item.name) for item in session.scalars(select(Item))]


@TWICE
@pytest.mark.parametrize("maker", [session_factory, scoped, unbound], ids=["own", "scoped", "no"])
def test_session(maker: Callable[[], Session], db_sync: Session, time: str) -> None:
    session = maker()
    session.add(Item(name=time))
    session.commit()
    session.close()
    assert rows(db_sync) == [(1, time)]
    if maker is scoped:
        scoped.remove()


@TWICE
def test_session_of_the_thread_is_left_open(time: str) -> None:
    item = Item(name=time)
    scoped.add(item)
    scoped.commit()
    assert scoped.scalars(select(Item.name)).all() == [time]
    assert item.id == 1


@TWICE
def test_engine(db_sync: Session, time: str) -> None:
    COMMITS.clear()
    with engine.begin() as connection:
        connection.execute(insert(Item).values(name=time))
    assert COMMITS == ["commit"]
    engine.dispose()
    assert rows(db_sync) == [(1, time)]
    assert engine.url.database == db_sync.get_bind().engine.url.database


@TWICE
def test_engine_that_adapts_and_prepares_by_itself(time: str) -> None:
    with own_json.connect() as connection:
        value = cast(literal({"time": time}, JSON), JSON)
        assert connection.scalar(select(value)) == ["own", "serialized"]
        assert connection.scalar(text("SHOW timezone")) == "Asia/Kathmandu"


@TWICE
def test_engine_of_a_factory(db_sync: Session, time: str) -> None:
    made = make_engine()
    assert isinstance(made, Engine)
    with made.begin() as connection:
        connection.execute(insert(Item).values(name=time))
    assert rows(db_sync) == [(1, time)]


@TWICE
def test_lost_connections_block_nobody(time: str) -> None:
    lost = [engine.connect() for _ in range(50)]
    assert {connection.execute(COUNT).scalar_one() for connection in lost} == {0}, time
    for connection in lost:
        connection.close()
