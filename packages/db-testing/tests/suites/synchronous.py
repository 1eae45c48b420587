"""The synchronous fixtures, twice: the second test of each pair sees nothing of the first."""

import asyncio
import threading

import psycopg
import pytest
from models import Item
from sqlalchemy import Engine, func, insert, select
from sqlalchemy.orm import Session

TWICE = pytest.mark.parametrize("time", ["first", "second"])
COUNT = select(func.count()).select_from(Item)


@TWICE
def test_db_sync(db_sync: Session, time: str) -> None:
    assert db_sync.scalar(COUNT) == 0
    item = Item(name="a")
    db_sync.add(item)
    db_sync.commit()
    assert item.id == 1
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()


@TWICE
def test_db_sync_engine(db_sync_engine: Engine, time: str) -> None:
    with db_sync_engine.begin() as connection:
        assert connection.scalar(COUNT) == 0
        connection.execute(insert(Item).values(name="a"))
    with db_sync_engine.connect() as connection:
        assert connection.scalar(COUNT) == 1


@TWICE
def test_both_are_one_database(db_sync: Session, db_sync_engine: Engine, time: str) -> None:
    with db_sync_engine.begin() as connection:
        connection.execute(insert(Item).values(name="a"))
    assert db_sync.scalars(select(Item.id)).one() == 1


@TWICE
def test_the_driver(db_sync_engine: Engine, time: str) -> None:
    connection = db_sync_engine.raw_connection()
    driver = connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    with driver.transaction():
        driver.execute("INSERT INTO item (name) VALUES ('a')")
    assert driver.execute("SELECT id FROM item").fetchall() == [(1,)]
    connection.close()


@TWICE
def test_a_thread(db_sync_engine: Engine, time: str) -> None:
    def work() -> None:
        with Session(db_sync_engine) as session:
            session.add(Item(name="a"))
            session.commit()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    with Session(db_sync_engine) as session:
        assert session.scalars(select(Item.id)).one() == 1


@TWICE
def test_lost(db_sync_engine: Engine, time: str) -> None:
    session = Session(db_sync_engine)
    session.add(Item(name="a"))
    session.flush()
    assert session.scalars(select(Item.id)).one() == 1
    KEPT.append(session)


KEPT: list[Session] = []
