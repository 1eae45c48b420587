"""A statement waits for a row that a connection beside the sandbox has locked."""

import psycopg
from models import Item
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session


def test_blocked(db_sync: Session, test_database_url: str) -> None:
    url = make_url(test_database_url)
    with psycopg.connect(
        user="postgres",
        host=str(url.query["host"]),
        dbname=url.database,
        application_name="the other one",
    ) as connection:
        connection.execute("INSERT INTO item (name) VALUES ('a')")
        db_sync.add(Item(name="a"))
        db_sync.commit()


def test_next(db_sync: Session) -> None:
    db_sync.add(Item(name="a"))
    db_sync.commit()
