"""A synchronous application's own objects, for a server that no test may reach."""

import json
import os
from typing import TYPE_CHECKING

from sqlalchemy import create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.orm import scoped_session, sessionmaker

if TYPE_CHECKING:
    import psycopg

URL = make_url(os.environ["PRODUCTION"]).set(drivername="postgresql+psycopg")

engine = create_engine(URL, pool_size=1, max_overflow=0, pool_timeout=1)
session_factory = sessionmaker(engine)
scoped = scoped_session(session_factory)
unbound = sessionmaker()
COMMITS: list[str] = []
own_json = create_engine(
    URL,
    json_serializer=lambda _: '"serialized"',
    json_deserializer=lambda data: ["own", json.loads(data)],
)


@event.listens_for(engine, "commit")
def _note(_: object) -> None:
    COMMITS.append("commit")


@event.listens_for(own_json, "connect")
def _set_time_zone(connection: "psycopg.Connection", _: object) -> None:
    connection.execute("SET TIME ZONE 'Asia/Kathmandu'")
    connection.commit()


def make_engine() -> object:
    return create_engine(URL)
