"""Each first test leaves a connection behind; each second one is clean."""

import gc

import pytest
from models import Item
from sqlalchemy import func, select
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.orm import Session

COUNT = select(func.count()).select_from(Item)
KEPT: list[Session | Connection] = []


@pytest.fixture(autouse=True)
def _nothing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    gc.collect()
    assert not caplog.get_records("setup")


def is_clean(engine: Engine) -> None:
    with Session(engine) as session:
        assert session.execute(COUNT).scalar_one() == 0
        session.add(item := Item(name="a"))
        session.commit()
        assert item.id == 1


def test_session(db_sync_engine: Engine) -> None:
    session = Session(db_sync_engine)
    session.add(Item(name="a"))
    session.flush()  # left in a transaction
    KEPT.append(session)


def test_after_session(db_sync_engine: Engine) -> None:
    is_clean(db_sync_engine)


def test_cycle(db_sync_engine: Engine) -> None:
    connection = db_sync_engine.connect()  # left to the collector
    connection.execute(COUNT)
    cycle: list[object] = [connection]
    cycle.append(cycle)


def test_after_cycle(db_sync_engine: Engine) -> None:
    is_clean(db_sync_engine)


def test_detached(db_sync_engine: Engine) -> None:
    connection = db_sync_engine.connect()  # left detached
    connection.execute(COUNT)
    connection.detach()
    KEPT.append(connection)


def test_after_detached(db_sync_engine: Engine) -> None:
    is_clean(db_sync_engine)


@pytest.mark.parametrize("time", ["first", "second"])
def test_what_fixtures_hand_out_is_no_leak(db_sync: Session, time: str) -> None:
    db_sync.execute(COUNT)


def test_closing_what_another_left(db_sync_engine: Engine) -> None:
    for kept in KEPT:
        kept.close()
    is_clean(db_sync_engine)
