from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest
import sqlalchemy as sa
from models import Item

from db_testing._isolation._listening import listening

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Engine
    from sqlalchemy.orm import Session

    from db_testing._isolation._listening import Sent


@pytest.fixture
def sent() -> Iterator[list[Sent]]:
    heard: list[Sent] = []
    with listening(heard.append):
        yield heard


def test_session(db_sync: Session, sent: list[Sent]) -> None:
    db_sync.add(Item(name="a"))
    db_sync.commit()
    db_sync.execute(sa.select(Item)).all()
    db_sync.commit()
    assert [each.sql.split()[0] for each in sent] == ["INSERT", "SELECT"]


def test_savepoints_do_not_count(db_sync: Session, sent: list[Sent]) -> None:
    with db_sync.begin_nested():
        db_sync.execute(sa.text("SELECT 1"))
    db_sync.commit()
    assert len(sent) == 1


def test_every_method_of_the_driver(db_sync_engine: Engine, sent: list[Sent]) -> None:
    with db_sync_engine.connect() as connection:
        raw = cast("Any", connection.connection.driver_connection)
        raw.execute("SELECT %s", (1,))
        with raw.cursor() as cursor:
            cursor.executemany("INSERT INTO item (name) VALUES (%s)", [("c",), ("d",)])
            list(cursor.stream("SELECT 2"))
            with cursor.copy("COPY item (name) FROM STDIN") as copy:
                copy.write_row(("e",))
        with raw.cursor("named") as named:
            named.execute("SELECT 3")
            named.fetchall()
    assert [each.sql for each in sent] == [
        "SELECT %s",
        "INSERT INTO item (name) VALUES (%s)",
        "SELECT 2",
        "COPY item (name) FROM STDIN",
        "SELECT 3",
    ]
